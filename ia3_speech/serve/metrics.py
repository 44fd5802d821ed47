"""Counts and times, as Prometheus reads them from /metrics.

In: what the server does. Out: the text format. No label names an adapter or a key: what is a speaker's is
nobody else's business.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
COUNTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self.requests = Counter(
            "ia3_requests", "Requests that were answered", ["method", "route", "status"], **own
        )
        self.request_seconds = Histogram(
            "ia3_request_seconds",
            "From a request's first byte to its last",
            ["route"],
            buckets=SECONDS,
            **own,
        )
        self.audio_seconds = Counter("ia3_audio_seconds", "Audio that was transcribed", **own)
        self.active = Gauge("ia3_active_requests", "Transcriptions and sessions under way", **own)
        self.waiting = Gauge("ia3_waiting_rows", "Pieces of audio that wait for a batch", **own)
        self.wait_seconds = Histogram(
            "ia3_wait_seconds", "From a piece's arrival to its batch", buckets=SECONDS, **own
        )
        self.batch_rows = Histogram("ia3_batch_rows", "Pieces of audio in a batch", buckets=COUNTS, **own)
        self.batch_adapters = Histogram(
            "ia3_batch_adapters",
            "Different adapters, or sums, in a batch; the base is one",
            buckets=COUNTS,
            **own,
        )
        self.batch_seconds = Histogram(
            "ia3_batch_seconds", "A batch's time in the model", buckets=SECONDS, **own
        )
        self.row_audio = Counter("ia3_row_audio_seconds", "Audio in batches, without padding", **own)
        self.padded_audio = Counter("ia3_padded_audio_seconds", "Audio in batches, with padding", **own)
        self.adapters = Gauge("ia3_adapters_loaded", "Adapters in the bank", **own)
        self.adapter_bytes = Gauge("ia3_adapter_bytes", "Of the parameters of adapters in the bank", **own)
        self.loads = Counter("ia3_adapter_loads", "Adapters that were read from disk", **own)
        self.evictions = Counter("ia3_adapter_evictions", "Adapters that left for others", **own)

    def text(self) -> bytes:
        return generate_latest(self.registry)
