"""Counts and times, as Prometheus reads them from /metrics.

In: what the server does. Out: the text format. No label names an adapter or a key: what is a speaker's is
nobody else's business.
"""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
COUNTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        seconds = partial(Histogram, registry=self.registry, buckets=SECONDS)
        count = partial(Histogram, registry=self.registry, buckets=COUNTS)
        # of requests
        self.requests = counter("ia3_requests", "Requests answered", ["method", "route", "status"])
        self.request_seconds = seconds("ia3_request_seconds", "From first byte to last", ["route"])
        self.active = gauge("ia3_active_requests", "Transcriptions and sessions under way")
        self.audio_seconds = counter("ia3_audio_seconds", "Audio that was transcribed")
        # of batches
        self.waiting = gauge("ia3_waiting_rows", "Pieces of audio that wait for a batch")
        self.wait_seconds = seconds("ia3_wait_seconds", "From a piece's arrival to its batch")
        self.batch_rows = count("ia3_batch_rows", "Pieces of audio in a batch")
        self.batch_adapters = count("ia3_batch_adapters", "Different adapters in a batch, the base included")
        self.batch_seconds = seconds("ia3_batch_seconds", "A batch's time in the model")
        self.row_audio = counter("ia3_row_audio_seconds", "Audio in batches, without padding")
        self.padded_audio = counter("ia3_padded_audio_seconds", "Audio in batches, with padding")
        # of adapters
        self.adapters = gauge("ia3_adapters_loaded", "Adapters in the bank")
        self.adapter_bytes = gauge("ia3_adapter_bytes", "Of their parameters")
        self.loads = counter("ia3_adapter_loads", "Adapters read from disk")
        self.evictions = counter("ia3_adapter_evictions", "Adapters that left for others")

    def text(self) -> bytes:
        return generate_latest(self.registry)
