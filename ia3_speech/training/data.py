"""Training data: a data directory, read, checked, with all of its audio decoded and its texts as token ids.

In: a Kaldi data directory and a base. Out: an `Example` for each utterance that CTC can be trained on.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.numbers_in_words import needs_words, numbers_in_words
from ia3_speech.data.text import required_frames, target_text, writing_hint
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterances
from ia3_speech.decoding.long_recordings import maximum_input_seconds
from ia3_speech.inputs import of_file
from ia3_speech.model.base import Base
from ia3_speech.training.config import SharedOptions, TrainingError

logger = logging.getLogger(__name__)

SHOWN = 20  # utterances, or characters, that a message lists


@dataclass
class Example:
    """One utterance as training needs it.

    Attributes:
        utterance: its id, speaker, text and audio file.
        ids: the token ids of its text.
        seconds: length of its audio.
        speeds: the speeds at which its audio has frames enough for its text; none where it can only be
            tested on.
        audio: SHA-256 of its audio file, of a shell pipe that of its samples.
    """

    utterance: Utterance
    ids: list[int]
    seconds: float
    speeds: list[float]
    audio: str = ""


def read_examples(
    path: Path,
    base: Base,
    options: SharedOptions,
    speeds: list[float],
    wanted: Callable[[Utterance], bool] = lambda _: True,
    *,
    with_untrainable: bool = False,
) -> list[Example]:
    """Read, decode and check a data directory, so that any fault in it is found before training starts.

    Args:
        path: the data directory.
        wanted: which of its utterances; the others are not read.
        with_untrainable: return also the utterances, without speeds, whose audio is usable and whose text is
            too long or empty (with `on_error: skip`).

    Raises:
        TrainingError: it is empty, or holds characters that the base can't write, or text too long for its
            audio (the last two unless `drop_chars`, `on_error: skip`).
        AudioError: bad audio, with `on_error: fail`.
    """
    data = read_data_directory(path, allow_pipes=options.allow_pipes)
    data = replace(data, utterances=[utterance for utterance in data if wanted(utterance)])
    if not len(data):
        raise TrainingError(f"{path}: no utterances")
    data = with_numbers_in_words(data, base, options)
    refuse_unwritable(data, base, options)
    bad: list[BadAudio] = []
    trainable, untrainable, unusable_text = [], [], []
    file_sha256 = cache(of_file)  # many segments may be of one recording
    for utterance, wave in load_utterances(
        data,
        minimum_samples=int(base.minimum_samples * max(speeds)) + 1,
        on_error=options.on_error,
        bad=bad,
        allow_pipes=options.allow_pipes,
    ):
        ids = target_ids(utterance, base, options)
        needed = required_frames(ids)
        fitting = [speed for speed in speeds if base.frames(int(len(wave) / speed)) >= needed]
        audio = sha256_of_samples(wave) if utterance.is_piped else file_sha256(Path(utterance.source))
        example = Example(utterance, ids, len(wave) / SAMPLE_RATE, fitting if ids else [], audio)
        (trainable if example.speeds else untrainable).append(example)
        if not fitting:
            available = base.frames(len(wave))
            unusable_text.append(f"{path}/text: {utterance.id} needs {needed} frames, its audio has "
                                 f"{available}: {utterance.text}")  # fmt: skip
        elif not ids:
            unusable_text.append(f"{path}/text: {utterance.id} has no text that the base can write: "
                                 f"{utterance.text!r}")  # fmt: skip
    report_left_out(path, bad, unusable_text, options)
    if not trainable:
        raise TrainingError(f"{path}: no usable utterance is left")
    warn_of_long_input(path, base, [(one.utterance.id, one.seconds) for one in trainable])
    return trainable + (untrainable if with_untrainable else [])


def with_numbers_in_words(data: DataDirectory, base: Base, options: SharedOptions) -> DataDirectory:
    """`data` as it is, or with numbers in words where an English base has no digits and texts are
    normalised."""
    if options.normalize == "none" or not needs_words(base.vocabulary.letters):
        return data
    return replace(data, utterances=numbers_in_words(data.utterances, f"{data.path}/text"))


def unwritable_characters(data: DataDirectory, base: Base, options: SharedOptions) -> str:
    """The characters that the base can't write, the most frequent first, each with its count and the first
    utterance that holds it: `'5' × 3 (as in utt-1), …`. Empty where there are none."""
    texts = target_texts(data, base, options)
    missing = base.vocabulary.missing(texts.values())
    first: dict[str, str] = {}
    for id, text in texts.items() if missing else ():
        for character in base.vocabulary.missing([text]):
            first.setdefault(character, id)
    named = [f"{character!r} × {count} (as in {first[character]})" for character, count in missing.items()]
    return ", ".join(named[:SHOWN]) + (f" and {len(named) - SHOWN} more" if named[SHOWN:] else "")


def target_texts(data: DataDirectory, base: Base, options: SharedOptions) -> dict[str, str]:
    """Utterance → its normalised text."""
    return {u.id: target_text(u.text or "", options.normalize, base.vocabulary) for u in data}


def refuse_unwritable(
    data: DataDirectory, base: Base, options: SharedOptions, flags: str = "--drop-chars"
) -> None:
    """Raises TrainingError for characters that the base can't write, unless they are to be dropped, by one
    of the `flags` that the message names."""
    if not options.drop_chars and (characters := unwritable_characters(data, base, options)):
        missing = base.vocabulary.missing(target_texts(data, base, options).values())
        hint = writing_hint(missing, f"leave them out of the targets with {flags}")
        raise TrainingError(f"{data.path}/text: the base can't write {characters} ({hint})")


def target_ids(utterance: Utterance, base: Base, options: SharedOptions) -> list[int]:
    """The token ids of an utterance's normalised text."""
    text = target_text(utterance.text or "", options.normalize, base.vocabulary)
    return base.vocabulary.encode(text, drop_unknown=options.drop_chars)


