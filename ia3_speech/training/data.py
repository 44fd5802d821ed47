"""Training data: a data directory, read, checked, with all of its audio decoded and its texts as token ids.

In: a Kaldi data directory and a base. Out: an `Example` for each utterance that CTC can be trained on.
`check_data` (`ia3-speech train --check`) finds faults beforehand, by texts and lengths of audio alone.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.numbers_in_words import needs_words, numbers_in_words
from ia3_speech.data.text import normalize, required_frames, target_text, writing_hint
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterances, with_duration
from ia3_speech.errors import AudioError, TrainingError
from ia3_speech.formatting import plural, shorten
from ia3_speech.inputs import of_file
from ia3_speech.model.base import Base, load_base
from ia3_speech.training.config import SharedOptions, TrainingOptions

logger = logging.getLogger(__name__)

SHOWN = 10  # utterances that a message lists


@dataclass
class Example:
    """One utterance as training needs it."""

    utterance: Utterance  # its id, speaker, text and audio file
    ids: list[int]  # the token ids of its text
    seconds: float  # length of its audio
    # The speeds at which its audio has frames enough for its text; none where it can only be tested on
    speeds: list[float]
    audio: str = ""  # SHA-256 of its audio file, of a shell pipe that of its samples


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
        wanted: which of its utterances; the others are not read.
        with_untrainable: return also the utterances, without speeds, whose audio is usable and whose text is
            too long or empty (with `on_error: skip`).

    Raises:
        TrainingError: it is empty, or holds characters that the base can't write, or text too long for its
            audio (the last two unless `drop_chars`, `on_error: skip`).
        AudioError: bad audio, with `on_error: fail`.
    """
    data = read_data(path, base, options)
    data = replace(data, utterances=[utterance for utterance in data if wanted(utterance)])
    refuse_unwritable(data, base, options)
    bad: list[BadAudio] = []
    trainable, untrainable, faults = [], [], []
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
        is_piped = utterance.is_piped
        audio = hashlib.sha256(wave.tobytes()).hexdigest() if is_piped else of_file(Path(utterance.source))
        example = Example(utterance, ids, len(wave) / SAMPLE_RATE, fitting if ids else [], audio)
        (trainable if example.speeds else untrainable).append(example)
        if not example.speeds:
            faults.append(f"{path}/text: {text_fault(utterance, len(wave), base, options, min(speeds))}")
    report_left_out(path, bad, faults, options)
    if not trainable:
        raise TrainingError(f"{path}: no usable utterance is left")
    warn_of_long_input(path, base, [(example.utterance.id, example.seconds) for example in trainable])
    return trainable + (untrainable if with_untrainable else [])


def check_data(options: TrainingOptions, test_sets: Sequence[Path] = ()) -> None:
    """Check `options.train` and `options.dev`, and print how many utterances can be trained on. As training
    does, it warns of those that exceed the base's maximum input duration.

    Of a test set, characters that the base lacks and texts without a word are no error, but both count
    against the recogniser, so they are printed.

    Raises:
        TrainingError: the base can't write a character of train or dev (unless `drop_chars`); or, unless
            `on_error: skip`, a header or a segment shows that audio can't be used, nothing is left of a text
            once it is normalised (punctuation alone), or it needs more frames than its audio has.
    """
    base = load_base(options.base, device="cpu")
    for path in dict.fromkeys(filter(None, (options.train, options.dev))):
        data = read_data(path, base, options)
        refuse_unwritable(data, base, options)
        utterances, faults = [], []
        speeds = options.speeds if options.dev else [1.0, *options.speeds]  # without dev, folds test on train
        slowest = min(speeds) if path == options.train else 1.0
        for utterance in data:
            try:
                checked = with_duration(utterance, check=True)
                samples = checked.duration and round(checked.duration * SAMPLE_RATE)
                utterances.append(checked)
                faults += filter(None, [text_fault(checked, samples, base, options, slowest)])
            except AudioError as error:
                faults.append(f"{utterance.id}: {error}")
        if faults and options.on_error == "fail":
            raise TrainingError(
                f"{path}: {plural(len(faults), 'utterance')} can't be trained on: {shorten(faults, '; ')} "
                f"(correct them, or leave them out with --on-error skip; of a recipe: --train-opts "
                f"'--on-error skip', of speaker_adaptation: --text-opts)"
            )
        without = f", without {shorten(faults, '; ')}" if faults else ""
        print(f"{path}: {len(data) - len(faults)} utterances can be trained on{without}")
        warn_of_long_input(
            path, base, [(utterance.id, utterance.duration or 0.0) for utterance in utterances]
        )
    for path in test_sets:
        data = read_data(path, base, options)
        if characters := unwritable_characters(data, base, options)[1]:
            print(f"{path}/text: the base can't write {characters}; words with them will count as errors")
        if empty := [u.id for u in data if not normalize(u.text or "", options.normalize).strip()]:
            print(
                f"{path}/text: no word is left of {plural(len(empty), 'text')}, {shorten(empty)}; each "
                f"word that is heard there will count as an error"
            )


