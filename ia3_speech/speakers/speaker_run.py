"""An adapter for each speaker of a data directory, trained in one process: what `ia3-speech speakers` does.

In: `SpeakerOptions`. Out: what speakers/__main__.py lists. Where task.json stands, an adapter is complete,
and is not trained again: whether it belongs to these inputs, the record of OUT says (ia3_speech/inputs.py).
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from ia3_speech import atomic
from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.load import labels_of_trained
from ia3_speech.adapters.record import read_json
from ia3_speech.adapters.registry import check_name
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.recordings import part_numbers
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterance
from ia3_speech.decoding.decode_directory import Decoding, environment_record, write_decode_directory
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.errors import UserError
from ia3_speech.model.attach import trainable
from ia3_speech.model.base import Base, load_base
from ia3_speech.model.ia3 import attachment
from ia3_speech.speakers.options import SpeakerOptions
from ia3_speech.training.config import to_yaml
from ia3_speech.training.cross_validation import (
    Adaptation,
    adapt,
    divide_into_folds,
    epochs_of,
    setting_record,
    training_examples,
)
from ia3_speech.training.ctc import Progress
from ia3_speech.training.data import Example, read_examples
from ia3_speech.training.feature_cache import cache_for
from ia3_speech.training.multi_adapter import START, load_vectors
from ia3_speech.training.replay import Replayed, read_replay
from ia3_speech.training.run import prepare_base, run_lock

logger = logging.getLogger(__name__)


def adapt_to_speakers(options: SpeakerOptions) -> dict[str, Any]:
    """Train an adapter for every speaker of a data directory; finished ones are not trained again.

    Returns:
        The contents of train.json: adapters, speakers, utterances (the median of what an adapter is adapted
        on), improved (adapters that improved on the start), not_improved (their names, SPEAKER/FOLD),
        trainable (parameters of an adapter), seed, precision and its reason, seconds (of all adapters),
        wall_seconds (of this run).

    Raises:
        UserError: the options or the data can't be used, a speaker has too few utterances, or another run
            is writing to `options.out` (runs of different parts may).
    """
    with run_lock(options.out, options.part):
        base = load_base(options.base, device=options.device)
        replay = read_replay(base, options)
        prepare_base(base, options)
        options = replace(options, precision=base.precision)
        if attachment(base.model).config.train_head or "conv" in attachment(base.model).config.placements:
            raise UserError(f"{options.init_adapter}: a head or conv vectors can't differ from row to row "
                            f"(use ia3-speech train, speaker by speaker)")  # fmt: skip
        speeds = [*{1.0, *options.speeds}]
        examples = read_examples(options.data, base, options, speeds, in_part(options), with_untrainable=True)
        adaptations = list(plan(examples, options))
        warn_of_few_utterances(adaptations, options)
        names = [name for adaptation in adaptations for name in adapter_names(adaptation)]
        files = [f"{name}/{file}" for name in names for file in ("adapter", "task.json")]
        for file in [*files, "config.yaml", "train.json"]:
            atomic.remove_leftovers(options.out / file)
        done = {name for name in names if (options.out / name / "task.json").is_file()}
        left = [a for a in adaptations if not done.issuperset(adapter_names(a))]
        logger.info("%d adapters for %d speakers, %d to do", len(names), len(adaptations), len(left))
        started = time.monotonic()
        train_all(base, left, options, replay)
        return finish(base, names, options, time.monotonic() - started)


# ---- which adapters


def in_part(options: SpeakerOptions) -> Callable[[Utterance], bool]:
    """Whether an utterance's speaker belongs to this run: with --part 3/8 every eighth, from the third on."""
    number, count = part_numbers(options.part)
    data = read_data_directory(options.data, spk_sort=False, allow_pipes=options.allow_pipes)
    speakers = set(sorted({utterance.speaker for utterance in data})[number - 1 :: count])
    return lambda utterance: utterance.speaker in speakers


def plan(examples: list[Example], options: SpeakerOptions) -> Iterator[Adaptation]:
    """Of each speaker what is adapted to. Raises UserError for a speaker with too few utterances."""
    by_speaker: dict[str, list[Example]] = {}
    for example in sorted(examples, key=lambda example: example.utterance.id):
        by_speaker.setdefault(example.utterance.speaker, []).append(example)
    for speaker, spoken in by_speaker.items():
        trainable = [example for example in spoken if example.speeds]
        if options.folds:
            parts = [spoken[fold :: options.folds] for fold in range(options.folds)]
            parts = [part for part in parts if part]  # of fewer utterances than folds
            adaptation = Adaptation(check_name(speaker), spoken, parts, options.k, folds_only=True)
        else:
            chosen = trainable[: options.k]
            adaptation = Adaptation(check_name(speaker), chosen, divide_into_folds(chosen))
        if len(adaptation.parts) < 2 or not all(training_examples(adaptation, p) for p in adaptation.parts):
            raise UserError(
                f"{options.data}: {speaker} has {len(spoken)} utterances, too few to train on one and hold "
                f"another one out (leave this speaker out: ia3-speech datadir subset)"
            )
        yield adaptation


