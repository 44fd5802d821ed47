"""Adapters of a few minutes of speech: folds choose how long and how far to adapt, then all of it trains one.

A part of a few utterances, held out, is a poor judge: with three utterances the best epoch is chance. So the
utterances are divided into FOLDS; an adapter is trained on each of the others and measured on each, so that
every utterance judges once (cross-validation). The setting with the fewest word errors, of epochs × scales,
wins: among equals that with the lowest CTC loss, and the start where nothing is better. Where the start wins,
a quarter of the learning rate is tried. Then one adapter is trained on all utterances, with that setting.

What the folds say of the chosen setting is a little too good, since they chose it. `unbiased` is not: what a
fold's adapter makes of its utterances with the rate and the setting that the other folds choose (the start
too, see few_run.py).
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, NamedTuple

from ia3_speech.data.text import normalize
from ia3_speech.formatting import shorten
from ia3_speech.model import ia3
from ia3_speech.training.config import SharedOptions
from ia3_speech.training.ctc import Progress
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

logger = logging.getLogger(__name__)

FOLDS = 4
LOWER_RATE = 0.25  # of the learning rate, where the start was better


class FoldResult(NamedTuple):
    """A fold, with the learning rate and the setting that the other folds choose."""

    fold: Task
    rate: float
    setting: Setting

    @property
    def measures(self) -> list[Measure]:
        """Of what the fold holds out."""
        return self.fold.measures[self.setting]

    @property
    def vectors(self) -> Vectors:
        """Those of the fold's adapter."""
        start, trained = self.fold.vectors[0], self.fold.vectors[self.setting.epochs]
        return interpolate(start, trained, self.setting.scale)


@dataclass
class Adaptation:
    """One adapter of a few utterances.

    Attributes:
        name: such as a speaker's; it decides the random numbers, with the seed.
        examples: the utterances to adapt to, at least two with different texts.
        parts: these, divided into folds.
        k: utterances that a fold's adapter is trained on at most, and by which its setting is chosen, as if
            there were no more; None: all that there are.
        folds_only: whether the adapters of the folds are all that is wanted.
        trainings: learning rate → the training of each fold: what it holds out, its measures, its vectors.
        vectors: the adapter's.
        seconds: of wall-clock time, shared among those that were trained side by side.
    """

    name: str
    examples: list[Example]
    parts: list[list[Example]]
    k: int | None = None
    folds_only: bool = False
    trainings: dict[float, list[Task]] = field(default_factory=dict)
    vectors: Vectors = field(default_factory=dict)
    seconds: float = 0.0

    def choice(self, but: int | None = None) -> tuple[float, Setting]:
        """The learning rate and the setting that the folds choose, or all of them but one."""
        for rate, folds in self.trainings.items():
            setting = choose([fold for number, fold in enumerate(folds) if number != but], self.k)
            if setting != START:
                return rate, setting
        return rate, START

    @property
    def is_decided(self) -> bool:
        """Whether all folds, and all but any one of them, choose something better than the start."""
        return bool(self.trainings) and all(
            self.choice(but)[1] != START for but in (None, *range(len(self.parts)))
        )

    def merit(self, but: int | None = None) -> tuple[int, float]:
        """Word errors of the folds, or all of them but one, with the setting that they choose, and their CTC
        loss."""
        rate, setting = self.choice(but)
        return merit([fold for number, fold in enumerate(self.trainings[rate]) if number != but], setting)

    @property
    def unbiased(self) -> list[FoldResult]:
        """Each fold with the learning rate and the setting that the other folds choose."""
        choices = [self.choice(but) for but in range(len(self.parts))]
        return [FoldResult(self.trainings[rate][n], rate, s) for n, (rate, s) in enumerate(choices)]

    def record(self, results: Sequence[FoldResult]) -> dict[str, Any]:
        """What train.json and the adapter's card say of the training. Word errors are those of the folds
        (`results`), at their start and as trained."""
        rate, setting = self.choice()
        chosen = [measure for result in results for measure in result.measures]
        start = [measure for result in results for measure in result.fold.measures[START]]
        return {
            "trained_on": [example.utterance.id for example in self.examples],
            **setting_record(rate, setting),
            "folds": len(self.parts),
            "words": sum(measure.words for measure in chosen),
            "start_errors": sum(measure.errors for measure in start),
            "errors": sum(measure.errors for measure in chosen),
            "seconds": round(self.seconds, 2),
        }