def read_data(path: Path, base: Base, options: SharedOptions) -> DataDirectory:
    """A data directory, numbers in words where an English base has no digits and texts are normalised."""
    data = read_data_directory(path, spk_sort=False, allow_pipes=options.allow_pipes)
    if options.normalize == "none" or not needs_words(base.vocabulary.letters):
        return data
    return replace(data, utterances=numbers_in_words(data.utterances, f"{data.path}/text"))


def target_ids(utterance: Utterance, base: Base, options: SharedOptions) -> list[int]:
    """The token ids of an utterance's normalised text."""
    text = target_text(utterance.text or "", options.normalize, base.vocabulary)
    return base.vocabulary.encode(text, drop_unknown=options.drop_chars)


def text_fault(
    utterance: Utterance, samples: int | None, base: Base, options: SharedOptions, speed: float = 1.0
) -> str | None:
    """Why CTC can't be trained on an utterance's text; None where it can. It needs a frame for each symbol,
    and one more between two equal ones.

    Args:
        samples: the length of its audio; None where it is unknown.
        speed: at which it is played.
    """
    ids = target_ids(utterance, base, options)
    if not ids:
        return f"{utterance.id}: no word is left of its text {utterance.text!r}"
    needed = required_frames(ids)
    if samples is None or needed <= (frames := base.frames(int(samples / speed))):
        return None
    audio = f"{samples / SAMPLE_RATE:.2f} s" + f" at {speed:g} times the speed" * (speed != 1)
    return f"{utterance.id}: {needed} frames are needed for its text, its {audio} have {frames}"


def unwritable_characters(data: DataDirectory, base: Base, options: SharedOptions) -> tuple[list[str], str]:
    """The characters that the base can't write, the most frequent first; and the same in words, each with its
    count and the first utterance that holds it: `'5' × 3 (as in utt-1), …`. Empty where there are none."""
    texts = {u.id: target_text(u.text or "", options.normalize, base.vocabulary) for u in data}
    missing = base.vocabulary.missing(texts.values())
    first: dict[str, str] = {}
    for id, text in texts.items() if missing else ():
        for character in base.vocabulary.missing([text]):
            first.setdefault(character, id)
    named = [f"{character!r} × {count} (as in {first[character]})" for character, count in missing.items()]
    return [*missing], shorten(named)


def refuse_unwritable(data: DataDirectory, base: Base, options: SharedOptions) -> None:
    """Raises TrainingError for characters that the base can't write, unless they are to be dropped."""
    missing, described = unwritable_characters(data, base, options)
    if missing and not options.drop_chars:
        flags = "--drop-chars; of a recipe: --train-opts --drop-chars, of speaker_adaptation: --text-opts"
        hint = writing_hint(missing, f"leave them out of the targets with {flags}")
        raise TrainingError(f"{data.path}/text: the base can't write {described} ({hint})")


def report_left_out(path: Path, bad: list[BadAudio], faults: list[str], options: SharedOptions) -> None:
    """Name what was left out. With `on_error: fail`, text that is too long or empty is an error, as bad audio
    was when it was read."""
    if faults and options.on_error == "fail":
        head = f"{plural(len(faults), 'utterance')} can't be trained on:"
        raise TrainingError("\n".join([head, *faults[:SHOWN], "Correct them, or pass --on-error skip."]))
    for line in [*map(str, bad), *faults]:
        logger.warning("%s", line)
    if count := len(faults) + sum(fault.left_out for fault in bad):
        logger.warning("%s: %s left out", path, plural(count, "utterance"))


def warn_of_long_input(path: Path, base: Base, lengths: Sequence[tuple[str, float]]) -> None:
    """Name what exceeds the base's maximum input duration, by id and seconds of a data directory's
    utterances; training does not cut it, as decoding does."""
    limit = base.maximum_seconds
    longer = [f"{id} ({seconds:.1f} s)" for id, seconds in lengths if limit and seconds > limit]
    if longer:
        logger.warning(
            "%s: %d of %d utterances are longer than %.1f s, beyond which %s drops words: %s (cut them at "
            "pauses: ia3-speech datadir segment %s OUT --base %s)",
            *(path, len(longer), len(lengths), limit, base.name, shorten(longer), path, base.name),
        )


def data_digest(examples: Sequence[Example]) -> str:
    """SHA-256 of examples: ids, token ids, lengths, audio, and which part of it."""
    rows = [
        (e.utterance.id, e.ids, round(e.seconds, 4), e.audio, e.utterance.start, e.utterance.end)
        for e in examples
    ]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
