"""engine: requests share batches fairly; whatever happens, nobody gets another's logits, and nobody waits."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import noise_waves

from ia3_speech import load_base
from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.cache import AdapterCache
from ia3_speech.adapters.spec import Term, find_registered
from ia3_speech.common.errors import AdapterError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.serve.engine import Engine, EngineClosed, QueueHandle
from ia3_speech.serve.monitoring import Metrics
from ia3_speech.serve.options import EngineOptions


def seconds(count: float) -> np.ndarray:
    return noise_waves(count)[0]


class WatchedEngine(Engine):
    """Batches of 40 s that wait for nobody; the first, of 1 s, is under way until `go`. 7 s are too many."""

    def __init__(self, bank: Bank, monkeypatch):
        super().__init__(bank, EngineOptions(batch_seconds=40, max_wait_ms=0, max_adapters=2), Metrics())
        self.base, self.batches, logits = bank.base, [], bank.logits
        self.began, self.go = threading.Event(), threading.Event()

        def watched(waves, names, **options):
            self.batches.append([len(wave) / SAMPLE_RATE for wave in waves])
            self.began.set()
            assert self.go.wait(30)
            if 7 in self.batches[-1]:
                raise RuntimeError("out of memory")
            return logits(waves, names, **options)

        monkeypatch.setattr(bank, "logits", watched)
        self.submit(seconds(1), (), QueueHandle(self))
        assert self.began.wait(30)

    def frames(self, lengths: list[float]) -> list[int]:
        return [self.base.frames(len(seconds(length))) for length in lengths]


@pytest.fixture
def engine(random_base, monkeypatch):
    engine = WatchedEngine(Bank(load_base(random_base)), monkeypatch)
    yield engine
    engine.go.set()
    engine.close()


def test_a_short_request_never_waits_for_a_long_recording_nor_the_reverse(engine):
    long, short = QueueHandle(engine), QueueHandle(engine)
    futures = [engine.submit(seconds(15), (), long) for _ in range(8)]
    futures += [engine.submit(seconds(3), (), short)]
    others = [QueueHandle(engine) for _ in range(40)]
    futures += [engine.submit(seconds(4), (), turn) for turn in others]
    engine.go.set()
    assert [len(future.result(60)) for future in futures] == engine.frames([15] * 8 + [3] + [4] * 40)
    batches = engine.batches[1:]
    first_short = next(n for n, batch in enumerate(batches) if 3 in batch)
    assert first_short <= 1, "at most the one batch that was next came before it"
    last_long = max(n for n, batch in enumerate(batches) if 15 in batch)
    assert any(15 in batch for batch in batches[:3]), "and forty short ones do not hold up the recording"
    assert last_long == len(batches) - 1


def test_a_row_that_fails_fails_alone(engine):
    futures = [engine.submit(seconds(length), (), QueueHandle(engine)) for length in (5, 6, 7, 8, 9)]
    gone = engine.submit(seconds(6), (Term("an adapter", Path("nowhere")),), QueueHandle(engine))
    engine.go.set()
    with pytest.raises(RuntimeError, match="out of memory"):
        futures[2].result(30)
    with pytest.raises(AdapterError, match="nowhere"):
        gone.result(30)
    assert [len(futures[n].result(30)) for n in (0, 1, 3, 4)] == engine.frames([5, 6, 8, 9])


def test_a_defect_leaves_nobody_waiting(engine, monkeypatch):
    monkeypatch.setattr(engine, "choose_batch", lambda: 1 / 0)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    future = engine.submit(seconds(2), (), QueueHandle(engine))
    engine.go.set()
    with pytest.raises(EngineClosed):
        future.result(30)


@pytest.fixture
def cache(session, adapters):
    cache = AdapterCache(Bank(session.base), 2, 1e9)
    yield cache
    for folder in [*cache.loaded]:
        cache.drop(folder)


def loaded(cache: AdapterCache) -> list[str]:
    return [term.name for term in cache.loaded.values()]


def test_adapters_load_on_first_use_and_the_least_recently_used_leave(cache):
    accent, medical, speaker = map(find_registered, ("accent", "medical", "speaker42"))
    assert cache.row(()) == () and loaded(cache) == []
    first = cache.row((accent,))
    cache.row((replace(medical, weight=0.5),))
    assert cache.row((accent,)) == first and loaded(cache) == ["medical", "accent"]
    cache.row((speaker, replace(accent, weight=-1.0)), {speaker.folder, accent.folder})
    assert loaded(cache) == ["speaker42", "accent"] and len(cache.bank.names()) == 2
    cache.max_bytes = cache.bank.nbytes / 2
    cache.row((medical,), {medical.folder})
    assert loaded(cache) == ["medical"], "no more than their memory holds"
    cache.drop(medical.folder)
    assert loaded(cache) == [] and cache.bank.nbytes == 0 and not cache.bank.names()
