"""Where a training by cross-validation starts: the base, a registered adapter, or a mean of adapters.

    --init-adapter nearest                   the best of the base, all registered adapters and their means
    --init-adapter nearest:accent,medical    of the base, these adapters and their means

In: utterances, divided into folds. Out: for each fold the start that the other folds choose. An adapter of a
person is never tried, nor is an adapter that was trained on these utterances.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ia3_speech.adapters.record import read_metadata, read_summary, same_base
from ia3_speech.adapters.registry import VERSION, adapters_dir, registered_names, training_data
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.errors import TrainingError, UserError
from ia3_speech.model.attach import detach
from ia3_speech.model.base import Base
from ia3_speech.model.ia3 import attachment
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
Errors = dict[Start, dict[str, int]]  # start → utterance → word errors


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


def starts_of_folds(adaptation: Adaptation, errors: Errors) -> dict[int | None, list[Start]]:
    """Number of a fold (None: the adapter of all utterances) → its candidates: the first start in `errors`,
    and the start with the fewest errors on the utterances that train the fold."""
    first, starts = next(iter(errors)), {}
    training = {} if adaptation.folds_only else {None: adaptation.examples}
    training |= {n: adaptation.training_examples(part) for n, part in enumerate(adaptation.parts)}
    for fold, examples in training.items():
        totals = {start: sum(of.get(e.utterance.id, 0) for e in examples) for start, of in errors.items()}
        starts[fold] = [*dict.fromkeys([first, min(totals, key=totals.__getitem__)])]
    return starts


def choose_starts(
    starts: Mapping[int | None, Sequence[Start]], candidates: Mapping[Start, Adaptation]
) -> dict[int | None, Start]:
    """Number of a fold → the candidate that cross-validation without this fold prefers."""
    return {
        fold: min(of_fold, key=lambda start, fold=fold: candidates[start].merit(fold))
        for fold, of_fold in starts.items()
    }


def errors_of_starts(
    base: Base, examples: Sequence[Example], options: SharedOptions, measures: Sequence[Measure], data: Path
) -> Errors:
    """The errors of the start of the options; or, of nearest, of the base (`measures`), of the adapters to
    try, and of the mean of adapters with the same label (accent, domain). `data`: the data directory."""
    errors: Errors = {None: {measure.utterance: measure.errors for measure in measures}}
    nearest, colon, listed = str(options.init_adapter).partition(":")
    if nearest != NEAREST:
        return {options.init_adapter: errors[None]}
    ids, audio, kinds = {example.utterance.id for example in examples}, digests(examples), {}

    def measure(name: str) -> None:
        measured = measure_all(prepare(base, options, name), examples, options.normalize)
        errors[name] = {measure.utterance: measure.errors for measure in measured}

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
    for name, counts in errors.items():
        logger.info("%s: %d errors", name or "the base", sum(counts.values()))
    return errors


def digests(examples: Sequence[Example]) -> set[str]:
    """Digests of the audio, which identify recordings under other names."""
    return {example.audio[:12] for example in examples}


def training_utterances(folder: Path) -> set[str]:
    """The ids of an adapter's training utterances, by its record or its data; empty if both are gone."""
    if "trained_on" in (training := read_summary(folder).get("training", {})):
        return {*training["trained_on"]}
    data = training_data(folder)
    return {u.id for u in read_data_directory(data, text=False, wav=False, spk_sort=False)} if data else set()
