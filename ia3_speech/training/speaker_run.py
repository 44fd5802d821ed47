"""An adapter for each speaker of a data directory, trained in one process: what `ia3-speech speakers` does.

In: `SpeakerOptions`. Out: below OUT an adapter and a task.json for each speaker and fold, train.json and
config.yaml; and a decode directory with the hypotheses of all folds.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from ia3_speech import atomic
from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.load import labels_of_trained, load_adapter
from ia3_speech.cli import UserError, progress_stream
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterance
from ia3_speech.decoding.decode_directory import Decoding, environment_record, write_decode_directory
from ia3_speech.decoding.long_recordings import maximum_input_seconds
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model import ia3
from ia3_speech.model.attach import attach
from ia3_speech.model.base import Base, load_base
from ia3_speech.model.ia3_config import IA3Config
from ia3_speech.model.parameter_count import count_parameters
from ia3_speech.model.precision import choose_precision
from ia3_speech.training.config import SpeakerOptions, to_yaml
from ia3_speech.training.data import read_examples
from ia3_speech.training.feature_cache import FeatureCache, frozen_depth
from ia3_speech.training.multi_adapter import (
    MultiAdapterTrainer,
    Schedule,
    Task,
)
from ia3_speech.training.run_lock import run_lock
from ia3_speech.training.speaker_adaptations import (
    Adaptation,
    check_speaker_options,
    groups_of,
    in_part,
    keys_of,
    plan,
    warn_of_few_utterances,
)

logger = logging.getLogger(__name__)


def adapt_to_speakers(options: SpeakerOptions) -> dict[str, Any]:
    """Train an adapter for every speaker of a data directory; finished ones are not trained again.

    Returns:
        The contents of train.json: adapters, speakers, utterances (the median of what an adapter is adapted
        on), improved (adapters that improved on the start), not_improved (their names, SPEAKER/FOLD),
        trainable (parameters of an adapter), seed, seconds (of all adapters), wall_seconds (of this run).

    Raises:
        UserError: the options or the data can't be used, a speaker has too few utterances, or another run
            is writing to `options.out` (runs of different parts may).
    """
    check_speaker_options(options)
    with run_lock(options.out, options.part):
        return adapt_locked(options)


def adapt_locked(options: SpeakerOptions) -> dict[str, Any]:
    """The same, with checked options, in a folder that no other run writes these adapters to."""
    base = load_base(options.base, device=options.device)
    options.precision = base.precision = choose_precision(options.precision, base.device)
    if options.spec_augment == "off":
        base.model.config.apply_spec_augment = False
    attach_common_start(base, options)
    speeds = [*{1.0, *options.speeds}]
    examples = read_examples(options.data, base, options, speeds, in_part(options), with_untrainable=True)
    adaptations = list(plan(examples, options))
    keys = keys_of(base, options)
    warn_of_few_utterances(adaptations, options)
    remove_killed_runs(adaptations, options)
    left = [one for one in adaptations if not one.is_done(keys)]
    cache = FeatureCache(base, frozen_depth(base), options.cache_gb * 2**30, options.allow_pipes)
    speakers = len({one.speaker for one in adaptations})
    logger.info("%d adapters for %d speakers, %d to do", len(adaptations), speakers, len(left))
    started = time.monotonic()
    train_all(base, left, options, cache, keys[0])
    return finish(base, adaptations, options, time.monotonic() - started)


def remove_killed_runs(adaptations: list[Adaptation], options: SpeakerOptions) -> None:
    """Remove what runs that were killed while they wrote left behind."""
    written = [one.folder / name for one in adaptations for name in ("adapter", "task.json")]
    if not options.part:
        written += [options.out / "config.yaml", options.out / "train.json"]
    for path in written:
        atomic.remove_leftovers(path)


def attach_common_start(base: Base, options: SpeakerOptions) -> None:
    """Attach the vectors that every speaker starts from: of `init_adapter`, else ones."""
    if options.init_adapter is None:
        attach(base.model, IA3Config(tuple(options.placements), options.layers))
        return
    load_adapter(base.model, options.init_adapter)
    if base.model.ia3_config.train_head or "conv" in base.model.ia3_config.placements:
        raise UserError(f"{options.init_adapter}: a head or conv vectors can't differ from row to row "
                        f"(use ia3-speech train, speaker by speaker)")  # fmt: skip


def train_all(
    base: Base, adaptations: list[Adaptation], options: SpeakerOptions, cache: FeatureCache, key: str
) -> None:
    """Train, test and save, `adapters_per_batch` adapters at a time."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    schedule = Schedule(
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        warmup=options.warmup,
        clip=options.clip,
        batch_utterances=options.batch_utterances,
        seed=options.seed,
        speeds=tuple(options.speeds),
    )
    speakers = {one.speaker for one in adaptations}
    labels = {speaker: labels_of_trained(options.init_adapter, {"speaker": speaker}) for speaker in speakers}
    start = {vector: vector.l.detach().clone() for vector in ia3.vectors(base.model).values()}
    groups = list(groups_of(adaptations, schedule, options.adapters_per_batch))
    if groups:
        log_expected_time(base, groups, schedule, cache, options.part)
    with logging_redirect_tqdm(), tqdm(
        total=len(adaptations), desc="training", unit="adapter", dynamic_ncols=True, disable=None,
        file=progress_stream(),
    ) as bar:  # fmt: skip
        for group in groups:
            started = time.monotonic()
            with torch.no_grad():
                for vector, value in start.items():
                    vector.l.copy_(value)
            trainer = MultiAdapterTrainer(base, [one.task for one in group], schedule, cache)
            trainer.run()
            texts = decode_tests(trainer, group)
            for index, adaptation in enumerate(group):
                trainer.load_best(index)
                seconds = (time.monotonic() - started) / len(group)
                save(base, adaptation, options, key, labels[adaptation.speaker], texts[index], seconds)
                bar.update()


