"""How fast training is: PEFT with transformers' Trainer, and ours.

    python scripts/bench_training.py --train data/train --dev data/dev --out scripts/bench_training.md

Each system trains in its own process, so that its peak memory is its own, on the same utterances for two
epochs: our first epoch fills the cache of features. Batches hold 40 seconds of audio, ours padding included,
theirs the number of utterances that have 40 seconds on average. The last table trains on mini until dev's
word error rate is as low as that of PEFT's IA³; its seconds are those of training, without the evaluations.

PEFT and the Trainer are used as their documentation has it. "Front end frozen" adds
`freeze_feature_encoder()`, without which they compute gradients for convolutions that don't train. Their bf16
runs all modules in bfloat16, which breaks mini's front end, which takes logarithms.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jiwer
import peft
import torch
import transformers
from bench_bank import base_or_random
from benchmark import Page, in_child, log, machine

from ia3_speech.common.cli import command
from ia3_speech.data.corpora.preparation import evenly_spaced
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import load_utterance
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import layers_of
from ia3_speech.scoring.table import markdown_table
from ia3_speech.training.config import TrainingOptions
from ia3_speech.training.data import Example, read_examples
from ia3_speech.training.feature_cache import switch_off_dropout
from ia3_speech.training.run import prepare_base
from ia3_speech.training.trainer import Trainer, peak_memory_bytes

PAPER = ("key", "value", "ffn")
FIVE = (*PAPER, "ffn_output", "attention_output")
RACE_DEV = (24, 4)  # utterances of dev, and epochs, of the last table
RATES = {"ia3": 1e-2, "lora": 1e-3, "full": 1e-4}
MIB = 2**20
AfterEpoch = Callable[[float], None]


@dataclass(frozen=True)
class System:
    """A row of the tables."""

    name: str
    kind: str  # trainer (transformers') or ours
    method: str = "ia3"  # of transformers' Trainer: ia3 and lora (PEFT's), full
    precision: str = "no"
    frozen: bool = True  # `freeze_feature_encoder()` was called
    placements: tuple[str, ...] = PAPER
    upper: bool = False  # vectors in the upper half of the layers, no masks: what is below can be cached
    dropout: bool = True  # whether the base's dropout is on; mini has none
    cache_gb: float = 4.0


def both(name: str, kind: str, *args: Any, **options: Any) -> list[System]:
    """A system in float32 and in bfloat16; ours also with `--precision auto`."""
    precisions = {"fp32": "no", "bf16": "bf16"} | ({"auto": "auto"} if kind == "ours" else {})
    return [System(f"{name}, {n}", kind, *args, precision=p, **options) for n, p in precisions.items()]


UPPER = {"placements": FIVE, "upper": True}
SYSTEMS = [
    System("PEFT's IA³, Trainer, fp32", "trainer", frozen=False),
    *both("PEFT's IA³, Trainer, front end frozen", "trainer"),
    *both("PEFT's LoRA, Trainer, front end frozen", "trainer", "lora"),
    *both("full fine-tuning, Trainer, front end frozen", "trainer", "full"),
    *both("ours, PEFT's placements, no cache", "ours", cache_gb=0),
    *both("ours, PEFT's placements", "ours"),
    *both("ours, five placements", "ours", placements=FIVE),
    *both("ours, five placements, upper half", "ours", **UPPER),
    *both("PEFT's IA³, Trainer, front end frozen, no dropout", "trainer", dropout=False),
    *both("ours, PEFT's placements, no dropout", "ours", dropout=False),
    *both("ours, five placements, upper half, no dropout", "ours", **UPPER, dropout=False),
]
RACE = [
    system for system in SYSTEMS
    if system.dropout and (system.kind == "trainer" or (system.cache_gb and system.precision == "auto"))
]  # fmt: skip


@dataclass
class Run:
    """Measurements of a system: seconds of audio, and of training in each epoch; dev's WER after it."""

    audio: float
    seconds: list[float] = field(default_factory=list)
    wer: list[float] = field(default_factory=list)
    trained: int = 0  # parameters
    memory: int = 0  # bytes

    def seconds_until(self, wer: float) -> float | None:
        """Seconds of training to the end of the first epoch after which dev's WER is that low."""
        reached = next((n for n, after in enumerate(self.wer, 1) if after <= wer), None)
        return reached and sum(self.seconds[:reached])


