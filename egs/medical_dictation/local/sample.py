#!/usr/bin/env python3
"""Take one utterance out of a data directory, as a file that any program plays.

    local/sample.py data/espeak/speaker42/test sample.wav

Out: the first utterance as sample.wav, and its text as sample.txt.
"""

from pathlib import Path

import soundfile

from ia3_speech.atomic import replacing, write_text
from ia3_speech.audio import SAMPLE_RATE, load_utterance
from ia3_speech.cli import command
from ia3_speech.datadir import read


def main(data: Path, out: Path) -> None:
    """Write OUT (16 kHz, 16 bit) and OUT with the ending .txt.

    Args:
        data: Kaldi data directory
        out: the WAV file
    """
    first = read(data, spk_sort=False).utterances[0]
    with replacing(out) as new:
        soundfile.write(new, load_utterance(first), SAMPLE_RATE, format="WAV", subtype="PCM_16")
    write_text(out.with_suffix(".txt"), f"{first.text}\n")


if __name__ == "__main__":
    command(main)
