"""What flows into training: a data directory, read, listened to, checked, turned into token ids."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ia3_speech.data import text
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.data.utterance_audio import BadAudio, load_utterances
from ia3_speech.decoding.segmentation import maximum_input_seconds
from ia3_speech.model.base import Base
from ia3_speech.training.config import Options, TrainingError

logger = logging.getLogger(__name__)


@dataclass
class Example:
    """One utterance ready to be learnt from: token ids, and the speeds at which CTC can emit them.

    One that can only be tested on has no speeds.
    """

    utterance: Utterance
    ids: list[int]
    seconds: float
    speeds: list[float]


def read_examples(
    path: Path,
    base: Base,
    options: Options,
    speeds: list[float],
    wanted: Callable[[Utterance], bool] = lambda _: True,
    untaught: list[Example] | None = None,
) -> list[Example]:
    """Read, listen to and check a data directory; everything that can go wrong with it goes wrong here.

    Args:
        wanted: which of its utterances; the others are not looked at.
        untaught: takes, with `on_error: skip`, what can be heard and not be learnt from.

    Raises:
        TrainingError: it is empty, holds characters that the base can't write, or text too long for its
            audio (the last two unless `drop_chars`, `on_error: skip`).
        AudioError: bad audio, with `on_error: fail`.
    """
    data = read_data_directory(path, allow_pipes=options.allow_pipes)
    data = replace(data, utterances=[utterance for utterance in data if wanted(utterance)])
    if not len(data):
        raise TrainingError(f"{path}: no utterances")
    check_coverage(data, base, options)
    bad: list[BadAudio] = []
    examples, too_long = [], []
    untaught = [] if untaught is None else untaught
    for utterance, wave in load_utterances(
        data,
        minimum_samples=int(base.minimum_samples * max(speeds)) + 1,
        on_error=options.on_error,
        bad=bad,
        allow_pipes=options.allow_pipes,
    ):
        ids, seconds = encode(utterance, base, options), len(wave) / SAMPLE_RATE
        needed = text.required_frames(ids)
        fitting = [s for s in speeds if base.frames(int(len(wave) / s)) >= needed]
        if not fitting:
            too_long.append(f"{path}/text: {utterance.id} needs {needed} frames, its audio has "
                            f"{base.frames(len(wave))}: {utterance.text}")  # fmt: skip
        elif ids:
            examples.append(Example(utterance, ids, seconds, fitting))
        else:
            bad.append(BadAudio(utterance.id, f"{path}/text", "no text that the base can write"))
        if not (fitting and ids):
            untaught.append(Example(utterance, ids, seconds, []))
    report_left_out(path, bad, too_long, options)
    if not examples:
        raise TrainingError(f"{path}: no usable utterance is left")
    report_beyond_reach(path, base, examples)
    return examples


def check_coverage(data: DataDirectory, base: Base, options: Options) -> None:
    if not options.drop_chars and (characters := unwritable(data, base, options)):
        raise TrainingError(
            f"{data.path}/text: the base can't write {characters} (write them out in words, or leave them "
            f"out of the targets with --drop-chars)"
        )


def unwritable(data: DataDirectory, base: Base, options: Options) -> str:
    """The characters that the base can't write, the most frequent first: each with its count and the first
    utterance that holds it. Empty where there are none."""
    texts = {one.id: text.normalize(one.text or "", options.normalize) for one in data}
    missing = base.vocabulary.missing(texts.values())
    first: dict[str, str] = {}
    for id, normal in texts.items() if missing else ():
        for character in base.vocabulary.missing([normal]):
            first.setdefault(character, id)
    named = [f"{c!r} × {n} (as in {first[c]})" for c, n in missing.items()]
    return ", ".join(named[:20]) + (f" and {len(named) - 20} more" if named[20:] else "")


def encode(utterance: Utterance, base: Base, options: Options) -> list[int]:
    normal = text.normalize(utterance.text or "", options.normalize)
    return base.vocabulary.encode(normal, drop_unknown=options.drop_chars)


def report_left_out(path: Path, bad: list[BadAudio], too_long: list[str], options: Options) -> None:
    """Name what was left out; with `on_error: fail` text that is too long, or empty, is an error."""
    left_out = [b for b in bad if b.left_out]
    if (too_long or left_out) and options.on_error == "fail":
        raise TrainingError("\n".join([f"{len(too_long) + len(left_out)} utterances can't be learnt from:",
                                       *too_long[:20], *map(str, left_out[:20]),
                                       "Correct them, or pass --on-error skip."]))  # fmt: skip
    for line in [*map(str, bad), *too_long]:
        logger.warning("%s", line)
    if too_long or left_out:
        logger.warning("%s: %d utterances left out", path, len(too_long) + len(left_out))


def report_beyond_reach(path: Path, base: Base, examples: list[Example]) -> None:
    """Name what is longer than the base can count: training takes it whole, where decode cuts it."""
    limit = maximum_input_seconds(base)
    beyond = [e for e in examples if limit and e.seconds > limit]
    if beyond:
        longest = max(beyond, key=lambda e: e.seconds)
        logger.warning(
            "%s: %d of %d utterances are longer than %.1f s, beyond which %s drops words; the longest is %s, "
            "%.1f s (cut them at pauses, with segments)",
            *(path, len(beyond), len(examples), limit, base.name, longest.utterance.id, longest.seconds),
        )


def data_digest(train: list[Example], dev: list[Example]) -> str:
    """What was learnt from, and judged on: ids, texts, lengths."""
    rows = [(e.utterance.id, e.ids, round(e.seconds, 4)) for e in [*train, *dev]]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
