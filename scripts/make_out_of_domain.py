#!/usr/bin/env python3
"""The out-of-domain speech that the package ships: thirty clips of six readers of LibriSpeech's dev-clean.

    python scripts/make_out_of_domain.py ../shared/data/read_english/dev

In: a Kaldi data directory of Ogg Opus files. Out: `ia3_speech/out_of_domain/librispeech_dev`, a Kaldi data
directory with its audio: of each speaker five clips of 3 to 8 seconds, evenly spaced through the sorted ids,
or, of one who has fewer, the five shortest. The files are copied as they are: nothing is encoded twice. Paths
in wav.scp are relative to the directory.
"""

import shutil
from pathlib import Path

from ia3_speech import atomic
from ia3_speech.cli import UserError, command
from ia3_speech.data.corpora.preparation import evenly_spaced
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.kaldi.directory import summarize, write_tables
from ia3_speech.datadir import validate

OUT = Path(__file__).resolve().parents[1] / "ia3_speech/out_of_domain/librispeech_dev"
EACH = 5  # clips of a speaker
SHORTEST, LONGEST = 3.0, 8.0  # seconds
MOST_BYTES = 1_000_000


def main(source: Path, out: Path = OUT) -> None:
    """Write the data directory with its audio.

    Args:
        source: data directory to choose from
        out: the folder to write
    """
    chosen = []
    for utterances in read_data_directory(source).speakers.values():
        short = [one for one in utterances if SHORTEST <= (one.duration or 0.0) <= LONGEST]
        if len(short) < EACH:
            shortest = sorted(utterances, key=lambda one: one.duration or 0.0)[:EACH]
            short = sorted(shortest, key=lambda one: one.id)
        chosen += evenly_spaced(short, EACH)
    with atomic.replacing(out) as new:
        write_tables(new, out, chosen, [])
        (new / "audio").mkdir()
        for one in chosen:
            shutil.copyfile(one.source, new / f"audio/{one.id}.ogg")
        (new / "wav.scp").write_text("".join(f"{one.id} audio/{one.id}.ogg\n" for one in chosen))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        raise UserError(f"{out}: {size:,} bytes, more than {MOST_BYTES:,}")
    validate(out, check_audio=True)
    print(f"{out}: {summarize(chosen)}, {size:,} bytes")


if __name__ == "__main__":
    command(main)
