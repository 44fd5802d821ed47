#!/usr/bin/env python3
"""Can the base write these texts, and is there time enough in the audio? Asked before anything is decoded.

    coverage.py --config recipes/conf/ia3.yaml --base mini --train data/train --dev data/dev --out exp/NAME

Takes the options of `python -m ia3_speech.train`, so that --drop-chars, --normalize and --on-error skip count
as they do there; nothing is listened to or written. Characters that the base's vocabulary lacks are listed
with counts, texts too long for their audio (CTC needs a frame for each character and one more between two
equal ones) by utterance; either ends with an error. In a set of --tests (one a line) such characters end
nothing, but words that hold them will count as errors, so they are named.
"""

from dataclasses import dataclass
from pathlib import Path

from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE, audio_duration
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.text import required_frames
from ia3_speech.data.utterance import Utterance
from ia3_speech.model.base import Base, load_base
from ia3_speech.training.config import Options, TrainingError
from ia3_speech.training.data import encode, unwritable

SHOWN = 10


@dataclass
class Asked(Options):
    """Options of a training run.

    Args:
        tests: data directories that are only tested on, one a line
    """

    tests: str = ""


def main(options: Asked) -> None:
    base = load_base(options.base, device="cpu")
    for path in (options.train, options.dev):
        data = read_data_directory(path, allow_pipes=options.allow_pipes)
        characters = unwritable(data, base, options)
        if characters and not options.drop_chars:
            raise TrainingError(
                f"{path}/text: the base can't write {characters} (write them out in words, or leave them out "
                f"of what is learnt: --train-opts --drop-chars; of speakers: --text-opts)"
            )
        crowded = [found for utterance in data if (found := too_long(utterance, base, options))]
        listed = "; ".join(crowded[:SHOWN]) + (f" and {len(crowded) - SHOWN} more" if crowded[SHOWN:] else "")
        if crowded and options.on_error == "fail":
            raise TrainingError(
                f"{path}: text too long for its audio: {listed} (correct them, or leave them out of "
                f"training: --train-opts '--on-error skip'; of speakers: --text-opts)"
            )
        without = f", without {listed}" if crowded else ""
        print(f"{path}: {len(data) - len(crowded)} utterances can be learnt from{without}")
    for path in map(Path, options.tests.splitlines()):
        data = read_data_directory(path, allow_pipes=options.allow_pipes)
        if characters := unwritable(data, base, options):
            print(f"{path}/text: the base can't write {characters}; words with them will count as errors")


def too_long(utterance: Utterance, base: Base, options: Options) -> str | None:
    """What is wrong where CTC has fewer frames than it needs, else None (also where no length is known)."""
    seconds = utterance.duration
    if seconds is None and not utterance.source.endswith("|"):
        seconds = audio_duration(utterance.source)
    if seconds is None:
        return None
    needed = required_frames(encode(utterance, base, options))
    frames = base.frames(round(seconds * SAMPLE_RATE))
    if needed <= frames:
        return None
    return f"{utterance.id}: {needed} frames are needed for its text, its {seconds:.2f} s have {frames}"


if __name__ == "__main__":
    command(main)
