"""An adapter for each speaker of a data directory, trained in one process: what `ia3-speech speakers` does.

In: `SpeakerOptions`. Out: below OUT an adapter and a task.json for each speaker and fold, train.json and
config.yaml; and a decode directory with the hypotheses of all folds. With folds, every utterance of a speaker
is tested once, by an adapter that was not trained on it. Where task.json stands, an adapter is complete, and
is not trained again: whether it belongs to these inputs, the record of OUT says (ia3_speech/inputs.py).
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import torch

from ia3_speech import atomic
from ia3_speech.adapters.io import save_adapter
from ia3_speech.adapters.load import labels_of_trained
from ia3_speech.adapters.registry import check_name
from ia3_speech.cli import UserError, progress_stream
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterance
from ia3_speech.decoding.decode_directory import Decoding, environment_record, write_decode_directory
from ia3_speech.decoding.long_recordings import maximum_input_seconds
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.model import ia3
from ia3_speech.model.base import Base, load_base
from ia3_speech.model.ia3 import count_parameters
from ia3_speech.training.config import SpeakerOptions, check_options, to_yaml
from ia3_speech.training.data import Example, read_examples
from ia3_speech.training.feature_cache import FeatureCache, frozen_depth
from ia3_speech.training.multi_adapter import (
    MultiAdapterTrainer,
    Task,
    batches_per_epoch,
    hold_out_examples,
)
from ia3_speech.training.records import read_training_record
from ia3_speech.training.run import prepare_base, run_lock

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
    check_options(options)
    with run_lock(options.out, options.part):
        base = load_base(options.base, device=options.device)
        prepare_base(base, options)
        if base.model.ia3_config.train_head or "conv" in base.model.ia3_config.placements:
            raise UserError(f"{options.init_adapter}: a head or conv vectors can't differ from row to row "
                            f"(use ia3-speech train, speaker by speaker)")  # fmt: skip
        speeds = [*{1.0, *options.speeds}]
        examples = read_examples(options.data, base, options, speeds, in_part(options), with_untrainable=True)
        tasks = list(plan(examples, options))
        warn_of_few_utterances(tasks, options)
        names = [f"{task.name}/{name}" for task in tasks for name in ("adapter", "task.json")]
        for name in [*names, "config.yaml", "train.json"]:
            atomic.remove_leftovers(options.out / name)
        left = [task for task in tasks if not (options.out / task.name / "task.json").is_file()]
        speakers = len({task.speaker for task in tasks})
        logger.info("%d adapters for %d speakers, %d to do", len(tasks), speakers, len(left))
        started = time.monotonic()
        train_all(base, left, options)
        return finish(base, tasks, options, time.monotonic() - started)


# ---- which adapters


def in_part(options: SpeakerOptions) -> Callable[[Utterance], bool]:
    """Whether an utterance's speaker belongs to this run: with --part 3/8 every eighth, from the third on."""
    number, count = map(int, (options.part or "1/1").split("/"))
    data = read_data_directory(options.data, allow_pipes=options.allow_pipes)
    speakers = set(sorted({utterance.speaker for utterance in data})[number - 1 :: count])
    return lambda utterance: utterance.speaker in speakers


def plan(examples: list[Example], options: SpeakerOptions) -> Iterator[Task]:
    """Every adapter's task, speaker by speaker. Raises UserError for a speaker with too few utterances."""
    by_speaker: dict[str, list[Example]] = {}
    for example in sorted(examples, key=lambda example: example.utterance.id):
        by_speaker.setdefault(example.utterance.speaker, []).append(example)
    for speaker, spoken in by_speaker.items():
        for fold in range(options.folds or 1):
            test = spoken[fold :: options.folds] if options.folds else []
            chosen = [example for example in spoken if example.speeds and example not in test][: options.k]
            if len(chosen) < 2:
                raise UserError(
                    f"{options.data}: {speaker} has {len(spoken)} utterances, too few to train on one and "
                    f"hold one out (leave this speaker out: ia3-speech datadir subset)"
                )
            name = f"fold{fold + 1}" if options.folds else "all"
            yield Task(f"{check_name(speaker)}/{name}", *hold_out_examples(chosen), test)


