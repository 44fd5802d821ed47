"""Adapters of a few minutes of speech: folds choose how long and how far to adapt, then all of it trains one.

A part of a few utterances, held out, is a poor judge: with three utterances the best epoch is chance. So the
utterances are divided into FOLDS; an adapter is trained on each of the others and measured on each, so that
every utterance judges once (cross-validation). The setting with the fewest word errors, of epochs × scales,
wins: among equals that with the lowest CTC loss, and the start where nothing is better. Where the start wins,
a quarter of the learning rate is tried. Then one adapter is trained on all utterances, with that setting.

What the folds say of the chosen setting is a little too good, since they chose it. `unbiased` is not: what a
fold's adapter makes of its utterances with the setting that the other folds choose.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ia3_speech.cli import progress_stream
from ia3_speech.model import ia3
from ia3_speech.model.base import Base
from ia3_speech.training.config import SharedOptions
from ia3_speech.training.data import Example
from ia3_speech.training.feature_cache import FeatureCache
from ia3_speech.training.multi_adapter import (
    START,
    Measure,
    MultiAdapterTrainer,
    Setting,
    Task,
    Vectors,
    batches_per_epoch,
    interpolate,
    load_vectors,
)

if TYPE_CHECKING:
    from tqdm import tqdm

FOLDS = 4
LOWER_RATE = 0.25  # of the learning rate, where the start was better


@dataclass
class Adaptation:
    """One adapter of a few utterances.

    Attributes:
        name: such as SPEAKER/fold1; it decides the random numbers, with the seed.
        examples: the utterances to adapt to, at least two with different texts.
        learning_rate: the peak rate that the chosen setting was trained with.
        folds: the training of each fold; its held-out utterances, their measures, its vectors.
        setting: the one chosen.
        start_vectors, vectors: of the start, and the adapter's.
        test: utterances that it decodes.
        seconds: of wall-clock time, shared among those that were trained side by side.
    """

    name: str
    examples: list[Example]
    test: list[Example] = field(default_factory=list)
    learning_rate: float = 0.0
    folds: list[Task] = field(default_factory=list)
    setting: Setting = START
    start_vectors: Vectors = field(default_factory=dict)
    vectors: Vectors = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def start(self) -> list[Measure]:
        """What the start makes of every utterance."""
        return [measure for fold in self.folds for measure in fold.measures[START]]

    @property
    def merit(self) -> tuple[int, float]:
        """Word errors of the folds with the chosen setting, and their CTC loss."""
        return merit(self.folds, self.setting)

    @property
    def unbiased(self) -> list[tuple[Task, Setting]]:
        """Each fold with the setting that the other folds choose."""
        return [(fold, choose([f for f in self.folds if f is not fold])) for fold in self.folds]

    def record(self) -> dict[str, Any]:
        """What task.json and the adapter's card say of the training; the errors are those of the folds.

        Word errors at the start and with the setting that the other folds choose, of so many words.
        """
        chosen = [measure for fold, setting in self.unbiased for measure in fold.measures[setting]]
        return {
            "trained_on": [example.utterance.id for example in self.examples],
            "selected_epoch": self.setting.epochs,
            "scale": self.setting.scale,
            "learning_rate": self.learning_rate,
            "folds": len(self.folds),
            "words": sum(measure.words for measure in chosen),
            "start_errors": sum(measure.errors for measure in self.start),
            "errors": sum(measure.errors for measure in chosen),
            "seconds": round(self.seconds, 2),
        }


def divide_into_folds(examples: Sequence[Example]) -> list[list[Example]]:
    """FOLDS parts at most, of utterances far apart; those with the same text are in the same part."""
    texts = {example.utterance.text: 0 for example in examples}
    number = {text: index % FOLDS for index, text in enumerate(texts)}
    parts = [[e for e in examples if number[e.utterance.text] == fold] for fold in range(FOLDS)]
    return [part for part in parts if part]


def choose(folds: Sequence[Task]) -> Setting:
    """The setting with the fewest word errors in these folds, of equals that with the lowest CTC loss."""
    return min(folds[0].measures, key=lambda setting: (*merit(folds, setting), setting))


def merit(folds: Sequence[Task], setting: Setting) -> tuple[int, float]:
    """Word errors, and CTC loss, of what folds hold out."""
    measures = [measure for fold in folds for measure in fold.measures[setting]]
    return sum(m.errors for m in measures), sum(m.loss * m.symbols for m in measures)


def adapt(
    base: Base, adaptations: Sequence[Adaptation], options: SharedOptions, cache: FeatureCache, bar: "tqdm"
) -> None:
    """Choose each adaptation's setting by its folds, and train it; the base's vectors are the start of all.

    Afterwards the base's vectors are the start again.

    Args:
        bar: counts trainings; it was made for FOLDS + 1 of each adaptation.
    """
    started = time.monotonic()
    for rate in (options.learning_rate, LOWER_RATE * options.learning_rate):
        left = [adaptation for adaptation in adaptations if adaptation.setting == START]
        for adaptation in left:
            adaptation.learning_rate = rate
            parts = divide_into_folds(adaptation.examples)
            adaptation.folds = [
                Task(f"{adaptation.name}/{number}", [e for e in adaptation.examples if e not in part], part,
                     options.epochs)
                for number, part in enumerate(parts, 1)
            ]  # fmt: skip
        trained = [fold for adaptation in left for fold in adaptation.folds]
        train_tasks(trained, base, replace(options, learning_rate=rate), cache, bar)
        for adaptation in left:
            adaptation.setting = choose(adaptation.folds)
        chosen = [adaptation for adaptation in left if adaptation.setting != START]
        tasks = [Task(a.name, a.examples, [], a.setting.epochs) for a in chosen]
        start = train_tasks(tasks, base, replace(options, learning_rate=rate), cache, bar)
        for adaptation, task in zip(chosen, tasks, strict=True):
            adaptation.vectors = interpolate(start, task.vectors[task.epochs], adaptation.setting.scale)
    for adaptation in adaptations:
        adaptation.start_vectors, adaptation.vectors = start, adaptation.vectors or start
        adaptation.seconds = (time.monotonic() - started) / len(adaptations)


def train_tasks(
    tasks: list[Task], base: Base, options: SharedOptions, cache: FeatureCache, bar: "tqdm"
) -> Vectors:
    """Train tasks, as many side by side as the options say. Returns the start of all of them."""
    start = {name: module.l.detach().clone() for name, module in ia3.vectors(base.model).items()}
    for group in groups_of(tasks, options):
        MultiAdapterTrainer(base, group, options, cache).run()
        bar.update(len(group))
    load_vectors(base, start)
    return start


@contextmanager
def training_bar(adaptations: int) -> Iterator["tqdm"]:
    """The progress bar of so many adaptations."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm(), tqdm(
        total=adaptations * (FOLDS + 1), desc="training", unit="fold", dynamic_ncols=True, disable=None,
        file=progress_stream(),
    ) as bar:  # fmt: skip
        yield bar


def groups_of(tasks: list[Task], options: SharedOptions) -> Iterator[list[Task]]:
    """Tasks that are trained side by side: they have equally many batches in an epoch, and epochs."""
    alike: dict[tuple[int, int], list[Task]] = {}
    for task in tasks:
        alike.setdefault((batches_per_epoch(task, options), task.epochs), []).append(task)
    for group in alike.values():
        for first in range(0, len(group), options.adapters_per_batch):
            yield group[first : first + options.adapters_per_batch]
