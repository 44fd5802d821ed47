"""How fast training is: PEFT with transformers' Trainer, ours, and a bare loop on features in memory.

    python scripts/bench_training.py --train data/train --dev data/dev --out scripts/bench_training.md

In: Kaldi directories of short utterances; the base mini, and a random one in wav2vec2-base's shape. Out:
Markdown tables. Each system trains in a process of its own, so that its peak memory is its own, on the same
utterances for two epochs: our first one fills the cache of features, theirs are alike. Batches hold 40
seconds of audio, ours padding included, theirs so many utterances as have 40 seconds on average. The last
table trains on mini until dev's word error rate is as low as what PEFT's IA³ reaches; its seconds are those
of training, from features that aren't cached yet, without the evaluations. With --profile another table says
instead what the operations of the second epoch took, in PEFT's Trainer and in ours.

PEFT and the Trainer are used as their documentation has it: `get_peft_model` on the model, the modules named
for it, a collator that pads. "Front end frozen" adds `freeze_feature_encoder()`, without which they compute
gradients for convolutions that don't train. Their bf16 has all in bfloat16, where the front end of mini,
which takes logarithms, breaks: the last table shows it.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from bench_bank import base_or_random
from bench_page import in_child, machine, made_by, publish

from ia3_speech.cli import command
from ia3_speech.data.batches import make_batches
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.attach import trainable
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import layers_of
from ia3_speech.model.kinds.ctc import ctc_loss
from ia3_speech.scoring.alignment import ErrorCounts
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.training.config import TrainingOptions
from ia3_speech.training.data import Example, read_examples
from ia3_speech.training.feature_cache import FeatureCache, frozen_depth, switch_off_dropout
from ia3_speech.training.run import prepare_base
from ia3_speech.training.trainer import Trainer, peak_memory_bytes

PAPER = ("key", "value", "ffn")
FIVE = (*PAPER, "ffn_output", "attention_output")
RATES = {"ia3": 1e-2, "lora": 1e-3, "full": 1e-4}
MIB = 2**20


@dataclass(frozen=True)
class System:
    """A row of the tables.

    Attributes:
        kind: trainer (transformers'), ours, or bare: our forward pass, loss, gradient and AdamW, on features
            in memory, without a trainer around them.
        method: of transformers' Trainer: ia3 and lora (PEFT's), full.
        frozen: `freeze_feature_encoder()` was called.
        upper: vectors in the upper half of the layers, no masks: without dropout all below it is cached.
        dropout: whether the base's dropout is on; mini has none.
    """

    name: str
    kind: str
    method: str = "ia3"
    precision: str = "no"
    frozen: bool = True
    placements: tuple[str, ...] = PAPER
    upper: bool = False
    dropout: bool = True
    cache_gb: float = 4.0


def both(name: str, kind: str, *args: Any, **options: Any) -> list[System]:
    """A system in float32 and in bfloat16; ours also in what `--precision auto` takes."""
    names = {"fp32": "no", "bf16": "bf16"} | ({"auto": "auto"} if kind == "ours" else {})
    return [System(f"{name}, {n}", kind, *args, precision=p, **options) for n, p in names.items()]


SYSTEMS = [
    System("PEFT's IA³, Trainer, fp32", "trainer", frozen=False),
    *both("PEFT's IA³, Trainer, front end frozen", "trainer"),
    *both("PEFT's LoRA, Trainer, front end frozen", "trainer", "lora"),
    *both("full fine-tuning, Trainer, front end frozen", "trainer", "full"),
    *both("ours, PEFT's placements, no cache", "ours", cache_gb=0),
    *both("ours, PEFT's placements", "ours"),
    *both("a bare loop, PEFT's placements", "bare"),
    *both("ours, five placements", "ours", placements=FIVE),
    *both("ours, five placements, upper half", "ours", placements=FIVE, upper=True),
    *both("a bare loop, five placements, upper half", "bare", placements=FIVE, upper=True),
    *both("PEFT's IA³, Trainer, front end frozen, no dropout", "trainer", dropout=False),
    *both("ours, PEFT's placements, no dropout", "ours", dropout=False),
    *both(
        "ours, five placements, upper half, no dropout", "ours", placements=FIVE, upper=True, dropout=False
    ),
]
PROFILED = [
    s for s in SYSTEMS
    if s.dropout and s.cache_gb and s.placements == PAPER and s.method == "ia3" and s.kind != "bare"
    and s.precision != "auto"
]  # fmt: skip
# Of PyTorch's operators, by parts of their names; the first that fits.
KINDS = {
    "convolutions": ("conv", "fft"),
    "attention": ("scaled_dot_product", "bmm", "_softmax"),
    "matrix products": ("mm", "linear"),
    "norms": ("_norm",),
    "GELU": ("gelu",),
    "copies and casts": ("copy_", "clone", "contiguous", "cat"),
    "CTC loss": ("ctc_loss",),
}
RACE = [
    s for s in SYSTEMS
    if s.dropout and s.cache_gb and (s.kind == "trainer" or (s.kind == "ours" and s.precision == "auto"))
]  # fmt: skip


@dataclass
class Options:
    """Options of one run.

    Args:
        train: Kaldi directory to train on
        dev: Kaldi directory whose error rate the last table waits for
        shapes: bases: mini, or a random one in the shape wav2vec2-base or tiny
        utterances: of train for the first tables, spread over it; a third of them but for mini
        race_utterances: of train for the last table; 0 leaves it out
        dev_utterances: of dev for the last table
        epochs: of the last table
        profile: a table of the operations instead, of `utterances`
        out: where the Markdown goes; it is printed in any case
    """

    train: Path
    dev: Path
    shapes: list[str] = field(default_factory=lambda: ["mini", "wav2vec2-base"])
    utterances: int = 12
    race_utterances: int = 30
    dev_utterances: int = 24
    epochs: int = 4
    profile: bool = False
    out: Path | None = None


@dataclass
class Run:
    """What a system did: seconds of audio, and of training in each epoch; dev's error rate after it."""

    audio: float
    seconds: list[float] = field(default_factory=list)
    wer: list[float] = field(default_factory=list)
    trained: int = 0  # parameters
    memory: int = 0  # bytes
    kinds: dict[str, float] = field(default_factory=dict)  # seconds in the second epoch of each of KINDS

    @property
    def rates(self) -> list[float]:
        """Seconds of audio trained on in a second, of each epoch."""
        return [self.audio / seconds for seconds in self.seconds]