def report_left_out(
    path: Path, bad: list[BadAudio], unusable_text: list[str], options: SharedOptions
) -> None:
    """Name what was left out. With `on_error: fail`, text that is too long or empty is an error."""
    left_out = [fault for fault in bad if fault.left_out]
    count = len(unusable_text) + len(left_out)
    if count and options.on_error == "fail":
        raise TrainingError("\n".join([f"{count} utterances can't be trained on:",
                                       *unusable_text[:SHOWN], *map(str, left_out[:SHOWN]),
                                       "Correct them, or pass --on-error skip."]))  # fmt: skip
    for line in [*map(str, bad), *unusable_text]:
        logger.warning("%s", line)
    if count:
        logger.warning("%s: %d utterances left out", path, count)


def warn_of_long_input(path: Path, base: Base, lengths: Sequence[tuple[str, float]]) -> None:
    """Name what exceeds the base's maximum input duration; training does not cut it, as decoding does.

    Args:
        path: the data directory.
        lengths: id and seconds of each of its utterances.
    """
    limit = maximum_input_seconds(base)
    longer = [f"{id} ({seconds:.1f} s)" for id, seconds in lengths if limit and seconds > limit]
    if longer:
        more = f" and {len(longer) - SHOWN} more" if len(longer) > SHOWN else ""
        logger.warning(
            "%s: %d of %d utterances are longer than %.1f s, beyond which %s drops words: %s%s (cut them at "
            "pauses: ia3-speech datadir segment %s OUT --base %s)",
            *(path, len(longer), len(lengths), limit, base.name, ", ".join(longer[:SHOWN]), more),
            *(path, base.name),
        )


def data_digest(train: list[Example], dev: list[Example]) -> str:
    """SHA-256 of what is trained on and evaluated on: ids, token ids, lengths, audio, and which part of
    it.
    """
    rows = [
        (e.utterance.id, e.ids, round(e.seconds, 4), e.audio, e.utterance.start, e.utterance.end)
        for e in [*train, *dev]
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def is_same_data(recorded: str | None, train: list[Example], dev: list[Example]) -> bool:
    """Whether a digest that a run recorded is that of this data; earlier versions recorded it without
    audio.
    """
    rows = [(e.utterance.id, e.ids, round(e.seconds, 4)) for e in [*train, *dev]]
    former = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return recorded in (data_digest(train, dev), former)


def sha256_of_samples(wave: np.ndarray) -> str:
    return hashlib.sha256(wave.tobytes()).hexdigest()
