"""How fast a bank of adapters is: a batch of many adapters against one, edits, and thousands of adapters.

    python scripts/bench_bank.py --out scripts/bench_bank.md
    python scripts/bench_bank.py --base wav2vec2-base       random weights in that shape; or tiny

In: a base; the adapters are random. Out: Markdown tables. Three models that share their weights take turns,
in each repeat once: the base, the base with one adapter attached, the bank with another adapter for each row.
A ratio is the median of the repeats' own, so that other load on the machine affects both sides. The last
table fills a bank of wav2vec2-base's shape, in float32 and in bfloat16.
"""

import copy
import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bench_page import machine, made_by, publish

from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.load import attach_adapter
from ia3_speech.adapters.record import Adapter
from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.model import ia3
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.attach import detach
from ia3_speech.model.base import Base, load_base, make_base
from ia3_speech.model.location import MINI

TINY = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "conv_dim": (16, 16, 16), "conv_kernel": (10, 8, 4), "conv_stride": (5, 8, 8),
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
SHAPES = {"tiny": TINY, "wav2vec2-base": {}}  # transformers' defaults are wav2vec2-base
EDITS = 50  # repeats of what takes microseconds
GIB = 2**30


@dataclass
class Options:
    """Options of one run.

    Args:
        base: a base as everywhere, or a random one in the shape tiny or wav2vec2-base
        rows: rows of the batch, each with an adapter of its own
        seconds: the longest row; the shortest is half as long
        repeats: how often the three models take their turns
        loaded: adapters in the bank while the batch is timed
        filled_shape: shape of the base of the last table
        filled_adapters: adapters in the banks of the last table; 0 leaves it out
        threads: of torch; 0 leaves its own choice
        out: where the Markdown goes; it is printed in any case
    """

    base: str = "mini"
    rows: int = 16
    seconds: float = 8.0
    repeats: int = 15
    loaded: int = 1_000
    filled_shape: str = "wav2vec2-base"
    filled_adapters: int = 10_000
    threads: int = 0
    out: Path | None = None


def main(options: Options) -> None:
    """Measure and write the tables."""
    if options.threads:
        torch.set_num_threads(options.threads)
    base = base_or_random(options.base)
    heading = f"# Many adapters at once\n\n{made_by()}: base {base.name}, {machine()}\n"
    parts = [heading, time_batches(options, base)]
    if options.filled_adapters:
        parts.append(fill_banks(options))
    publish("\n".join(parts), options.out)


def base_or_random(name: str) -> Base:
    """A base by name, or a random one in a shape."""
    return random_base(name) if name in SHAPES else load_base(name)


def random_base(shape: str) -> Base:
    """A Wav2Vec2ForCTC of that shape with random weights, and mini's processor, of 29 characters."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2Processor

    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=29, pad_token_id=0, **SHAPES[shape]))
    return make_base(model, Wav2Vec2Processor.from_pretrained(MINI), f"random {shape}")


def with_shared_weights(base: Base) -> Base:
    """The same base as another model: it can carry other vectors, over the same weights in memory."""
    tensors = [*base.model.parameters(), *base.model.buffers()]
    model = copy.deepcopy(base.model, {id(tensor): tensor for tensor in tensors})
    return replace(base, model=model)


def random_adapters(base: Base) -> Callable[[int], Adapter]:
    """Seed → an adapter of random vectors in [0.9, 1.1]: keys, values, ffn, all layers."""
    target_modules = ia3.target_modules(base.model, IA3Config())
    sizes = [ia3.vector_size(base.model, target) for target in target_modules]

    def make(seed: int) -> Adapter:
        values = 0.9 + 0.2 * torch.rand(sum(sizes), generator=torch.Generator().manual_seed(seed))
        return Adapter(str(seed), IA3Config(), dict(zip(target_modules, values.split(sizes), strict=True)))

    return make


def time_batches(options: Options, base: Base) -> str:
    """The three models in turn, then what one edit and one choice take in the bank."""
    random = np.random.default_rng(0)
    samples = np.linspace(options.seconds / 2, options.seconds, options.rows) * SAMPLE_RATE
    waves = [random.standard_normal(int(n)).astype("float32") for n in samples]
    make, attached, stacked = random_adapters(base), with_shared_weights(base), with_shared_weights(base)
    attach_adapter(attached.model, make(0))
    bank = Bank(stacked)
    for seed in range(max(options.loaded, options.rows)):
        bank.add(str(seed), make(seed))
    names = [str(seed) for seed in range(len(waves))]
    turns = {
        "the base": lambda: base.logits(waves),
        "one adapter attached": lambda: attached.logits(waves),
        f"{len(waves)} adapters of the bank": lambda: bank.logits(waves, names),
        "the bank, rows of the base alone": lambda: bank.logits(waves, [None] * len(waves)),
    }
    times = take_turns(turns, options.repeats)
    one = times["one adapter attached"]
    lines = [
        f"## A batch of {len(waves)} rows, {options.seconds / 2:g} to {options.seconds:g} s, "
        f"{len(bank):,} adapters loaded",
        "",
        "| batch | seconds, median | least | ratio to one adapter, median of the repeats |",
        "|---|---:|---:|---:|",
    ]
    for name, seconds in times.items():
        ratio = median(a / b for a, b in zip(seconds, one, strict=True))
        lines.append(f"| {name} | {median(seconds):.4f} | {min(seconds):.4f} | {ratio:.3f} |")
    return "\n".join([*lines, "", *time_edits(bank, make, names), ""])


def take_turns(turns: dict[str, Callable], repeats: int, rotate: bool = True) -> dict[str, list[float]]:
    """Name → seconds of each repeat, after one round that isn't timed. Each begins with another name."""
    times: dict[str, list[float]] = {name: [] for name in turns}
    order = list(turns)
    for repeat in range(repeats + 1):
        first = repeat % len(order) if rotate else 0
        for name in order[first:] + order[:first]:
            seconds = seconds_of(turns[name])
            if repeat:
                times[name].append(seconds)
    return times


