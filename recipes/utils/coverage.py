#!/usr/bin/env python3
"""Can the base write these texts, and is there time enough in the audio for them? Asked before any training.

    coverage.py [--base mini] data/train data/dev

Characters that the base's vocabulary lacks are listed with counts, texts too long for their audio (CTC
needs a frame for each character and one more between two equal ones) by utterance; either ends with an
error.
"""

from pathlib import Path

from ia3_speech.audio import SAMPLE_RATE, duration
from ia3_speech.base import Base, load_base
from ia3_speech.cli import UserError, command
from ia3_speech.datadir import Utterance, read
from ia3_speech.text import normalize, required_frames

SHOWN = 10


def main(train: Path, dev: Path, base: str = "mini", drop_chars: bool = False) -> None:
    """Check the texts of both directories against the base's vocabulary and frame rate.

    Args:
        train: data directory that the adapter learns from
        dev: data directory that it is chosen by
        base: mini, a folder or a hub id
        drop_chars: characters that the base can't write are left out of the targets, so they are no error
    """
    loaded = load_base(base)
    for path in (train, dev):
        data = read(path, spk_sort=False)
        missing = loaded.vocabulary.missing(normalize(utterance.text or "") for utterance in data)
        listed = ", ".join(f"{character!r} {count} times" for character, count in missing.most_common())
        if missing and not drop_chars:
            raise UserError(
                f"{path}/text: the base can't write {listed} (write numbers and signs out in words, or leave "
                f"these characters out of the targets: --train-opts --drop-chars)"
            )
        if crowded := [found for utterance in data if (found := too_long(utterance, loaded))]:
            more = f" and {len(crowded) - SHOWN} more" if len(crowded) > SHOWN else ""
            raise UserError(f"{path}: text too long for its audio: {'; '.join(crowded[:SHOWN])}{more}")
        print(f"{path}: {len(data)} utterances can be written" + (f", without {listed}" if missing else ""))


def too_long(utterance: Utterance, base: Base) -> str | None:
    """What is wrong where CTC has fewer frames than it needs, else None (also where no length is known)."""
    seconds = utterance.duration
    if seconds is None and not utterance.source.endswith("|"):
        seconds = duration(utterance.source)
    if seconds is None:
        return None
    needed = required_frames(base.vocabulary.encode(normalize(utterance.text or ""), drop_unknown=True))
    frames = base.frames(round(seconds * SAMPLE_RATE))
    if needed <= frames:
        return None
    return f"{utterance.id}: {needed} frames are needed for its text, its {seconds:.2f} s have {frames}"


if __name__ == "__main__":
    command(main)
