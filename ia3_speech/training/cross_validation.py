"""Adapters of a few minutes of speech: cross-validation chooses how long and how far to adapt.

A held-out part of a few utterances measures badly: with three utterances the best epoch is chance. So the
utterances are divided into FOLDS parts; an adapter is trained on all parts but one and measured on that one,
so that every utterance is measured once. The setting with the fewest word errors, of epochs × scales, wins:
among equals the setting with the lowest loss, and the start if nothing is better. Then a quarter of the
learning rate is tried. Finally one adapter is trained on all utterances, with the chosen setting.

The measures of the chosen setting are a little too good, since they chose it. Those of `unbiased` are not:
each fold has the rate and the setting that the other folds choose. The start is chosen alike: the adapter
that `--init-adapter` names if, before any training, its loss on the utterances that train the fold is clearly
below the base's; else the base. The loss decides with fewer utterances than word errors need
(egs/voices/RESULTS.md).
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from ia3_speech.adapters.registry import training_data
from ia3_speech.adapters.spec import Term, parse_sum
from ia3_speech.common.errors import TrainingError
from ia3_speech.common.formatting import plural
from ia3_speech.common.progress import Progress
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.text import normalize
from ia3_speech.model import ia3
from ia3_speech.model.attach import detach
from ia3_speech.model.base import Base
from ia3_speech.scoring.significance import bootstrap_sums
from ia3_speech.training import multi_adapter
from ia3_speech.training.config import SharedOptions
from ia3_speech.training.data import Example
from ia3_speech.training.feature_cache import FeatureCache, cache_for
from ia3_speech.training.multi_adapter import START, Measure, Setting, Task, Vectors, interpolate
from ia3_speech.training.replay import Replayed
from ia3_speech.training.run import prepare_base

logger = logging.getLogger(__name__)

FOLDS = 4
LOWER_RATE = 0.25  # of the learning rate, if the start was better
CERTAINTY = 0.95  # share of the bootstrap's draws of utterances in which the adapter must beat the base

Start = str | None  # a name, a folder or a sum; None: the base
Measures = dict[Start, dict[str, Measure]]  # start → utterance → its measure, before training


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
    """One adapter of a few utterances."""

    name: str  # such as a speaker's; it decides the random numbers, with the seed
    examples: list[Example]  # the utterances to adapt to, at least two with different texts
    parts: list[list[Example]]  # the examples, divided into folds
    # Maximum of utterances that train a fold's adapter, and that choose its setting; None: no maximum
    k: int | None = None
    folds_only: bool = False  # train the adapters of the folds alone
    trainings: dict[float, list[Task]] = field(default_factory=dict)  # learning rate → training of each fold
    vectors: Vectors = field(default_factory=dict)  # of the adapter
    seconds: float = 0.0  # wall-clock time, divided among the adaptations that were trained side by side

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
            alike.setdefault((multi_adapter.batches_per_epoch(task, options), task.epochs), []).append(task)
        for group in alike.values():
            for first in range(0, len(group), options.adapters_per_batch):
                together = group[first : first + options.adapters_per_batch]
                multi_adapter.MultiAdapterTrainer(together, options, rate, cache, replay).run(progress)

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


def prepare(base: Base, options: SharedOptions, start: Start) -> FeatureCache:
    """Attach the vectors of a start; returns the cache of the features below them. Raises TrainingError if it
    has a head or conv vectors, which can't differ from row to row of a batch."""
    detach(base.model)
    prepare_base(base, replace(options, init_adapter=start))
    config = ia3.attachment(base.model).config
    if config.train_head or "conv" in config.placements:
        hint = "use ia3-speech train with `dev`"
        raise TrainingError(f"adapters with a head, or conv vectors, can't be trained side by side ({hint})")
    return cache_for(base, options)


def measures_of_starts(base: Base, examples: Sequence[Example], options: SharedOptions) -> Measures:
    """The measures of the base and of `init_adapter`. Warns if that adapter was trained on the utterances."""
    measures: Measures = {}
    for start in dict.fromkeys([None, options.init_adapter]):
        measured = multi_adapter.measure_all(prepare(base, options, start), examples, options.normalize)
        measures[start] = {measure.utterance: measure for measure in measured}
        symbols = sum(measure.symbols for measure in measured)
        loss = sum(measure.loss * measure.symbols for measure in measured) / max(symbols, 1)
        errors = sum(measure.errors for measure in measured)
        logger.info("%s: loss %.3f, %d errors", start or "the base", loss, errors)
    for term in parse_sum(options.init_adapter).terms if options.init_adapter else ():
        if known := training_utterances(term) & measures[None].keys():
            logger.warning(
                "note: %s was trained on %s of these, so the errors on them are no errors on new speech",
                *(term.folder, plural(len(known), "utterance")),
            )
    return measures


def training_utterances(term: Term) -> set[str]:
    """The ids of an adapter's training utterances, by its record or its data; empty if both are gone."""
    if "trained_on" in (training := term.record.get("training", {})):
        return {*training["trained_on"]}
    data = training_data(term.folder)
    return {u.id for u in read_data_directory(data, text=False, wav=False, spk_sort=False)} if data else set()


def starts_of_folds(adaptation: Adaptation, measures: Measures) -> dict[int | None, Start]:
    """Number of a fold (None: the final adapter) → its start, chosen on the utterances that train it."""
    training = {} if adaptation.folds_only else {None: adaptation.examples}
    training |= {n: adaptation.training_examples(part) for n, part in enumerate(adaptation.parts)}
    return {fold: best_start(measures, [e.utterance.id for e in of]) for fold, of in training.items()}


def best_start(measures: Measures, utterances: Sequence[str]) -> Start:
    """The adapter, if its loss on the utterances is below the base's in CERTAINTY of the bootstrap's draws;
    else the base, None."""
    adapter = [*measures][-1]
    if adapter is None:
        return None
    losses = np.array([[of[id].loss * of[id].symbols for id in utterances] for of in measures.values()])
    before, after = losses[:, np.isfinite(losses).all(axis=0)]
    if not before.size:
        return None
    is_lower = bootstrap_sums({"gain": before - after})["gain"] > 0
    return adapter if is_lower.mean() >= CERTAINTY else None


def adapt_from_each(
    candidates: Sequence[Mapping[Start, Adaptation]],
    options: SharedOptions,
    prepare: Callable[[Start], FeatureCache],
    replay: Sequence[Replayed],
    progress: Progress,
) -> None:
    """Train the candidates, start → adaptation, of each speaker; those with one start side by side."""
    for start in dict.fromkeys(start for of_speaker in candidates for start in of_speaker):
        logger.info("training from %s", start or "the base")
        together = [of_speaker[start] for of_speaker in candidates if start in of_speaker]
        adapt(together, options, prepare(start), replay, progress)
