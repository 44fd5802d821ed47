"""Where a training by cross-validation starts: the base, a registered adapter, or a mean of adapters.

    --init-adapter nearest                   the best of the base, all registered adapters and their means
    --init-adapter nearest:accent,medical    of the base, these adapters and their means

In: utterances, divided into folds. Out: for each fold the start that the other folds choose, by the loss of
the starts as they are, before any training. An adapter of a person is never tried, nor is an adapter that was
trained on these utterances.
The loss decides with fewer utterances than word errors need (egs/voices/RESULTS.md).
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ia3_speech.adapters.record import read_metadata, read_summary, same_base
from ia3_speech.adapters.registry import VERSION, adapters_dir, registered_names, training_data
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.errors import TrainingError, UserError
from ia3_speech.model.attach import detach
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import attachment
from ia3_speech.scoring.significance import bootstrap_sums
from ia3_speech.training.config import NEAREST, SharedOptions
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

CERTAINTY = 0.95  # share of the bootstrap's draws of utterances in which a start must be better than the base


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


def starts_of_folds(adaptation: Adaptation, measures: Measures) -> dict[int | None, Start]:
    """Number of a fold (None: of no fold) → its start, chosen on the utterances that train it."""
    training = {} if adaptation.folds_only else {None: adaptation.examples}
    training |= {n: adaptation.training_examples(part) for n, part in enumerate(adaptation.parts)}
    return {fold: best_start(measures, [e.utterance.id for e in of]) for fold, of in training.items()}


def best_start(measures: Measures, utterances: Sequence[str]) -> Start:
    """The start with the lowest loss on the utterances, if it beats the first (the base) in CERTAINTY of the
    bootstrap's draws; else the first."""
    first, *others = measures
    if not others:
        return first
    losses = np.array([[of[id].loss * of[id].symbols for id in utterances] for of in measures.values()])
    losses = losses[:, np.isfinite(losses).all(axis=0)]
    best = losses.sum(axis=1).argmin()
    if best == 0:
        return first
    lower = bootstrap_sums({"gain": losses[0] - losses[best]})["gain"] > 0
    return others[best - 1] if lower.mean() >= CERTAINTY else first


def measures_of_starts(
    base: Base, examples: Sequence[Example], options: SharedOptions, of_base: Sequence[Measure], data: Path
) -> Measures:
    """The measures of the start of the options (`of_base`); or, of nearest, of the base, of the adapters to
    try, and of the mean of adapters with the same label (accent, domain). `data`: the data directory."""
    measures: Measures = {None: {measure.utterance: measure for measure in of_base}}
    nearest, colon, listed = str(options.init_adapter).partition(":")
    if nearest != NEAREST:
        return {options.init_adapter: measures[None]}
    ids, audio, kinds = {example.utterance.id for example in examples}, digests(examples), {}

    def measure(name: str) -> None:
        measured = measure_all(prepare(base, options, name), examples, options.normalize)
        measures[name] = {measure.utterance: measure for measure in measured}

    for name in [name for name in registered_names() if not colon or name in listed.split(",")]:
        folder = adapters_dir() / name
        try:
            metadata = read_metadata(folder)
            other = metadata is None or metadata.config.get("method", "ia3") != "ia3"
            if other or not same_base(metadata.fingerprint, base.fingerprint):
                continue
            config, training, labels = metadata.ia3_config, metadata.training, metadata.labels
            learnt = (
                not audio.isdisjoint(training.get("audio", ()))
                or ids & training_utterances(folder)
                or training.get("data") == str(data)
            )
            if learnt or "speaker" in labels or config.train_head or "conv" in config.placements:
                continue
            measure(name)
        except UserError as error:  # the adapter is damaged, or its data have changed
            logger.warning("note: %s is not tried as a start: %s", name, error)
            continue
        if not VERSION.search(name):
            kind = next((label for label in ("accent", "domain") if label in labels), "")
            kinds.setdefault(kind, []).append(name)
    for names in kinds.values():
        if len(names) > 1:
            measure("+".join(f"{name}:{1 / len(names):.4g}" for name in names))
    for name, of in measures.items():
        symbols, loss = sum(m.symbols for m in of.values()), sum(m.loss * m.symbols for m in of.values())
        errors = sum(m.errors for m in of.values())
        logger.info("%s: loss %.3f, %d errors", name or "the base", loss / max(symbols, 1), errors)
    return measures


def digests(examples: Sequence[Example]) -> set[str]:
    """Digests of the audio, which identify recordings under other names."""
    return {example.audio[:12] for example in examples}


def training_utterances(folder: Path) -> set[str]:
    """The ids of an adapter's training utterances, by its record or its data; empty if both are gone."""
    if "trained_on" in (training := read_summary(folder).get("training", {})):
        return {*training["trained_on"]}
    data = training_data(folder)
    return {u.id for u in read_data_directory(data, text=False, wav=False, spk_sort=False)} if data else set()
