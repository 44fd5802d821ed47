"""Training data: a checked data directory, with its audio decoded and its texts as token ids.

In: a Kaldi data directory and a base. Out: an `Example` for each utterance that training can use.
`check_data` (`ia3-speech train --check`) finds faults beforehand, by texts and lengths of audio alone.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ia3_speech.common.errors import AudioError, TrainingError
from ia3_speech.common.formatting import plural, shorten
from ia3_speech.common.inputs import file_sha256
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi.directory import DataDirectory, read_data_directory
from ia3_speech.data.numbers_in_words import needs_words, numbers_in_words
from ia3_speech.data.text import normalize, writing_hint
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterances, with_duration
from ia3_speech.model.base import Base, load_base
from ia3_speech.training.config import SharedOptions, TrainingOptions

logger = logging.getLogger(__name__)


@dataclass
class Example:
    """One utterance as training needs it."""

    utterance: Utterance  # its id, speaker, text and audio file
    ids: list[int]  # the token ids of its text
    seconds: float  # length of its audio
    speeds: list[float]  # at which its audio has enough frames for its text; empty: it is for testing only
    audio: str = ""  # SHA-256 of its audio file, or of the samples of a shell pipe


@dataclass(frozen=True)
class Targets:
    """Turns texts into targets of a base: normalised, without unknown characters where `drop_unknown`."""

    base: Base
    normalize: str = "ctc"
    drop_unknown: bool = False
    as_is: bool = False

    def text(self, utterance: Utterance) -> str:
        return self.base.target(utterance.text or "", self.normalize, as_is=self.as_is)

    def ids(self, utterance: Utterance) -> list[int]:
        return self.base.vocabulary.encode(self.text(utterance), drop_unknown=self.drop_unknown)

    def fault(self, utterance: Utterance, samples: int | None, speed: float = 1.0) -> str | None:
        """Why training can't learn an utterance's text, or None (see `Base.misfit`), from the length of its
        audio in samples (None: unknown), played at a speed."""
        if not (ids := self.ids(utterance)):
            return f"{utterance.id}: no word is left of its text {utterance.text!r}"
        fault = None if samples is None else self.base.misfit(ids, samples, speed)
        return fault and f"{utterance.id}: {fault}"

    def unknown_characters(self, utterances: Iterable[Utterance]) -> dict[str, str]:
        """Character that the base can't write → its description, the most frequent first: `'5' × 3 (as in
        utt-1)`, with its count and the first utterance that holds it."""
        texts = {utterance.id: self.text(utterance) for utterance in utterances}
        missing, first = self.base.vocabulary.missing(texts.values()), {}
        for id, text in texts.items() if missing else ():
            for character in self.base.vocabulary.missing([text]):
                first.setdefault(character, id)
        return {char: f"{char!r} × {count} (as in {first[char]})" for char, count in missing.items()}

    def read(self, path: Path, allow_pipes: bool, *, check: bool = True) -> DataDirectory:
        """A data directory; its numbers are in words where an English base has no digits. With `check` raises
        TrainingError for unknown characters, unless they are dropped."""
        data = read_data_directory(path, spk_sort=False, allow_pipes=allow_pipes)
        if self.normalize != "none" and needs_words(self.base.vocabulary.letters):
            data = replace(data, utterances=numbers_in_words(data.utterances, f"{data.path}/text"))
        if check and not self.drop_unknown and (unknown := self.unknown_characters(data)):
            named, hint = shorten([*unknown.values()]), writing_hint(unknown)
            raise TrainingError(f"{path}/text: the base can't write {named} ({hint})")
        return data


def targets_of(base: Base, options: SharedOptions) -> Targets:
    return Targets(base, options.normalize, options.drop_chars, options.targets == "asis")


def read_examples(
    path: Path,
    base: Base,
    options: SharedOptions,
    speeds: list[float],
    wanted: Callable[[Utterance], bool] = lambda _: True,
    *,
    with_untrainable: bool = False,
) -> list[Example]:
    """Read, decode and check a data directory, so that any fault in it is named before training starts. Only
    `wanted` utterances are read. `with_untrainable`: return also the utterances, without speeds, whose audio
    is usable and whose text is too long or empty (with `on_error: skip`).

    Raises TrainingError if it is empty, or holds characters that the base can't write, or text too long for
    its audio (the last two unless `drop_chars`, `on_error: skip`); AudioError for bad audio, with `on_error:
    fail`.
    """
    targets = targets_of(base, options)
    utterances = [*filter(wanted, targets.read(path, options.allow_pipes))]
    minimum = int(base.minimum_samples * max(speeds)) + 1
    bad: list[BadAudio] = []
    trainable, untrainable, faults = [], [], []
    waves = load_utterances(utterances, minimum_samples=minimum, on_error=options.on_error, bad=bad)
    for utterance, wave in waves:
        ids, is_piped = targets.ids(utterance), utterance.is_piped
        fitting = [speed for speed in speeds if not targets.fault(utterance, len(wave), speed)]
        source = Path(utterance.source)
        audio = hashlib.sha256(wave.tobytes()).hexdigest() if is_piped else file_sha256(source)
        example = Example(utterance, ids, len(wave) / SAMPLE_RATE, fitting, audio)
        (trainable if fitting else untrainable).append(example)
        if not fitting:
            faults.append(targets.fault(utterance, len(wave), min(speeds)))
    report_left_out(path, bad, faults, options.on_error)
    if not trainable:
        raise TrainingError(f"{path}: no usable utterance is left")
    warn_of_long_input(path, base, [(example.utterance.id, example.seconds) for example in trainable])
    return trainable + (untrainable if with_untrainable else [])


def report_left_out(path: Path, bad: list[BadAudio], faults: list[str], on_error: str = "skip") -> None:
    """Log bad audio and faults of texts. With `on_error` fail, faults of texts raise TrainingError."""
    if faults and on_error == "fail":
        listed = shorten(faults, "\n")
        head = f"{path}: {plural(len(faults), 'utterance')} can't be trained on:"
        raise TrainingError(f"{head}\n{listed}\nCorrect them, or pass `on_error=skip`.")
    for line in [*map(str, bad), *faults]:
        logger.warning("%s", line)
    if count := len(faults) + sum(fault.left_out for fault in bad):
        logger.warning("%s: %s left out", path, plural(count, "utterance"))


def warn_of_long_input(path: Path, base: Base, lengths: Sequence[tuple[str, float]]) -> None:
    """Log the utterances (id, seconds) beyond the base's maximum input duration: training cuts none."""
    limit = base.maximum_seconds
    longer = [f"{id} ({seconds:.1f} s)" for id, seconds in lengths if limit and seconds > limit]
    if longer:
        logger.warning(
            "%s: %d of %d utterances are longer than %.1f s, beyond which %s drops words: %s (cut them at "
            "pauses: ia3-speech datadir segment)",
            *(path, len(longer), len(lengths), limit, base.name, shorten(longer)),
        )


def data_digest(examples: Sequence[Example]) -> str:
    """SHA-256 of examples: ids, token ids, lengths, audio files and segments."""
    pairs = ((e, e.utterance) for e in examples)
    rows = [(u.id, e.ids, round(e.seconds, 4), e.audio, u.start, u.end) for e, u in pairs]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def check_data(options: TrainingOptions, test_sets: Sequence[Path] = ()) -> None:
    """Check `options.train` and `options.dev`, print how many utterances can be trained on, and warn of those
    that exceed the base's maximum input duration.

    Characters that the base lacks, and texts without a word, are no error in a test set, but both count
    against the recogniser, so they are printed.

    Raises TrainingError if the base can't write a character of train or dev (unless `drop_chars`); or, unless
    `on_error: skip`, a header or a segment shows that audio can't be used, no word is left of a normalised
    text, or it needs more frames than its audio has.
    """
    base = load_base(options.base, device="cpu")
    targets = targets_of(base, options)
    for path in dict.fromkeys(filter(None, (options.train, options.dev))):
        data = targets.read(path, options.allow_pipes)
        lengths, faults = [], []
        speeds = options.speeds if options.dev else [1.0, *options.speeds]  # without dev, folds test on train
        slowest = min(speeds) if path == options.train else 1.0
        for utterance in data:
            try:
                seconds = with_duration(utterance, check=True).duration
                samples = seconds and round(seconds * SAMPLE_RATE)
                lengths.append((utterance.id, seconds or 0.0))
                faults += filter(None, [targets.fault(utterance, samples, slowest)])
            except AudioError as error:
                faults.append(f"{utterance.id}: {error}")
        report_left_out(path, [], faults, options.on_error)
        print(f"{path}: {plural(len(data) - len(faults), 'utterance')} can be trained on")
        warn_of_long_input(path, base, lengths)
    for path in test_sets:
        data = targets.read(path, options.allow_pipes, check=False)
        if unknown := targets.unknown_characters(data):
            named = shorten([*unknown.values()])
            print(f"{path}/text: the base can't write {named}; words with them will count as errors")
        if empty := [u.id for u in data if not normalize(u.text or "", options.normalize).strip()]:
            texts = f"{plural(len(empty), 'text')}, {shorten(empty)}"
            print(f"{path}/text: no word is left of {texts}; each recognised word will count as an error")
