#!/usr/bin/env python3
"""One utterance of a data directory as a file that any program plays, and what each adapter makes of it.

    local/sample.py data/espeak/speaker42/test exp/espeak/speaker42 --base mini --adapters 'medical speaker42'

In: the first utterance. Out: sample.wav, and `transcripts`: what was said, what the base hears, and what it
hears with each adapter, as `ia3-speech transcribe` prints it.
"""

from pathlib import Path

import soundfile

from ia3_speech.atomic import replacing, write_text
from ia3_speech.cli import command
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import load_utterance
from ia3_speech.transcribe import transcribe


def main(data: Path, out: Path, base: str = "mini", adapters: str = "", allow_pipes: bool = False) -> None:
    """Write OUT/sample.wav (16 kHz, 16 bit) and OUT/transcripts.

    Args:
        data: Kaldi data directory
        out: folder to write into
        base: mini, a folder or a hub id
        adapters: registered names, with spaces between them
        allow_pipes: wav.scp may hold shell commands
    """
    first = read_data_directory(data, allow_pipes=allow_pipes).utterances[0]
    wave = load_utterance(first, allow_pipes=allow_pipes)
    sample = out / "sample.wav"
    with replacing(sample) as new:
        soundfile.write(new, wave, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    lines = {"said": first.text, "base": transcribe(sample, base=base).text}
    lines |= {name: transcribe(sample, adapter=name, base=base).text for name in adapters.split()}
    write_text(out / "transcripts", "".join(f"{name:<10} {text}\n" for name, text in lines.items()))


if __name__ == "__main__":
    command(main)