def main(options: Options) -> None:
    """Measure and write the tables."""
    parts = [f"# Training\n\n{made_by()}: {machine()}\n"]
    for shape in options.shapes:
        count = options.utterances if shape == "mini" else max(1, options.utterances // 3)
        systems = [system for system in SYSTEMS if system.dropout or shape != "mini"]
        if options.profile:
            parts.append(profile_table(shape, measure_all(PROFILED, shape, options, count)))
            continue
        parts.append(speed_table(shape, measure_all(systems, shape, options, count)))
    if options.race_utterances and not options.profile:
        runs = measure_all(RACE, "mini", options, options.race_utterances, options.dev_utterances)
        parts.append(race_table(runs, options))
    publish("\n".join(parts), options.out)


def measure_all(systems: list[System], *arguments: Any) -> dict[System, Run]:
    """Each in a process of its own."""
    runs = {}
    for system in systems:
        runs[system] = in_child(measure, system, *arguments)
        print(f"{arguments[0]}: {system.name}: {runs[system]}", file=sys.stderr, flush=True)
    return runs


def measure(system: System, shape: str, options: Options, utterances: int, dev_utterances: int = 0) -> Run:
    """Train a system on some utterances of train; of the last table with an evaluation after each epoch."""
    base = base_or_random(shape)
    if not system.dropout:
        switch_off_dropout(base)
    layers = len(layers_of(base.model)[1])
    training = TrainingOptions(
        train=options.train, dev=options.dev, out=Path(tempfile.mkdtemp()), placements=[*system.placements],
        layers=f"{layers // 2}-{layers - 1}" if system.upper else "all", speeds=[1.0],
        spec_augment="off" if system.upper else "base",
        epochs=options.epochs if dev_utterances else 2, cache_gb=system.cache_gb, precision=system.precision,
        learning_rate=RATES[system.method] * (2 if system.placements == FIVE else 1),
    )  # fmt: skip
    train = spread(options.train, base, training, utterances)
    dev = spread(options.dev, base, training, dev_utterances or 1)
    run = Run(sum(example.seconds for example in train))

    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def after_epoch(seconds: float) -> None:
        run.seconds.append(seconds)
        if options.profile:
            profiler.start() if len(run.seconds) == 1 else profiler.stop()
        if dev_utterances:
            run.wer.append(word_error_rate(base, dev))

    train_with = {"trainer": with_their_trainer, "ours": with_our_trainer, "bare": with_a_bare_loop}
    train_with[system.kind](system, base, training, train, dev, after_epoch)
    run.trained = sum(p.numel() for p in base.model.parameters() if p.requires_grad)
    run.memory = peak_memory_bytes()
    if options.profile:
        for event in profiler.key_averages():
            kind = next((k for k, parts in KINDS.items() if any(p in event.key for p in parts)), "other")
            run.kinds[kind] = run.kinds.get(kind, 0.0) + event.self_cpu_time_total / 1e6
    return run


def spread(data: Path, base: Base, options: TrainingOptions, count: int) -> list[Example]:
    """So many utterances of a directory, spread over it."""
    ids = [utterance.id for utterance in read_data_directory(data)]
    wanted = {ids[len(ids) * n // count] for n in range(min(count, len(ids)))}
    return read_examples(data, base, options, [1.0], lambda utterance: utterance.id in wanted)


def word_error_rate(base: Base, dev: list[Example]) -> float:
    """Of greedy search, texts normalised as in our own training."""
    texts = Recognizer(base).texts([load_utterance(example.utterance) for example in dev])
    counts = (text_errors(e.utterance.text, text) for e, text in zip(dev, texts, strict=True))
    return sum(counts, ErrorCounts()).wer


After = Callable[[float], None]


def with_their_trainer(
    system: System, base: Base, options: TrainingOptions, train: list[Example], _: Any, after: After
) -> None:
    """PEFT, or the whole model, in transformers' Trainer."""
    transformers.utils.logging.set_verbosity_error()
    model = base.model
    model.config.ctc_loss_reduction, model.config.ctc_zero_infinity = "mean", True
    if system.method == "full":
        model.requires_grad_(True)
    elif system.method == "lora":
        peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj", "v_proj"]))
    else:
        feedforward = ["output_dense"]
        placed = {"target_modules": ["k_proj", "v_proj", *feedforward], "feedforward_modules": feedforward}
        peft.get_peft_model(model, peft.IA3Config(**placed))
    if system.frozen:
        model.freeze_feature_encoder()

    class Clock(transformers.TrainerCallback):
        """Seconds of each epoch, without what comes after it."""

        def on_epoch_begin(self, *_args, **_kwargs):
            self.started = time.perf_counter()

        def on_epoch_end(self, *_args, **_kwargs):
            after(time.perf_counter() - self.started)

    size = max(1, round(options.batch_seconds * len(train) / sum(example.seconds for example in train)))
    arguments = transformers.TrainingArguments(
        str(options.out), per_device_train_batch_size=size, learning_rate=options.learning_rate,
        num_train_epochs=options.epochs, bf16=system.precision == "bf16",
        use_cpu=not torch.cuda.is_available(), save_strategy="no", logging_strategy="no", report_to=[],
        disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=False,
    )  # fmt: skip
    rows = [{"audio": load_utterance(e.utterance), "text": e.utterance.text} for e in train]
    transformers.Trainer(model, arguments, base.collate, rows, callbacks=[Clock()]).train()


def with_our_trainer(
    _: System, base: Base, options: TrainingOptions, train: list[Example], dev: list[Example], after: After
) -> None:
    """What `ia3-speech train` does in each step."""
    prepare_base(base, options)
    trainer = Trainer(base, train, dev, options)
    for epoch in range(options.epochs):
        started = time.perf_counter()
        for batch in trainer.order:
            trainer.train_step(batch, epoch)
            trainer.state.step += 1
        after(time.perf_counter() - started)


def with_a_bare_loop(
    _: System, base: Base, options: TrainingOptions, train: list[Example], __: Any, after: After
) -> None:
    """The least that training is: batches of features in memory, forward pass, loss, gradient, AdamW."""
    prepare_base(base, options)
    depth = frozen_depth(base)
    cache = FeatureCache(base, depth, options.cache_gb * 2**30)
    features = [cache.get(example.utterance) for example in train]
    vectors = [parameter for _, parameter in trainable(base.model)]
    optimizer = torch.optim.AdamW(vectors, lr=options.learning_rate, weight_decay=0.0)
    base.model.train()
    for epoch in range(options.epochs):
        started = time.perf_counter()
        for batch in make_batches([e.seconds for e in train], options.batch_seconds, seed=0, epoch=epoch):
            logits, frames = base.forward([features[i] for i in batch], depth)
            optimizer.zero_grad(set_to_none=True)
            ctc_loss(logits, frames, [train[i].ids for i in batch], base.vocabulary.blank).mean().backward()
            optimizer.step()
        after(time.perf_counter() - started)


def speed_table(shape: str, runs: dict[System, Run]) -> str:
    """A row a system; what it is compared with is PEFT's IA³ as documented, and the bare loop of the same."""
    lines = [
        f"## {shape}",
        "",
        "| system | parameters | audio a second, first epoch | second epoch | × PEFT's IA³, Trainer, fp32 "
        "| time of the bare loop | peak memory, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    documented = next(run.rates[-1] for system, run in runs.items() if not system.frozen)
    by_name = {system.name: run.rates[-1] for system, run in runs.items()}
    for system, run in runs.items():
        bare = by_name.get(system.name.replace("ours", "a bare loop"))
        share = f"{bare / run.rates[-1]:.2f}" if bare and system.kind == "ours" else ""
        cells = [f"{run.trained:,}", *(f"{rate:.1f} s" for rate in run.rates)]
        cells += [f"{run.rates[-1] / documented:.2f}", share]
        lines.append(f"| {system.name} | {' | '.join(cells)} | {run.memory / MIB:,.0f} |")
    return "\n".join([*lines, ""])


def profile_table(shape: str, runs: dict[System, Run]) -> str:
    """A row a kind of operation, a column a system: its milliseconds for a second of audio, without the
    rest of the epoch, such as Python."""
    names = [system.name for system in runs]
    lines = [f"## Operations, {shape}", "", f"| ms a second of audio | {' | '.join(names)} |"]
    lines.append("|---|" + "---:|" * len(names))
    rows = {kind: [run.kinds.get(kind, 0.0) for run in runs.values()] for kind in [*KINDS, "other"]}
    rows["all operations"] = [sum(run.kinds.values()) for run in runs.values()]
    rows["the epoch"] = [run.seconds[-1] for run in runs.values()]
    for kind, seconds in rows.items():
        cells = (f"{1000 * s / run.audio:.1f}" for s, run in zip(seconds, runs.values(), strict=True))
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def race_table(runs: dict[System, Run], options: Options) -> str:
    """Seconds of training until dev's error rate is at most the least that PEFT's IA³ has in float32."""
    first = next(iter(runs.values()))
    target = min(first.wer)
    lines = [
        f"## mini, {options.race_utterances} utterances, until dev's word error rate is {target:.1%}",
        "",
        "| system | seconds of training | × | word error rate after each epoch |",
        "|---|---:|---:|---|",
    ]
    reference = seconds_until(first, target)
    for system, run in runs.items():
        seconds = seconds_until(run, target)
        cells = ["not reached", ""] if seconds is None else [f"{seconds:.1f}", f"{reference / seconds:.2f}"]
        cells.append(", ".join(f"{wer:.1%}" for wer in run.wer))
        lines.append(f"| {system.name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def seconds_until(run: Run, target: float) -> float | None:
    """Seconds of training to the end of the first epoch after which dev's error rate is that low."""
    reached = next((n for n, wer in enumerate(run.wer, 1) if wer <= target), None)
    return reached and sum(run.seconds[:reached])


if __name__ == "__main__":
    command(main)
