"""Adapters of a few minutes of speech: cross-validation chooses how long and how far to adapt.

A held-out part of a few utterances measures badly: with three utterances the best epoch is chance. So the
utterances are divided into FOLDS parts; an adapter is trained on all parts but one and measured on that one,
so that every utterance is measured once. The setting with the fewest word errors, of epochs × scales, wins:
among equals the setting with the lowest loss, and the start if nothing is better. Then a quarter of the
learning rate is tried. Finally one adapter is trained on all utterances, with the chosen setting.

The measures of the chosen setting are a little too good, since they chose it. Those of `unbiased` are not:
each fold has the rate and the setting that the other folds choose (the start too: starts.py).
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

from ia3_speech.common.formatting import shorten
from ia3_speech.data.text import normalize
from ia3_speech.model import ia3
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
)
from ia3_speech.training.replay import Replayed
from ia3_speech.training.steps import Progress

logger = logging.getLogger(__name__)

FOLDS = 4
LOWER_RATE = 0.25  # of the learning rate, if the start was better


class FoldResult(NamedTuple):
    """A fold, with the learning rate and the setting that the other folds choose."""

    fold: Task
    rate: float
    setting: Setting

    @property
    def measures(self) -> list[Measure]:
        """The measures of the held-out utterances."""
        return self.fold.measures[self.setting]

    @property
    def vectors(self) -> Vectors:
        start, trained = self.fold.vectors[0], self.fold.vectors[self.setting.epochs]
        return interpolate(start, trained, self.setting.scale)


@dataclass
class Adaptation:
    """One adapter of a few utterances.

    Attributes:
        name: such as a speaker's; it decides the random numbers, with the seed.
        examples: the utterances to adapt to, at least two with different texts.
        parts: the examples, divided into folds.
        k: maximum number of utterances on which a fold's adapter is trained, and by which its setting is
            chosen; None: no maximum.
        folds_only: train the adapters of the folds alone.
        trainings: learning rate → the training of each fold.
        vectors: the vectors of the adapter.
        seconds: wall-clock time, divided among the adaptations that were trained side by side.
    """

    name: str
    examples: list[Example]
    parts: list[list[Example]]
    k: int | None = None
    folds_only: bool = False
    trainings: dict[float, list[Task]] = field(default_factory=dict)
    vectors: Vectors = field(default_factory=dict)
    seconds: float = 0.0

    def choice(self, excluded: int | None = None) -> tuple[float, Setting]:
        """The learning rate and the setting that the folds choose, without the excluded fold."""
        for rate, folds in self.trainings.items():
            setting = choose([fold for number, fold in enumerate(folds) if number != excluded], self.k)
            if setting != START:
                return rate, setting
        return rate, START

    @property
    def is_decided(self) -> bool:
        """Whether something is better than the start, whichever fold is excluded, or none."""
        return bool(self.trainings) and all(
            self.choice(excluded)[1] != START for excluded in (None, *range(len(self.parts)))
        )

    @property
    def unbiased(self) -> list[FoldResult]:
        """Each fold with the learning rate and the setting that the other folds choose."""
        choices = [self.choice(excluded) for excluded in range(len(self.parts))]
        return [FoldResult(self.trainings[rate][n], rate, s) for n, (rate, s) in enumerate(choices)]

    def record(self, results: Sequence[FoldResult]) -> dict[str, Any]:
        """The entries on the training, for train.json and the adapter's record, with the errors of folds."""
        return {
            "trained_on": [example.utterance.id for example in self.examples],
            **setting_record(*self.choice()),
            "folds": len(self.parts),
            **count_record(results),
            "seconds": round(self.seconds, 2),
        }

    def training_examples(self, part: list[Example]) -> list[Example]:
        """The utterances on which the fold that holds out `part` is trained."""
        others = [example for example in self.examples if example.speeds and example not in part]
        return others[: self.k]


def setting_record(rate: float, setting: Setting) -> dict[str, float]:
    return {"selected_epoch": setting.epochs, "scale": setting.scale, "learning_rate": rate}