def main(
    *, train: Path, dev: Path, page: Page, shapes: list[str] = ["mini", "wav2vec2-base"],  # noqa: B006
    utterances: int = 12, race_utterances: int = 30,
) -> None:  # fmt: skip
    """Measure and write the tables.

    Args:
        train: Kaldi directory to train on
        dev: Kaldi directory whose error rate the last table waits for
        shapes: bases: mini, or a random base in the shape wav2vec2-base or tiny
        utterances: of train for the first tables, evenly spaced; for other bases than mini a third of them
        race_utterances: of train for the last table; 0 leaves the table out
    """

    def run(systems: list[System], shape: str, count: int, *race: int) -> dict[System, Run]:
        runs = {}
        for system in systems:
            runs[system] = in_child(measure, system, shape, train, dev, count, *race)
            log(f"{shape}: {system.name}: {runs[system]}")
        return runs

    parts = []
    for shape in shapes:
        count = utterances if shape == "mini" else max(1, utterances // 3)
        systems = [system for system in SYSTEMS if system.dropout or shape != "mini"]
        parts += [f"## {shape}", speed_table(run(systems, shape, count))]
    if race_utterances:
        parts += race_table(run(RACE, "mini", race_utterances, *RACE_DEV), race_utterances)
    page.write("Training", machine(), *parts)


def measure(
    system: System, shape: str, train: Path, dev: Path, utterances: int, dev_utterances: int = 0,
    epochs: int = 2,
) -> Run:  # fmt: skip
    """Train a system on some utterances of train; with `dev_utterances`, evaluate after each epoch."""
    base = base_or_random(shape)
    if not system.dropout:
        switch_off_dropout(base)
    layers = len(layers_of(base.model)[1])
    options = TrainingOptions(
        train=train, dev=dev, out=Path(tempfile.mkdtemp()), placements=[*system.placements],
        layers=f"{layers // 2}-{layers - 1}" if system.upper else "all", speeds=[1.0],
        spec_augment="off" if system.upper else "base", epochs=epochs, cache_gb=system.cache_gb,
        precision=system.precision,
        learning_rate=RATES[system.method] * (2 if system.placements == FIVE else 1),
    )  # fmt: skip
    train_examples = examples(train, base, options, utterances)
    dev_examples = examples(dev, base, options, dev_utterances or 1)
    run = Run(sum(example.seconds for example in train_examples))

    def after_epoch(seconds: float) -> None:
        run.seconds.append(seconds)
        if dev_utterances:
            texts = Recognizer(base).texts([load_utterance(e.utterance) for e in dev_examples])
            references = [normalize(example.utterance.text) for example in dev_examples]
            run.wer.append(jiwer.wer(references, [*map(normalize, texts)]))

    train_with = train_theirs if system.kind == "trainer" else train_ours
    train_with(system, base, options, train_examples, dev_examples, after_epoch)
    run.trained = sum(p.numel() for p in base.model.parameters() if p.requires_grad)
    run.memory = peak_memory_bytes()
    return run


def examples(data: Path, base: Base, options: TrainingOptions, count: int) -> list[Example]:
    """So many utterances of a directory, evenly spaced."""
    wanted = set(evenly_spaced([utterance.id for utterance in read_data_directory(data)], count))
    return read_examples(data, base, options, [1.0], lambda utterance: utterance.id in wanted)


def train_theirs(
    system: System, base: Base, options: TrainingOptions, train: list[Example], _: Any, after: AfterEpoch
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
        targets = ["k_proj", "v_proj", "output_dense"]
        peft.get_peft_model(model, peft.IA3Config(target_modules=targets, feedforward_modules=targets[2:]))
    if system.frozen:
        model.freeze_feature_encoder()

    class Clock(transformers.TrainerCallback):
        """Seconds of each epoch, without the evaluation after it."""

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


def train_ours(
    _: Any, base: Base, options: TrainingOptions, train: list[Example], dev: list[Example], after: AfterEpoch
) -> None:
    """The steps of `ia3-speech train`."""
    prepare_base(base, options)
    trainer = Trainer(base, train, dev, options)
    for epoch in range(options.epochs):
        started = time.perf_counter()
        for batch in trainer.order:
            trainer.train_step(batch, epoch)
            trainer.state.step += 1
        after(time.perf_counter() - started)


def speed_table(runs: dict[System, Run]) -> str:
    """A row for each system, compared with PEFT's IA³ as documented."""
    documented = next(run for system, run in runs.items() if not system.frozen)
    rows = []
    for system, run in runs.items():
        first, second = (run.audio / seconds for seconds in (run.seconds[0], run.seconds[-1]))
        row = [system.name, f"{run.trained:,}", f"{first:.1f} s", f"{second:.1f} s"]
        ratio = second / (documented.audio / documented.seconds[-1])
        rows.append([*row, f"{ratio:.2f}", f"{run.memory / MIB:,.0f}"])
    head = ["system", "parameters", "audio a second, first epoch", "second epoch"]
    return markdown_table([*head, "× PEFT's IA³, Trainer, fp32", "peak memory, MiB"], rows)


def race_table(runs: dict[System, Run], utterances: int) -> list[str]:
    """Seconds of training until dev's WER is at most the lowest of PEFT's IA³ in float32."""
    first = next(iter(runs.values()))
    target, rows = min(first.wer), []
    for system, run in runs.items():
        seconds = run.seconds_until(target)
        cells = ["not reached", ""]
        if seconds:
            cells = [f"{seconds:.1f}", f"{first.seconds_until(target) / seconds:.2f}"]
        rows.append([system.name, *cells, ", ".join(f"{wer:.1%}" for wer in run.wer)])
    title = f"## mini, {utterances} utterances, until dev's word error rate is {target:.1%}"
    return [
        title,
        markdown_table(["system", "seconds of training", "×", "word error rate after each epoch"], rows),
    ]


if __name__ == "__main__":
    command(main)
