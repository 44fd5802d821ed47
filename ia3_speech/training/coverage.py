"""Whether a base can write the texts of a corpus, and whether its audio is long enough for them.

In: the options of training, and data directories that are only tested on. Out: a line for each directory on
stdout, and a warning of recordings that are longer than the base can process; or an error. Only the lengths
of audio files are read. `ia3-speech train --check` runs it.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.text import normalize, required_frames
from ia3_speech.data.utterance import Utterance, with_duration
from ia3_speech.formatting import plural
from ia3_speech.model.base import Base, load_base
from ia3_speech.training.config import TrainingError, TrainingOptions
from ia3_speech.training.data import (
    refuse_unwritable,
    target_ids,
    unwritable_characters,
    warn_of_long_input,
    with_numbers_in_words,
)

SHOWN = 10  # utterances that a message lists


def check_coverage(options: TrainingOptions, test_sets: Sequence[Path] = ()) -> None:
    """Check `options.train` and `options.dev`, and print how many utterances can be trained on. As training
    does, it warns of those that exceed the base's maximum input duration.

    Of a test set, characters that the base lacks and texts without a word are no error, but both count
    against the recogniser, so they are printed.

    Raises:
        TrainingError: the base can't write a character of train or dev (unless `drop_chars`); or, unless
            `on_error: skip`, nothing is left of a text once it is normalised (punctuation alone), or it needs
            more frames than its audio has: CTC needs a frame for each symbol, and one more between two equal
            ones.
    """
    base = load_base(options.base, device="cpu")
    for path in dict.fromkeys((options.train, options.dev)):
        data = read_data_directory(path, allow_pipes=options.allow_pipes)
        data = with_numbers_in_words(data, base, options)
        flags = "--drop-chars; of a recipe: --train-opts --drop-chars, of speaker_adaptation: --text-opts"
        refuse_unwritable(data, base, options, flags)
        data = replace(data, utterances=[with_duration(utterance) for utterance in data])
        faults = [found for utterance in data if (found := text_fault(utterance, base, options))]
        if faults and options.on_error == "fail":
            raise TrainingError(
                f"{path}/text: {plural(len(faults), 'utterance')} can't be trained on: {shorten(faults)} "
                f"(correct them, or leave them out with --on-error skip; of a recipe: --train-opts "
                f"'--on-error skip', of speaker_adaptation: --text-opts)"
            )
        without = f", without {shorten(faults)}" if faults else ""
        print(f"{path}: {len(data) - len(faults)} utterances can be trained on{without}")
        warn_of_long_input(path, base, [(utterance.id, utterance.duration or 0.0) for utterance in data])
    for path in test_sets:
        data = read_data_directory(path, allow_pipes=options.allow_pipes)
        data = with_numbers_in_words(data, base, options)
        if characters := unwritable_characters(data, base, options):
            print(f"{path}/text: the base can't write {characters}; words with them will count as errors")
        if empty := [one.id for one in data if not normalize(one.text or "", options.normalize).strip()]:
            print(
                f"{path}/text: no word is left of {plural(len(empty), 'text')}, {shorten(empty, ', ')}; each "
                f"word that is heard there will count as an error"
            )


def shorten(entries: Sequence[str], separator: str = "; ") -> str:
    """The first entries, and how many more there are."""
    more = len(entries) - SHOWN
    return separator.join(entries[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def text_fault(utterance: Utterance, base: Base, options: TrainingOptions) -> str | None:
    """Why CTC can't be trained on an utterance's text; None where it can."""
    if not target_ids(utterance, base, options):
        return f"{utterance.id}: no word is left of its text {utterance.text!r}"
    return frames_missing(utterance, base, options)


def frames_missing(utterance: Utterance, base: Base, options: TrainingOptions) -> str | None:
    """How many frames CTC needs and has, where it has too few; else None, also where no length is known."""
    seconds = utterance.duration
    if seconds is None:
        return None
    needed = required_frames(target_ids(utterance, base, options))
    frames = base.frames(round(seconds * SAMPLE_RATE))
    if needed <= frames:
        return None
    return f"{utterance.id}: {needed} frames are needed for its text, its {seconds:.2f} s have {frames}"
