"""Trains an adapter for each speaker of a data directory in one process (`ia3-speech speakers`).

An adapter with a task.json is complete, and is not trained again: the record of OUT tells whether it belongs
to these inputs (ia3_speech/common/inputs.py).
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from statistics import median
from typing import Any

from tqdm.contrib.logging import logging_redirect_tqdm

from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.load import labels_of_trained
from ia3_speech.adapters.record import read_json
from ia3_speech.adapters.registry import check_name
from ia3_speech.common import atomic
from ia3_speech.common.errors import UserError
from ia3_speech.common.progress import Progress
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.recordings import Part
from ia3_speech.data.utterance import BadAudio, load_utterance
from ia3_speech.decoding.decode_directory import Decoding, environment_record, write_decode_directory
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model.base import Base, load_base
from ia3_speech.training import cross_validation
from ia3_speech.training.config import SpeakerOptions, to_yaml
from ia3_speech.training.cross_validation import Adaptation, FoldResult, Measures, Start, measures_of_starts
from ia3_speech.training.data import Example, read_examples
from ia3_speech.training.feature_cache import FeatureCache
from ia3_speech.training.multi_adapter import load_vectors
from ia3_speech.training.replay import Replayed, read_replay
from ia3_speech.training.run import run_lock, run_record
from ia3_speech.training.trainer import peak_memory_bytes

logger = logging.getLogger(__name__)


def adapt_to_speakers(options: SpeakerOptions) -> dict[str, Any]:
    """Train an adapter for every speaker of a data directory; complete ones are not trained again. Raises
    UserError if the options or the data can't be used, a speaker has too few utterances, or another run is
    writing to `options.out` (runs of different parts may).

    Returns:
        The contents of train.json: adapters, speakers, utterances (the median of an adapter), improved
        (adapters that improved on the start), not_improved (their names, SPEAKER/FOLD), starts (start →
        adapters), start_errors and base_errors (on held-out utterances), trainable (parameters of an
        adapter), seed, precision and its reason, seconds (of all adapters), wall_seconds (of this run),
        peak_memory_bytes (of a process, or its GPU).
    """
    with run_lock(options.out, ("config.yaml", "train.json"), options.part):
        base = load_base(options.base, device=options.device)
        replay = read_replay(base, options)
        cross_validation.prepare(base, options, options.init_adapter)  # raises before data are read
        options = replace(options, precision=base.precision)
        data = read_data_directory(options.data, spk_sort=False, allow_pipes=options.allow_pipes)
        speakers = {*Part.parse(options.part).of([*data.speakers])}
        examples = read_examples(
            options.data, base, options, [*{1.0, *options.speeds}],
            lambda utterance: utterance.speaker in speakers, with_untrainable=True,
        )  # fmt: skip
        adaptations = list(plan(examples, options))
        names = [name for adaptation in adaptations for name in adapter_names(adaptation)]
        for file in [f"{name}/{file}" for name in names for file in ("adapter", "task.json")]:
            atomic.remove_leftovers(options.out / file)
        done = {name for name in names if (options.out / name / "task.json").is_file()}
        left = [a for a in adaptations if not done.issuperset(adapter_names(a))]
        logger.info("%d adapters for %d speakers, %d to do", len(names), len(adaptations), len(left))
        started = time.monotonic()
        if left:
            unlearnt = [example for adaptation in left for example in adaptation.examples]
            tried = measures_of_starts(base, unlearnt, options) if options.init_adapter else {None: {}}
            train_all(base, left, tried, options, replay)
        records = [read_json(options.out / name / "task.json") for name in names]
        summary = run_record(base, options, examples) | {
            "adapters": len(names),
            "speakers": len(adaptations),
            "utterances": median(len(record["trained_on"]) for record in records),
            "improved": sum(record["selected_epoch"] > 0 for record in records),
            "not_improved": [f"{r['speaker']}/{r['fold']}" for r in records if not r["selected_epoch"]],
            "starts": dict(Counter(record["init_adapter"] or "the base" for record in records)),
            "start_errors": sum(record["start_errors"] for record in records),
            "base_errors": sum(record.get("base_errors", record["start_errors"]) for record in records),
            "seconds": round(sum(record["seconds"] for record in records), 1),
            "wall_seconds": round(time.monotonic() - started, 1),
            "peak_memory_bytes": max(record.get("peak_memory_bytes", 0) for record in records),
        }
        if not options.part:
            if options.folds:
                write_decoding(base, records, options)
            atomic.write_text(options.out / "config.yaml", to_yaml(options))
            atomic.write_json(options.out / "train.json", summary)
        return summary


def plan(examples: list[Example], options: SpeakerOptions) -> Iterator[Adaptation]:
    """The adaptation to each speaker. Raises UserError for a speaker with too few utterances."""
    by_speaker: dict[str, list[Example]] = {}
    for example in sorted(examples, key=lambda example: example.utterance.id):
        by_speaker.setdefault(example.utterance.speaker, []).append(example)
    for speaker, examples in by_speaker.items():
        if options.folds:
            folds = min(options.folds, len(examples))
            parts = [examples[fold :: options.folds] for fold in range(folds)]
            adaptation = Adaptation(check_name(speaker), examples, parts, options.k, folds_only=True)
            counts = [len(adaptation.training_examples(part)) for part in parts]
        else:
            chosen = [example for example in examples if example.speeds][: options.k]
            adaptation = Adaptation(check_name(speaker), chosen, cross_validation.divide_into_folds(chosen))
            counts = [len(chosen)]
        parts = adaptation.parts
        if len(parts) < 2 or not all(adaptation.training_examples(part) for part in parts):
            raise UserError(
                f"{options.data}: {speaker} has {len(examples)} utterances, too few to train on some and to "
                f"hold others out (leave this speaker out)"
            )
        if options.k and min(counts) < options.k:
            logger.warning(
                "note: %s has %d utterances to adapt to, fewer than %d", speaker, min(counts), options.k
            )
        yield adaptation


def adapter_names(adaptation: Adaptation) -> list[str]:
    """SPEAKER/fold1 and so on, or SPEAKER/all."""
    if not adaptation.folds_only:
        return [f"{adaptation.name}/all"]
    return [f"{adaptation.name}/fold{number}" for number in range(1, len(adaptation.parts) + 1)]


def train_all(
    base: Base,
    adaptations: list[Adaptation],
    tried: Measures,
    options: SpeakerOptions,
    replay: Sequence[Replayed],
) -> None:
    """Train and save the adapters of `adapters_per_batch` speakers at a time."""
    starts = [cross_validation.starts_of_folds(adaptation, tried) for adaptation in adaptations]
    candidates = [
        {start: replace(adaptation, trainings={}) for start in of_speaker.values()}
        for adaptation, of_speaker in zip(adaptations, starts, strict=True)
    ]
    # Most often all have the same start.
    at_start = lru_cache(1)(partial(cross_validation.prepare, base, options))
    epochs = cross_validation.epochs_of([a for each in candidates for a in each.values()], options)
    with logging_redirect_tqdm(), Progress(epochs, "training") as progress:
        for first in range(0, len(adaptations), options.adapters_per_batch):
            group = slice(first, first + options.adapters_per_batch)
            cross_validation.adapt_from_each(candidates[group], options, at_start, replay, progress)
            for of_speaker, trained in zip(starts[group], candidates[group], strict=True):
                save_speaker(base, of_speaker, trained, tried, at_start, options)
                trained.clear()


def save_speaker(
    base: Base,
    starts: dict[int | None, Start],
    candidates: dict[Start, Adaptation],
    tried: Measures,
    at_start: Callable[[Start], FeatureCache],
    options: SpeakerOptions,
) -> None:
    chosen, first = dict(starts), next(iter(candidates.values()))
    whole = chosen.pop(None, None)
    results = [candidates[start].unbiased[n] for n, start in chosen.items()]
    adapters = [(whole, candidates.get(whole), results)]
    if first.folds_only:
        adapters = [(start, result, [result]) for start, result in zip(chosen.values(), results, strict=True)]
    names, seconds = adapter_names(first), sum(adaptation.seconds for adaptation in candidates.values())
    for name, (start, trained, measured) in zip(names, adapters, strict=True):
        at_start(start)
        load_vectors(base, trained.vectors)
        if first.folds_only:
            record = fold_record(base, trained, options)
        else:
            record = trained.record(measured) | {"texts": {}}
        if options.init_adapter:
            held_out = [measure.utterance for result in measured for measure in result.measures]
            record["base_errors"] = sum(tried[None][id].errors for id in held_out)
        save(base, name, start, options, record | {"seconds": round(seconds / len(names), 2)})
        load_vectors(base, candidates[start].trainings[options.learning_rate][0].vectors[0])


def fold_record(base: Base, result: FoldResult, options: SpeakerOptions) -> dict[str, Any]:
    """The training of a fold, and the hypotheses for its held-out utterances."""
    texts, limit = {measure.utterance: measure.text for measure in result.measures}, base.maximum_seconds
    for example in result.fold.held_out:
        if limit and example.seconds > limit:  # cut at pauses, as in `ia3-speech decode`
            wave = load_utterance(example.utterance)
            [texts[example.utterance.id]] = Recognizer(base, max_seconds=limit).texts([wave])
    return {
        "trained_on": [example.utterance.id for example in result.fold.train_examples],
        **cross_validation.setting_record(result.rate, result.setting),
        **cross_validation.count_record([result]),
        "texts": texts,
    }


def save(base: Base, name: str, start: Start, options: SpeakerOptions, record: dict[str, Any]) -> None:
    """Write the adapter in the base's model, then task.json, which marks the adapter as complete."""
    speaker, _, fold = name.partition("/")
    training = {"fold": fold, "data": str(options.data), "init_adapter": start} | record
    if not record["selected_epoch"]:
        logger.warning("%s: no setting improved on the start, so the adapter equals it", name)
    labels = labels_of_trained(start, {"speaker": speaker})
    without_texts = {key: value for key, value in training.items() if key != "texts"}
    folder = options.out / name / "adapter"
    save_adapter(base.model, folder, base=base, labels=labels, training=without_texts)
    training |= {"speaker": speaker, "peak_memory_bytes": peak_memory_bytes()}
    atomic.write_json(options.out / name / "task.json", training)


def write_decoding(base: Base, records: Sequence[dict[str, Any]], options: SpeakerOptions) -> None:
    """The decode directory of all folds: each hypothesis by an adapter not trained on the utterance."""
    utterances = read_data_directory(options.data, spk_sort=False, allow_pipes=options.allow_pipes).utterances
    texts = {utterance: text for record in records for utterance, text in record["texts"].items()}
    reason = "bad audio (see the log)"
    left_out = [BadAudio(u.id, u.source, reason) for u in utterances if u.id not in texts]
    result = Decoding({u.id: texts.get(u.id, "") for u in utterances}, left_out)
    record = {
        "schema": 1,
        "data": str(options.data),
        "base": {"name": base.name, "sha256": base.fingerprint["sha256"]},
        "adapter": {"name": f"one for each speaker, started from {options.init_adapter or 'the base'}"},
        "search": "greedy",
        "normalize": "none",
        "utterances": len(texts),
        **environment_record(base, "speakers"),
    }
    write_decode_directory(result, utterances, options.decode_dir or options.out / "decode", record)
