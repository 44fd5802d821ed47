"""The adapters to train for the speakers of a data directory: their utterances, and which are done.

In: examples and `SpeakerOptions`. Out: an `Adaptation` for each speaker and fold. With folds, every
utterance of a speaker is tested once, by an adapter that was not trained on it.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ia3_speech.adapters.registry import check_name
from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.model import ia3
from ia3_speech.model.base import Base
from ia3_speech.training.config import SpeakerOptions, check_options, resolved_paths
from ia3_speech.training.data import Example, data_digest, is_same_data
from ia3_speech.training.multi_adapter import Schedule, Task, batches_per_epoch, hold_out_examples
from ia3_speech.training.records import read_training_record

logger = logging.getLogger(__name__)


@dataclass
class Adaptation:
    """One adapter to be trained.

    Attributes:
        speaker: whose it is.
        fold: fold1, fold2, …; all without folds.
        task: the utterances that it is trained on, and those held out.
        test: the utterances that it decodes.
        folder: where adapter/ and task.json go.
    """

    speaker: str
    fold: str
    task: Task
    test: list[Example]
    folder: Path

    @property
    def utterances(self) -> int:
        """Utterances that it is trained on, or that select its epoch."""
        return len(self.adapted_on)

    @property
    def data(self) -> str:
        """A digest of all of its utterances."""
        return data_digest(self.adapted_on, self.test)

    @property
    def adapted_on(self) -> list[Example]:
        return self.task.train_examples + self.task.held_out

    def record(self) -> dict[str, Any]:
        """The contents of its task.json; empty where there is none."""
        try:
            return read_training_record(self.folder / "task.json")
        except (OSError, ValueError):
            return {}

    def is_done(self, keys: tuple[str, str]) -> bool:
        """Whether its task.json is of a training with one of these keys, on its utterances as they are."""
        record = self.record()
        return record.get("key") in keys and is_same_data(record.get("data"), self.adapted_on, self.test)


def check_speaker_options(options: SpeakerOptions) -> None:
    """Raises UserError for values that can't be meant."""
    check_options(options)
    if "conv" in options.placements:
        raise UserError(
            "conv vectors stand below the layers that speakers share in a batch (use ia3-speech train)"
        )
    part_of(options)


def part_of(options: SpeakerOptions) -> tuple[int, int]:
    """(3, 8) of `--part 3/8`, else (1, 1)."""
    number, _, count = (options.part or "1/1").partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(f"part is {options.part!r}: write 3/8 for the third of eight shares of the speakers")
    return int(number), int(count)


def in_part(options: SpeakerOptions) -> Callable[[Utterance], bool]:
    """Whether an utterance's speaker belongs to this run: with --part 3/8 every eighth, from the third on."""
    number, count = part_of(options)
    data = read_data_directory(options.data, allow_pipes=options.allow_pipes)
    speakers = set(sorted({utterance.speaker for utterance in data})[number - 1 :: count])
    return lambda utterance: utterance.speaker in speakers


def plan(examples: list[Example], options: SpeakerOptions) -> Iterator[Adaptation]:
    """Every adapter, speaker by speaker. Raises UserError for a speaker with too few utterances."""
    by_speaker: dict[str, list[Example]] = {}
    for example in sorted(examples, key=lambda one: one.utterance.id):
        by_speaker.setdefault(example.utterance.speaker, []).append(example)
    for speaker, own in by_speaker.items():
        for fold in range(options.folds or 1):
            test = own[fold :: options.folds] if options.folds else []
            chosen = [one for one in own if one.speeds and one not in test][: options.k]
            if len(chosen) < 2:
                raise UserError(
                    f"{options.data}: {speaker} has {len(own)} utterances, too few to train on one and hold "
                    f"one out (leave this speaker out: ia3-speech datadir subset)"
                )
            name = f"fold{fold + 1}" if options.folds else "all"
            folder = options.out / check_name(speaker) / name
            task = Task(f"{speaker}/{name}", *hold_out_examples(chosen))
            yield Adaptation(speaker, name, task, test, folder)


def warn_of_few_utterances(adaptations: list[Adaptation], options: SpeakerOptions) -> None:
    """Say where there are fewer than `k` utterances."""
    fewer = [one for one in adaptations if options.k and one.utterances < options.k]
    if fewer:
        least = min(fewer, key=lambda one: one.utterances)
        logger.warning(
            "note: %d of %d adapters have fewer than %d utterances to adapt on: %d in %s",
            *(len(fewer), len(adaptations), options.k, least.utterances, least.task.name),
        )


def keys_of(base: Base, options: SpeakerOptions) -> tuple[str, str]:
    """Digests of all that decides an adapter, except for its utterances: folders by their full paths, and, as
    earlier versions recorded it, as they were given."""
    # Under the names that earlier versions used, so that what they finished is not trained again.
    former = {present: former for former, present in SpeakerOptions.FORMER_NAMES.items()}
    names = [field.name for field in fields(options) if field.name not in options.WITHOUT_EFFECT]
    given = {former.get(name, name): str(getattr(options, name)) for name in names}
    vectors = [vector.l.detach().cpu().numpy().tobytes() for vector in ia3.vectors(base.model).values()]
    present, as_given = (
        hashlib.sha256(b"".join([json.dumps([record, base.fingerprint], sort_keys=True).encode(), *vectors]))
        for record in (resolved_paths(given), given)
    )
    return present.hexdigest(), as_given.hexdigest()


def groups_of(
    adaptations: list[Adaptation], schedule: Schedule, adapters_per_batch: int
) -> Iterator[list[Adaptation]]:
    """Adaptations that are trained side by side: they have equally many batches in an epoch."""
    by_batches: dict[int, list[Adaptation]] = {}
    for one in adaptations:
        by_batches.setdefault(batches_per_epoch(one.task, schedule), []).append(one)
    for alike in by_batches.values():
        for first in range(0, len(alike), adapters_per_batch):
            yield alike[first : first + adapters_per_batch]
