"""How many requests a second the server's queue answers, beside what one would build without a bank.

    python scripts/bench_serve.py --out scripts/bench_serve.md
    python scripts/bench_serve.py --replicas 1 2                                Ray Serve too
    python scripts/bench_serve.py --rates 50 100 200 400 --batch-seconds 400    on a GPU

In: a folder of utterances; the adapters are random. Out: a Markdown table. Requests arrive as a Poisson
process, each for a random one of the adapters, and are taken by a number of clients; a latency counts from
the arrival. All systems search greedily, without HTTP, and get the same requests at the same times, but for
rates above one at which a system is too slow:

    base      the engine, all requests for the base
    mixed     the engine, each request for its adapter: batches hold many
    swapped   one model: the oldest request's adapter is attached, and what waits for the same one is batched
    pipeline  transformers' pipeline in a thread, what waits is batched; the base alone
    ray N     as mixed, by N replicas of Ray Serve, whose memory is not counted
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from bench_bank import random_adapters, resident_bytes
from bench_page import machine, made_by, publish

from ia3_speech.adapters import registry
from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.cache import StoredAdapter, stored_adapter
from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.load import attach_adapter
from ia3_speech.adapters.record import Adapter
from ia3_speech.cli import command
from ia3_speech.data.audio import AUDIO_SUFFIXES, SAMPLE_RATE, load_audio
from ia3_speech.model.attach import detach
from ia3_speech.model.base import Base, load_base
from ia3_speech.model.hypotheses import GreedySearch
from ia3_speech.serve.engine import Engine, Turn
from ia3_speech.serve.models import MeteredCache
from ia3_speech.serve.monitoring import Metrics
from ia3_speech.serve.options import EngineOptions

GOAL = 2.0  # seconds that 95 % of the requests may take
SPEECH = Path(__file__).parent.parent / "ia3_speech/out_of_domain/librispeech_dev/audio"

Answer = Callable[[np.ndarray, int], str]  # a wave and the number of its adapter → the text


@dataclass
class Options:
    """Options of one run.

    Args:
        base: a base as everywhere
        audio: a folder of utterances
        adapters: random ones, of which each request has one
        clients: requests that are under way at most
        rates: requests a second, one after another
        seconds: of arrivals at each rate
        replicas: numbers of replicas of Ray Serve to measure too
        batch_seconds: of padded audio in a batch
        max_wait_ms: of the engine
        out: where the Markdown goes; it is printed in any case
    """

    base: str = "mini"
    audio: Path = SPEECH
    adapters: int = 100
    clients: int = 32
    rates: list[float] = field(default_factory=lambda: [1.5, 2.0, 2.5, 3.0, 4.0])
    seconds: float = 25.0
    replicas: list[int] = field(default_factory=list)
    batch_seconds: float = 16.0
    max_wait_ms: float = 20.0
    out: Path | None = None


def main(options: Options) -> None:
    """Measure each system at each rate."""
    base = load_base(options.base)
    files = sorted(file for file in options.audio.rglob("*") if file.suffix in AUDIO_SUFFIXES)
    waves = [load_audio(file) for file in files]
    make = random_adapters(base)
    adapters = [make(seed) for seed in range(options.adapters)]
    mean = np.mean([len(wave) for wave in waves]) / SAMPLE_RATE
    lines = [
        "# The server's queue",
        "",
        f"{made_by()}: base {options.base}, {len(waves)} utterances of {mean:.1f} s on average, "
        f"{options.adapters} adapters, {options.clients} clients, {options.seconds:g} s of arrivals at each "
        f"rate; {machine()}.",
        "",
        "| system | arrivals / s | answers / s | p50, s | p95, s | audio s / s | memory, GB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    best: dict[str, float] = {}
    systems = SYSTEMS | {f"ray {count}": ray_system(count) for count in options.replicas}
    for name, system in systems.items():
        with system(base, adapters, options) as answer:
            answer(waves[0], 0)
            for rate in options.rates:
                row = measure(answer, waves, rate, options)
                print(f"{name}, {rate:g} / s: {row}", file=sys.stderr)
                lines.append(
                    f"| {name} | {rate:g} | {row.answers:.2f} | {row.p50:.2f} | {row.p95:.2f} | "
                    f"{row.audio:.1f} | {resident_bytes() / 1e9:.2f} |"
                )
                if row.p95 <= GOAL:
                    best[name] = max(best.get(name, 0), row.answers)
                if row.p95 > 2 * GOAL:
                    break
    shown = ", ".join(
        f"{name} {best[name]:.2f}" if name in best else f"{name} at no rate" for name in systems
    )
    publish("\n".join([*lines, "", f"Most answers a second at p95 ≤ {GOAL:g} s: {shown}.", ""]), options.out)


@dataclass
class Row:
    """What was measured at one rate: answers and seconds of audio a second, latencies in seconds."""

    answers: float
    p50: float
    p95: float
    audio: float


def measure(answer: Answer, waves: list[np.ndarray], rate: float, options: Options) -> Row:
    """One rate; the same arrivals for each system."""
    rng = np.random.default_rng(round(1000 * rate))
    arrivals = np.cumsum(rng.exponential(1 / rate, max(1, round(rate * options.seconds))))
    chosen = rng.integers(len(waves), size=len(arrivals))
    voices = rng.integers(options.adapters, size=len(arrivals))
    began = time.monotonic()

    def request(number: int) -> float:
        answer(waves[chosen[number]], int(voices[number]))
        return time.monotonic() - began - arrivals[number]

    futures = []
    with ThreadPoolExecutor(options.clients) as clients:
        for number, arrival in enumerate(arrivals):
            time.sleep(max(0.0, began + arrival - time.monotonic()))
            futures.append(clients.submit(request, number))
        latencies = [future.result() for future in futures]
    seconds = time.monotonic() - began
    audio = sum(len(waves[number]) for number in chosen) / SAMPLE_RATE
    p50, p95 = np.percentile(latencies, (50, 95))
    return Row(len(arrivals) / seconds, float(p50), float(p95), audio / seconds)


# ---- the systems


def engine_system(mixed: bool) -> Callable:
    @contextmanager
    def system(base: Base, adapters: list[Adapter], options: Options) -> Iterator[Answer]:
        metrics, bank, search = Metrics(), Bank(base), GreedySearch(base.vocabulary)
        cache = MeteredCache(bank, len(adapters), 1e12, metrics)
        stored = [StoredAdapter(str(n), Path(str(n)), (n,)) for n in range(len(adapters))]
        for one, adapter in zip(stored, adapters, strict=True):  # in memory: the disk is not what is measured
            bank.add(f"adapter{one.name}", adapter)
            cache.loaded[one] = f"adapter{one.name}"
        engine = Engine(cache, options.batch_seconds, options.max_wait_ms / 1000, metrics)

        def answer(wave: np.ndarray, voice: int) -> str:
            terms = ((stored[voice], 1.0),) if mixed else ()
            return search(Turn(engine).logits([wave], terms)[0]).text

        yield answer
        engine.close()
        for one in stored:
            cache.drop(one)

    return system


@dataclass(eq=False)
class Request:
    """A wave, the number of its adapter, and the text, once it is there."""

    wave: np.ndarray
    voice: int
    text: str | None = None


def behind_a_queue(
    run: Callable[[list[Request]], list[str]], same: bool, options: Options
) -> Iterator[Answer]:
    """A thread that takes the oldest request, and what waits up to a batch.

    Args:
        same: of the same adapter alone.
    """
    waiting: list[Request] = []

    def work(own: Request) -> str:
        while own.text is None:
            batch: list[Request] = []
            for one in waiting.copy():
                seconds = max(len(other.wave) for other in [*batch, one]) / SAMPLE_RATE * (len(batch) + 1)
                fits = not batch or seconds <= options.batch_seconds
                if fits and not (same and one.voice != waiting[0].voice):
                    batch.append(one)
            for one, text in zip(batch, run(batch), strict=True):
                one.text = text
                waiting.remove(one)
        return own.text

    with ThreadPoolExecutor(1) as thread:

        def answer(wave: np.ndarray, voice: int) -> str:
            request = Request(wave, voice)
            waiting.append(request)
            return thread.submit(work, request).result()

        yield answer


@contextmanager
def swapped(base: Base, adapters: list[Adapter], options: Options) -> Iterator[Answer]:
    search = GreedySearch(base.vocabulary)

    def run(batch: list[Request]) -> list[str]:
        attach_adapter(base.model, adapters[batch[0].voice], check=False)
        logits = base.logits([one.wave for one in batch], any_length=True)
        return [search(row).text for row in logits]

    yield from behind_a_queue(run, True, options)
    detach(base.model)


@contextmanager
def pipeline_system(base: Base, adapters: list[Adapter], options: Options) -> Iterator[Answer]:
    from transformers import pipeline

    parts = {"tokenizer": base.processor.tokenizer, "feature_extractor": base.processor.feature_extractor}
    recognize = pipeline("automatic-speech-recognition", base.model, device=base.device, **parts)

    def run(batch: list[Request]) -> list[str]:
        return [one["text"] for one in recognize([one.wave for one in batch], batch_size=len(batch))]

    yield from behind_a_queue(run, False, options)


def ray_system(replicas: int) -> Callable:
    @contextmanager
    def system(base: Base, adapters: list[Adapter], options: Options) -> Iterator[Answer]:
        import ray
        from ray import serve

        from ia3_speech.serve.ray_app import RemoteTurn, Replica

        engine = EngineOptions(
            base=options.base, batch_seconds=options.batch_seconds, max_wait_ms=options.max_wait_ms
        )
        with tempfile.TemporaryDirectory() as home:
            os.environ["IA3_SPEECH_HOME"] = home
            stored, search = [], GreedySearch(base.vocabulary)
            for number, adapter in enumerate(adapters):
                attach_adapter(base.model, adapter, check=False)
                folder = save_adapter(base.model, registry.adapters_dir() / f"adapter{number}", base=base)
                stored.append(stored_adapter(folder.name, folder))
            detach(base.model)
            ray.init("local", num_cpus=replicas + 1, include_dashboard=False, logging_level="warning")
            serve.start(proxy_location="Disabled")
            queues = serve.run(Replica.options(num_replicas=replicas).bind(engine), route_prefix=None)

            def answer(wave: np.ndarray, voice: int) -> str:
                logits = RemoteTurn(queues).logits([wave], ((stored[voice], 1.0),))
                return search(logits[0]).text

            yield answer
            serve.shutdown()
            ray.shutdown()

    return system


SYSTEMS = {
    "base": engine_system(False),
    "mixed": engine_system(True),
    "swapped": swapped,
    "pipeline": pipeline_system,
}


if __name__ == "__main__":
    command(main)