def setting_record(rate: float, setting: Setting) -> dict[str, float]:
    """selected_epoch, scale, learning_rate."""
    return {"selected_epoch": setting.epochs, "scale": setting.scale, "learning_rate": rate}


def divide_into_folds(examples: Sequence[Example]) -> list[list[Example]]:
    """FOLDS parts at most, of utterances far apart; those with the same text are in the same part."""
    texts = [normalize(example.utterance.text or "") for example in examples]
    number = {text: index % FOLDS for index, text in enumerate(dict.fromkeys(texts))}
    pairs = [*zip(examples, texts, strict=True)]
    parts = [[example for example, text in pairs if number[text] == fold] for fold in range(FOLDS)]
    return [part for part in parts if part]


def choose(folds: Sequence[Task], most: int | None = None) -> Setting:
    """The setting with the fewest word errors in these folds, of equals that with the lowest CTC loss, by
    `most` utterances, of all folds equally many; None: by all."""
    return min(folds[0].measures, key=lambda setting: (*merit(folds, setting, most), setting))


def merit(folds: Sequence[Task], setting: Setting, most: int | None = None) -> tuple[int, float]:
    """Word errors, and CTC loss, of what folds hold out, or of `most` utterances of it."""
    columns = zip_longest(*(fold.measures[setting] for fold in folds))
    measures = [measure for column in columns for measure in column if measure][:most]
    return sum(m.errors for m in measures), sum(m.loss * m.symbols for m in measures if m.symbols)


def adapt(
    adaptations: Sequence[Adaptation],
    options: SharedOptions,
    cache: FeatureCache,
    replay: Sequence[Replayed],
    progress: Progress,
) -> None:
    """Choose each adaptation's setting by its folds, and train it. The vectors of the cache's base are the
    start of all, and stay as they are. Progress counts epochs: those of `epochs_of`, and those of what is
    tried beside it."""
    started, rates = time.monotonic(), (options.learning_rate, LOWER_RATE * options.learning_rate)
    start = {name: module.l.detach().clone() for name, module in ia3.vectors(cache.base.model).items()}
    for adaptation in adaptations:
        adaptation.vectors = start

    def train(tasks: Sequence[Task], rate: float) -> None:
        """As many side by side as the options say: those with equally many batches and epochs."""
        alike: dict[tuple[int, int], list[Task]] = {}
        for task in tasks:
            alike.setdefault((batches_per_epoch(task, options), task.epochs), []).append(task)
        for group in alike.values():
            for first in range(0, len(group), options.adapters_per_batch):
                together = group[first : first + options.adapters_per_batch]
                trainer = MultiAdapterTrainer(together, replace(options, learning_rate=rate), cache, replay)
                trainer.run(progress)
                names = shorten([task.name for task in together])
                logger.info("fold %s: trained, %s", names, progress.left)

    for rate in rates:
        left = [adaptation for adaptation in adaptations if not adaptation.is_decided]
        if rate != options.learning_rate:
            progress.extend(sum(len(adaptation.parts) for adaptation in left) * options.epochs)
        for adaptation in left:
            adaptation.trainings[rate] = [
                Task(f"{adaptation.name}/{number}", training_examples(adaptation, part), part, options.epochs)
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
    """Epochs of all trainings of adaptations, at most, without those at a lower rate."""
    return options.epochs * sum(len(a.parts) + (not a.folds_only) for a in adaptations)


def training_examples(adaptation: Adaptation, part: list[Example]) -> list[Example]:
    """What the fold that holds out `part` is trained on."""
    others = [example for example in adaptation.examples if example.speeds and example not in part]
    return others[: adaptation.k]