def seconds_of(function: Callable) -> float:
    start = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def time_edits(bank: Bank, make: Callable[[int], Adapter], names: list[str]) -> list[str]:
    """Microseconds of an edit with an adapter that is in memory, and of selecting a batch's rows."""
    other = make(len(bank))
    turns = {
        "replace an adapter": lambda: bank.replace("0", other),
        "drop one": lambda: bank.drop("0"),
        "add one": lambda: bank.add("0", other),
        f"select {len(names)} rows for a batch": lambda: bank.select(names),
        f"select {len(names)} rows, each a sum of two": lambda: bank.select(
            [f"{name}:0.5+0:0.5" for name in names]
        ),
    }
    times = take_turns(turns, EDITS, rotate=False)
    lines = [f"| {name} | {1e6 * median(seconds):.0f} |" for name, seconds in times.items()]
    return ["| in the bank | microseconds, median |", "|---|---:|", *lines]


def fill_banks(options: Options) -> str:
    """Banks that are filled: what they take, and that selecting takes as long as in an almost empty one."""
    base, count, rows = random_base(options.filled_shape), options.filled_adapters, options.rows
    size = sum(vector.numel() for vector in random_adapters(base)(0).vectors.values())
    lines = [
        f"## {count:,} adapters of the shape of {options.filled_shape}, {size:,} parameters each",
        "",
        f"| vectors | GiB | the process grew by, GiB | add one, µs | select {rows} rows of {rows}, µs "
        f"| select {rows} rows of {count:,}, µs |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for dtype in ("float32", "bfloat16"):
        memory, speed = filled(base, dtype, count, rows)
        cells = [f"{number / GIB:.2f}" for number in memory] + [f"{1e6 * number:.0f}" for number in speed]
        lines.append(f"| {dtype} | {' | '.join(cells)} |")
        detach(base.model)  # the next bank's turn
    return "\n".join([*lines, ""])


def filled(base: Base, dtype: str, count: int, rows: int) -> tuple[list[int], list[float]]:
    """Bytes that a bank of `count` adapters has and that the process grew by; seconds of adding one, and of
    selecting rows while the bank is nearly empty and when it is full."""
    before, make = resident_bytes(), random_adapters(base)
    bank = Bank(base, dtype=dtype)

    def add(seeds: range) -> list[float]:
        made = ((str(seed), make(seed)) for seed in seeds)
        return [seconds_of(lambda pair=pair: bank.add(*pair)) for pair in made]

    def select() -> float:
        names = [str(seed) for seed in np.linspace(0, len(bank) - 1, rows).astype(int)]
        return median(take_turns({"": lambda: bank.select(names)}, EDITS)[""])

    few_added = add(range(rows))
    few = select()
    added = few_added + add(range(rows, count))
    return [bank.nbytes, resident_bytes() - before], [median(added), few, select()]


def resident_bytes() -> int:
    """Memory of this process, as Linux tells it; elsewhere 0."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * mmap.PAGESIZE if statm.exists() else 0


if __name__ == "__main__":
    command(main)
