"""Where training by cross-validation starts: from the base, or from the adapter that `--init-adapter` names.

In: utterances, divided into folds. Out: the start of each fold: the adapter if, before any training, its loss
on the utterances that train the fold is clearly below the base's; else the base. The loss decides with fewer
utterances than word errors need (egs/voices/RESULTS.md).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ia3_speech.adapters.registry import training_data
from ia3_speech.adapters.spec import Term, parse_sum
from ia3_speech.common.errors import TrainingError
from ia3_speech.common.formatting import plural
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.model.attach import detach
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import attachment
from ia3_speech.scoring.significance import bootstrap_sums
from ia3_speech.training.config import SharedOptions
from ia3_speech.training.cross_validation import Adaptation, adapt
from ia3_speech.training.data import Example
from ia3_speech.training.feature_cache import FeatureCache, cache_for
from ia3_speech.training.multi_adapter import Measure, measure_all
from ia3_speech.training.replay import Replayed
from ia3_speech.training.run import prepare_base
from ia3_speech.training.steps import Progress

logger = logging.getLogger(__name__)

Start = str | None  # a name, a folder or a sum; None: the base
Measures = dict[Start, dict[str, Measure]]  # start → utterance → its measure, before training

CERTAINTY = 0.95  # share of the bootstrap's draws of utterances in which the adapter must beat the base


def prepare(base: Base, options: SharedOptions, start: Start) -> FeatureCache:
    """Attach the vectors of a start; returns the cache of the features below them. Raises TrainingError if it
    has a head or conv vectors, which can't differ from row to row of a batch."""
    detach(base.model)
    prepare_base(base, replace(options, init_adapter=start))
    config = attachment(base.model).config
    if config.train_head or "conv" in config.placements:
        hint = "use ia3-speech train with `dev`"
        raise TrainingError(f"adapters with a head, or conv vectors, can't be trained side by side ({hint})")
    return cache_for(base, options)


def measures_of_starts(base: Base, examples: Sequence[Example], options: SharedOptions) -> Measures:
    """The measures of the base and of `init_adapter`. Warns if that adapter was trained on the utterances."""
    measures: Measures = {}
    for start in dict.fromkeys([None, options.init_adapter]):
        measured = measure_all(prepare(base, options, start), examples, options.normalize)
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