def adapter_names(adaptation: Adaptation) -> list[str]:
    """SPEAKER/fold1 and so on, or SPEAKER/all."""
    if not adaptation.folds_only:
        return [f"{adaptation.name}/all"]
    return [f"{adaptation.name}/fold{number}" for number in range(1, len(adaptation.parts) + 1)]


def warn_of_few_utterances(adaptations: list[Adaptation], options: SpeakerOptions) -> None:
    """Say where there are fewer than `k` utterances."""
    counts = {
        name: len(training_examples(one, part)) if options.folds else len(one.examples)
        for one in adaptations
        for name, part in zip(adapter_names(one), one.parts, strict=False)
    }
    fewer = [name for name, count in counts.items() if options.k and count < options.k]
    if fewer:
        least = min(fewer, key=counts.__getitem__)
        logger.warning(
            "note: %d of %d adapters have fewer than %d utterances to adapt on: %d in %s",
            *(len(fewer), len(counts), options.k, counts[least], least),
        )


# ---- training


def train_all(
    base: Base, adaptations: list[Adaptation], options: SpeakerOptions, replay: Sequence[Replayed]
) -> None:
    """Train and save the adapters of `adapters_per_batch` speakers at a time."""
    cache = cache_for(base, options)
    with Progress(epochs_of(adaptations, options), "epoch") as progress:
        for first in range(0, len(adaptations), options.adapters_per_batch):
            group = adaptations[first : first + options.adapters_per_batch]
            adapt(group, options, cache, replay, progress)
            start = group[0].trainings[options.learning_rate][0].vectors[0]
            for adaptation in group:
                if adaptation.folds_only:
                    save_speaker(base, adaptation, options)
                else:
                    load_vectors(base, adaptation.vectors)
                    save(
                        base,
                        f"{adaptation.name}/all",
                        options,
                        adaptation.record(adaptation.unbiased) | {"texts": {}},
                    )
                adaptation.trainings.clear()
            load_vectors(base, start)


def save_speaker(base: Base, adaptation: Adaptation, options: SpeakerOptions) -> None:
    """Write the folds' adapters, each of the setting that the other folds choose, and what they hear."""
    chosen = zip(adapter_names(adaptation), adaptation.unbiased, strict=True)
    for name, result in chosen:
        fold = result.fold
        load_vectors(base, result.vectors)
        texts = {measure.utterance: measure.text for measure in result.measures}
        record = {
            "trained_on": [example.utterance.id for example in fold.train_examples],
            **setting_record(result.rate, result.setting),
            "words": sum(measure.words for measure in result.measures),
            "start_errors": sum(measure.errors for measure in fold.measures[START]),
            "errors": sum(measure.errors for measure in result.measures),
            "seconds": round(adaptation.seconds / len(adaptation.parts), 2),
            "texts": texts | long_texts(base, fold.held_out, options.allow_pipes),
        }
        save(base, name, options, record)


def long_texts(base: Base, examples: Sequence[Example], allow_pipes: bool) -> dict[str, str]:
    """Utterance → hypothesis, of those that exceed the base's maximum input duration, which are cut at pauses
    as `ia3-speech decode` cuts them."""
    limit = base.maximum_seconds
    long = [example.utterance for example in examples if limit and example.seconds > limit]
    recognizer = Recognizer(base, max_seconds=limit)
    return {u.id: recognizer.texts([load_utterance(u, allow_pipes=allow_pipes)])[0] for u in long}


def save(base: Base, name: str, options: SpeakerOptions, record: dict[str, Any]) -> None:
    """Write the adapter that the base holds, then task.json: where that stands, the adapter is complete."""
    speaker, _, fold = name.partition("/")
    training = {"fold": fold, "data": str(options.data), "init_adapter": options.init_adapter} | record
    if not record["selected_epoch"]:
        logger.warning("%s: no setting improved on the start, which is kept", name)
    labels = labels_of_trained(options.init_adapter, {"speaker": speaker})
    of_card = {key: value for key, value in training.items() if key != "texts"}
    save_adapter(base.model, options.out / name / "adapter", base=base, labels=labels, training=of_card)
    atomic.write_json(options.out / name / "task.json", training | {"speaker": speaker})


def finish(base: Base, names: list[str], options: SpeakerOptions, seconds: float) -> dict[str, Any]:
    """Gather the hypotheses in a decode directory, and write and return the summary."""
    records = [read_json(options.out / name / "task.json") for name in names]
    if options.folds and not options.part:
        write_decoding(base, records, options)
    summary = {
        "adapters": len(names),
        "speakers": len({record["speaker"] for record in records}),
        "utterances": median(len(record["trained_on"]) for record in records),
        "improved": sum(record["selected_epoch"] > 0 for record in records),
        "not_improved": [f"{r['speaker']}/{r['fold']}" for r in records if not r["selected_epoch"]],
        "trainable": sum(p.numel() for _, p in trainable(base.model)),
        "seed": options.seed,
        "precision": base.precision,
        "precision_reason": base.precision_reason,
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "wall_seconds": round(seconds, 1),
    }
    if not options.part:
        atomic.write_text(options.out / "config.yaml", to_yaml(options))
        atomic.write_json(options.out / "train.json", summary)
    return summary


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