def log_expected_time(
    base: Base, groups: list[list[Adaptation]], schedule: Schedule, cache: FeatureCache, part: str | None
) -> None:
    """Log how long training will take, by one epoch of the first group (trained for this alone).

    The features are cached first, as they are from the second epoch on."""
    tasks = [Task(one.task.name, one.task.train_examples, one.task.held_out) for one in groups[0]]
    for task in tasks:
        for example in (*task.train_examples, *task.held_out):
            for speed in example.speeds:
                cache.get(example.utterance, speed)
    started = time.monotonic()
    MultiAdapterTrainer(base, tasks, replace(schedule, epochs=1), cache).run()
    seconds = (time.monotonic() - started) * schedule.epochs * sum(map(len, groups)) / len(groups[0])
    share = f" for this share of the speakers, {part}" if part else ""
    logger.info("about %.0f minutes%s", seconds / 60, share)


def decode_tests(trainer: MultiAdapterTrainer, group: list[Adaptation]) -> list[dict[str, str]]:
    """For each adapter of the group, utterance id → hypothesis of what it is tested on.

    What exceeds the base's maximum input duration is cut at pauses, as `ia3-speech decode` does it.
    """
    limit = maximum_input_seconds(trainer.base)
    tested = [(index, example) for index, one in enumerate(group) for example in one.test]
    long = [(index, example) for index, example in tested if limit and example.seconds > limit]
    rows = [(index, example) for index, example in tested if not limit or example.seconds <= limit]
    texts: list[dict[str, str]] = [{} for _ in group]
    for index, example in long:
        trainer.load_best(index)
        wave = load_utterance(example.utterance, allow_pipes=trainer.cache.allow_pipes)
        [text] = Recognizer(trainer.base, max_seconds=limit).texts([wave])
        texts[index][example.utterance.id] = text
    for batch in trainer.batches(rows):
        for (index, example), text in zip(batch, trainer.texts(batch), strict=True):
            texts[index][example.utterance.id] = text
    return texts


def save(
    base: Base,
    adaptation: Adaptation,
    options: SpeakerOptions,
    key: str,
    labels: dict[str, str],
    texts: dict[str, str],
    seconds: float,
) -> None:
    """Write the adapter, then task.json: where that stands, the adapter is complete."""
    (adaptation.folder / "task.json").unlink(missing_ok=True)  # of another adapter, if there was one
    task = adaptation.task
    record = {
        "key": key,
        "data": adaptation.data,
        "speaker": adaptation.speaker,
        "fold": adaptation.fold,
        "trained_on": [example.utterance.id for example in task.train_examples],
        "held_out": [example.utterance.id for example in task.held_out],
        "held_out_losses": [round(loss, 6) if math.isfinite(loss) else None for loss in task.losses],
        "best_epoch": task.best_epoch,
        "seconds": round(seconds, 2),
    }
    if not task.best_epoch:
        logger.warning("%s: no epoch improved on %.3f, so it stays as it started", task.name, task.losses[0])
    training = {name: record[name] for name in ("fold", "trained_on", "held_out_losses")}
    training |= {
        "selected_epoch": task.best_epoch,
        "data": str(options.data),
        "init_adapter": options.init_adapter,
    }
    save_adapter(base.model, adaptation.folder / "adapter", base=base, labels=labels, training=training)
    atomic.write_json(adaptation.folder / "task.json", record | {"texts": texts})


def finish(
    base: Base, adaptations: list[Adaptation], options: SpeakerOptions, seconds: float
) -> dict[str, Any]:
    """Gather the hypotheses in a decode directory, and write and return the summary."""
    records = [one.record() for one in adaptations]
    if options.folds and not options.part:
        write_decoding(base, records, options)
    summary = {
        "adapters": len(adaptations),
        "speakers": len({one.speaker for one in adaptations}),
        "utterances": median(one.utterances for one in adaptations),
        "improved": sum(record["best_epoch"] > 0 for record in records),
        "not_improved": [f"{r['speaker']}/{r['fold']}" for r in records if not r["best_epoch"]],
        "trainable": count_parameters(base.model).trained,
        "seed": options.seed,
        "seconds": round(sum(record["seconds"] for record in records), 1),
        "wall_seconds": round(seconds, 1),
    }
    if not options.part:
        atomic.write_text(options.out / "config.yaml", to_yaml(options))
        atomic.write_json(options.out / "train.json", summary)
    return summary


def write_decoding(base: Base, records: Sequence[dict[str, Any]], options: SpeakerOptions) -> None:
    """The decode directory of all folds: each hypothesis by an adapter not trained on the utterance."""
    utterances: list[Utterance] = read_data_directory(
        options.data, allow_pipes=options.allow_pipes
    ).utterances
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
