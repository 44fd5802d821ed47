"""How fast a bank of adapters is: a batch of many adapters against one, edits, and thousands of adapters.

    python scripts/bench_bank.py --out scripts/bench_bank.md
    python scripts/bench_bank.py --base wav2vec2-base       random weights in that shape; or tiny

The adapters are random. In each round run three models that share their weights: the base, the base with one
attached adapter, the bank with another adapter for each row. A ratio is the median of the rounds' ratios. The
last table fills a bank of wav2vec2-base's shape.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from benchmark import Page, machine, resident_bytes, rounds, seconds_of

from ia3_speech.adapters.bank import Bank
from ia3_speech.adapters.load import attach_adapter
from ia3_speech.adapters.record import Adapter
from ia3_speech.common.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.model import ia3
from ia3_speech.model.architectures import IA3Config
from ia3_speech.model.base import Base, load_base, make_base
from ia3_speech.model.location import MINI
from ia3_speech.scoring.table import markdown_table

SHAPES = {
    "wav2vec2-base": {},  # transformers' defaults
    "tiny": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "conv_dim": (16, 16, 16), "conv_kernel": (10, 8, 4), "conv_stride": (5, 8, 8),
        "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4,
    },
}  # fmt: skip
EDITS = 50  # rounds of operations that take microseconds
GIB = 2**30


def main(
    *, page: Page, base: str = "mini", rows: int = 16, seconds: float = 8.0, repeats: int = 15,
    loaded: int = 1_000, filled_adapters: int = 10_000, threads: int = 0,
) -> None:  # fmt: skip
    """Measure and write the tables.

    Args:
        base: mini, a folder, a hub id, or a random base in the shape wav2vec2-base or tiny
        rows: rows of the batch, each with its own adapter
        seconds: the longest row; the shortest is half as long
        repeats: number of rounds
        loaded: adapters in the bank while the batch is timed
        filled_adapters: adapters in the banks of the last table; 0 leaves the table out
        threads: of torch; 0: torch's default
    """
    if threads:
        torch.set_num_threads(threads)
    model = base_or_random(base)
    samples = np.linspace(seconds / 2, seconds, rows) * SAMPLE_RATE
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(int(n)).astype("float32") for n in samples]
    head = (
        f"## A batch of {rows} rows, {seconds / 2:g} to {seconds:g} s, {max(loaded, rows):,} adapters loaded"
    )
    parts = [head, *batch_tables(model, waves, repeats, loaded)]
    if filled_adapters:
        parts += filled_table(filled_adapters, rows)
    page.write("Many adapters at once", f"base {model.name}, {machine()}", *parts)


def base_or_random(name: str) -> Base:
    """A base by name, or a Wav2Vec2ForCTC of a shape with random weights and mini's processor."""
    if name not in SHAPES:
        return load_base(name)
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2Processor

    torch.manual_seed(0)
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=29, pad_token_id=0, **SHAPES[name]))
    return make_base(model, Wav2Vec2Processor.from_pretrained(MINI), f"random {name}")


def random_adapters(base: Base) -> Callable[[int], Adapter]:
    """Seed → an adapter of random vectors in [0.9, 1.1]: keys, values, ffn, all layers."""
    targets = ia3.target_modules(base.model, IA3Config())
    sizes = [ia3.vector_size(base.model, target) for target in targets]

    def make(seed: int) -> Adapter:
        values = 0.9 + 0.2 * torch.rand(sum(sizes), generator=torch.Generator().manual_seed(seed))
        return Adapter(str(seed), IA3Config(), dict(zip(targets, values.split(sizes), strict=True)))

    return make


def batch_tables(base: Base, waves: list[np.ndarray], repeats: int, loaded: int) -> list[str]:
    """A batch of the base, of one attached adapter and of the bank; then edits of the bank."""
    make = random_adapters(base)
    shared = {id(tensor): tensor for tensor in [*base.model.parameters(), *base.model.buffers()]}
    attached, banked = (replace(base, model=copy.deepcopy(base.model, shared.copy())) for _ in range(2))
    attach_adapter(attached.model, make(0))
    bank = Bank(banked)
    for seed in range(max(loaded, len(waves))):
        bank.add(str(seed), make(seed))
    names = [str(seed) for seed in range(len(waves))]
    times = rounds(
        {
            "the base": lambda: base.logits(waves),
            "one adapter attached": lambda: attached.logits(waves),
            f"{len(waves)} adapters of the bank": lambda: bank.logits(waves, names),
            "the bank, rows of the base alone": lambda: bank.logits(waves, [None] * len(waves)),
        },
        repeats,
    )
    rows = []
    for name, seconds in times.items():
        ratio = median(a / b for a, b in zip(seconds, times["one adapter attached"], strict=True))
        rows.append([name, f"{median(seconds):.4f}", f"{min(seconds):.4f}", f"{ratio:.3f}"])
    sums = [f"{name}:0.5+0:0.5" for name in names]
    other = make(len(bank.names()))
    edits = rounds(
        {
            "replace an adapter": lambda: bank.replace("0", other),
            "drop one": lambda: bank.drop("0"),
            "add one": lambda: bank.add("0", other),
            f"select {len(names)} rows for a batch": lambda: bank.select(names),
            f"select {len(names)} rows, each a sum of two": lambda: bank.select(sums),
        },
        EDITS,
        rotate=False,
    )
    head = ["batch", "seconds, median", "least", "ratio to one adapter, median of the rounds"]
    microseconds = [[name, f"{1e6 * median(seconds):.0f}"] for name, seconds in edits.items()]
    return [markdown_table(head, rows), markdown_table(["in the bank", "microseconds, median"], microseconds)]


def filled_table(count: int, rows: int) -> list[str]:
    """Memory of full banks; times of selecting from an almost empty bank and from a full bank."""
    base = base_or_random("wav2vec2-base")
    make = random_adapters(base)

    def fill(bank: Bank, seeds: range) -> tuple[list[float], float]:
        """Seconds of each addition; seconds of selecting rows afterwards."""
        adapters = ((str(seed), make(seed)) for seed in seeds)
        added = [seconds_of(bank.add, *adapter) for adapter in adapters]
        names = [str(seed) for seed in np.linspace(0, len(bank.names()) - 1, rows).astype(int)]
        return added, median(rounds({"": lambda: bank.select(names)}, EDITS)[""])

    before = resident_bytes()
    bank = Bank(base)
    added, few = fill(bank, range(rows))
    more, many = fill(bank, range(rows, count))
    memory = [f"{size / GIB:.2f}" for size in (bank.nbytes, resident_bytes() - before)]
    times = [f"{1e6 * s:.0f}" for s in (median(added + more), few, many)]
    size = sum(vector.numel() for vector in make(0).vectors.values())
    head = ["GiB", "the process grew by, GiB", "add one, µs"]
    head += [f"select {rows} rows of {rows}, µs", f"select {rows} rows of {count:,}, µs"]
    return [
        f"## {count:,} adapters of the shape of wav2vec2-base, {size:,} parameters each",
        markdown_table(head, [memory + times]),
    ]


if __name__ == "__main__":
    command(main)
