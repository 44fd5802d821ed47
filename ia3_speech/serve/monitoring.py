"""Counts and times for Prometheus at /metrics, and the log: a line for each request, with its id. Neither
contains audio or text, nor the name of an adapter, which may be a speaker's, unless a voice is deleted."""

import logging
from contextvars import ContextVar
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import Scope

logger = logging.getLogger(__name__)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)
COUNTS = (1, 2, 4, 8, 16, 32, 64)
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")


def add_request_id(record: logging.LogRecord) -> bool:
    """A filter of the log, which keeps every line, and adds the id of the request to it."""
    record.request_id = REQUEST_ID.get()
    return True


class Metrics:
    """The metrics of a process, in a separate registry."""

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

    def note_request(self, scope: Scope, status: int, seconds: float) -> None:
        """Count and log a request that has ended; its route is shown as `/v1/adapters/{name}`."""
        route, method = getattr(scope.get("route"), "path", "unknown"), scope.get("method", "WS")
        method = method if method in ("GET", "POST", "DELETE", "WS") else "other"
        client, audio_seconds = scope["state"]["client"], scope["state"]["audio_seconds"]
        self.requests.labels(method, route, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)
        self.audio_seconds.inc(audio_seconds)
        line = "%s %s %d %.3f s, key %s, audio %.1f s"
        logger.info(line, method, route, status, seconds, client.name if client else "-", audio_seconds)