def count_record(results: Sequence[FoldResult]) -> dict[str, int]:
    """Words, and word errors at the start and as trained, of the utterances that folds hold out."""
    chosen = [measure for result in results for measure in result.measures]
    start = [measure for result in results for measure in result.fold.measures[START]]
    return {
        "words": sum(measure.words for measure in chosen),
        "start_errors": sum(measure.errors for measure in start),
        "errors": sum(measure.errors for measure in chosen),
    }


def divide_into_folds(examples: Sequence[Example]) -> list[list[Example]]:
    """At most FOLDS parts, of utterances far apart; utterances with the same text share a part."""
    texts = [normalize(example.utterance.text or "") for example in examples]
    number = {text: index % FOLDS for index, text in enumerate(dict.fromkeys(texts))}
    pairs = [*zip(examples, texts, strict=True)]
    parts = [[example for example, text in pairs if number[text] == fold] for fold in range(FOLDS)]
    return [part for part in parts if part]


def choose(folds: Sequence[Task], k: int | None = None) -> Setting:
    """The setting with the fewest word errors in these folds, and among equals with the lowest loss. `k`:
    the number of utterances that decide, equally many of each fold; None: all."""
    return min(folds[0].measures, key=lambda setting: (*merit(folds, setting, k), setting))


def merit(folds: Sequence[Task], setting: Setting, k: int | None = None) -> tuple[int, float]:
    """Word errors and loss of all held-out utterances, or of `k`."""
    columns = zip_longest(*(fold.measures[setting] for fold in folds))
    measures = [measure for column in columns for measure in column if measure][:k]
    return sum(m.errors for m in measures), sum(m.loss * m.symbols for m in measures if m.symbols)


def adapt(
    adaptations: Sequence[Adaptation],
    options: SharedOptions,
    cache: FeatureCache,
    replay: Sequence[Replayed],
    progress: Progress,
) -> None:
    """Choose each adaptation's setting by its folds, and train it. The vectors in the base's model are the
    start of all, and do not change. Progress counts epochs: `epochs_of`, and those at a lower rate."""
    started, rates = time.monotonic(), (options.learning_rate, LOWER_RATE * options.learning_rate)
    start = {name: module.l.detach().clone() for name, module in ia3.vectors(cache.base.model).items()}
    for adaptation in adaptations:
        adaptation.vectors = start

    def train(tasks: Sequence[Task], rate: float) -> None:
        """Tasks with equally many batches and epochs side by side, as many as the options allow."""
        alike: dict[tuple[int, int], list[Task]] = {}
        for task in tasks:
            alike.setdefault((batches_per_epoch(task, options), task.epochs), []).append(task)
        for group in alike.values():
            for first in range(0, len(group), options.adapters_per_batch):
                together = group[first : first + options.adapters_per_batch]
                MultiAdapterTrainer(together, options, rate, cache, replay).run(progress)
                names = shorten([task.name for task in together])
                logger.info("trained %s, %s", names, progress.left)

    for rate in rates:
        left = [adaptation for adaptation in adaptations if not adaptation.is_decided]
        if rate != options.learning_rate:
            progress.total += sum(len(adaptation.parts) for adaptation in left) * options.epochs
        for adaptation in left:
            adaptation.trainings[rate] = [
                Task(f"{adaptation.name}/{number}", adaptation.training_examples(part), part, options.epochs)
                for number, part in enumerate(adaptation.parts, 1)
            ]
        train([fold for adaptation in left for fold in adaptation.trainings[rate]], rate)
    for rate in rates:
        chosen = [a for a in adaptations if not a.folds_only and a.choice()[0] == rate]
        chosen = [a for a in chosen if a.choice()[1] != START]
        tasks = [Task(a.name, a.examples, [], a.choice()[1].epochs) for a in chosen]
        train(tasks, rate)
        for adaptation, task in zip(chosen, tasks, strict=True):
            scale = adaptation.choice()[1].scale
            adaptation.vectors = interpolate(start, task.vectors[task.epochs], scale)
    for adaptation in adaptations:
        adaptation.seconds = (time.monotonic() - started) / len(adaptations)


def epochs_of(adaptations: Sequence[Adaptation], options: SharedOptions) -> int:
    """Epochs of all trainings of adaptations, without those at a lower rate."""
    return options.epochs * sum(len(a.parts) + (not a.folds_only) for a in adaptations)