def warn_of_few_utterances(tasks: list[Task], options: SpeakerOptions) -> None:
    """Say where there are fewer than `k` utterances."""
    fewer = [task for task in tasks if options.k and task.utterances < options.k]
    if fewer:
        least = min(fewer, key=lambda task: task.utterances)
        logger.warning(
            "note: %d of %d adapters have fewer than %d utterances to adapt on: %d in %s",
            *(len(fewer), len(tasks), options.k, least.utterances, least.name),
        )


def groups_of(tasks: list[Task], options: SpeakerOptions) -> Iterator[list[Task]]:
    """Tasks that are trained side by side: they have equally many batches in an epoch."""
    by_batches: dict[int, list[Task]] = {}
    for task in tasks:
        by_batches.setdefault(batches_per_epoch(task, options), []).append(task)
    for alike in by_batches.values():
        for first in range(0, len(alike), options.adapters_per_batch):
            yield alike[first : first + options.adapters_per_batch]


# ---- training


def train_all(base: Base, tasks: list[Task], options: SpeakerOptions) -> None:
    """Train, test and save, `adapters_per_batch` adapters at a time."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    cache = FeatureCache(base, frozen_depth(base), options.cache_gb * 2**30, options.allow_pipes)
    start = {vector: vector.l.detach().clone() for vector in ia3.vectors(base.model).values()}
    with logging_redirect_tqdm(), tqdm(
        total=len(tasks), desc="training", unit="adapter", dynamic_ncols=True, disable=None,
        file=progress_stream(),
    ) as bar:  # fmt: skip
        for group in groups_of(tasks, options):
            started = time.monotonic()
            with torch.no_grad():
                for vector, value in start.items():
                    vector.l.copy_(value)
            trainer = MultiAdapterTrainer(base, group, options, cache)
            trainer.run()
            texts = decode_tests(trainer)
            for index, task in enumerate(group):
                trainer.load_best(index)
                seconds = (time.monotonic() - started) / len(group)
                save(base, task, options, texts[index], seconds)
                bar.update()


def decode_tests(trainer: MultiAdapterTrainer) -> list[dict[str, str]]:
    """For each task, utterance id → hypothesis of what it is tested on.

    What exceeds the base's maximum input duration is cut at pauses, as `ia3-speech decode` does it.
    """
    limit = maximum_input_seconds(trainer.base)
    tested = [(index, example) for index, task in enumerate(trainer.tasks) for example in task.test]
    long = [(index, example) for index, example in tested if limit and example.seconds > limit]
    rows = [(index, example) for index, example in tested if not limit or example.seconds <= limit]
    texts: list[dict[str, str]] = [{} for _ in trainer.tasks]
    for index, example in long:
        trainer.load_best(index)
        wave = load_utterance(example.utterance, allow_pipes=trainer.cache.allow_pipes)
        [text] = Recognizer(trainer.base, max_seconds=limit).texts([wave])
        texts[index][example.utterance.id] = text
    for batch in trainer.batches(rows):
        for (index, example), text in zip(batch, trainer.texts(batch), strict=True):
            texts[index][example.utterance.id] = text
    return texts


def save(base: Base, task: Task, options: SpeakerOptions, texts: dict[str, str], seconds: float) -> None:
    """Write the adapter, then task.json: where that stands, the adapter is complete."""
    speaker, _, fold = task.name.partition("/")
    record = {
        "speaker": speaker,
        "fold": fold,
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
    labels = labels_of_trained(options.init_adapter, {"speaker": speaker})
    folder = options.out / task.name
    save_adapter(base.model, folder / "adapter", base=base, labels=labels, training=training)
    atomic.write_json(folder / "task.json", record | {"texts": texts})


def finish(base: Base, tasks: list[Task], options: SpeakerOptions, seconds: float) -> dict[str, Any]:
    """Gather the hypotheses in a decode directory, and write and return the summary."""
    records = [read_training_record(options.out / task.name / "task.json") for task in tasks]
    if options.folds and not options.part:
        write_decoding(base, records, options)
    summary = {
        "adapters": len(tasks),
        "speakers": len({task.speaker for task in tasks}),
        "utterances": median(task.utterances for task in tasks),
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
    utterances = read_data_directory(options.data, allow_pipes=options.allow_pipes).utterances
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
