#!/usr/bin/env python3
"""Write the package's out-of-domain speech: to measure an adapter's cost, and to replay in training.

    python scripts/mini/make_out_of_domain.py ../shared/data/read_english/dev librispeech_dev
    python scripts/mini/make_out_of_domain.py ../shared/data/read_english/train librispeech_train --each 3 \\
        --shortest 4 --longest 10 --without 1673,1988,2078,2412,2803,652,777,84

In: a Kaldi data directory of Ogg Opus files, which are copied, not encoded again. Out:
`ia3_speech/out_of_domain/NAME`, a Kaldi data directory with its audio: of each speaker clips of some seconds,
evenly spaced through the sorted ids, or the shortest clips. Without: the speakers of dev-clean.
"""

import shutil
from pathlib import Path

from ia3_speech.commands.datadir import validate
from ia3_speech.common import atomic
from ia3_speech.common.cli import command
from ia3_speech.data.corpora.preparation import evenly_spaced
from ia3_speech.data.kaldi.directory import read_data_directory, summarize, write_tables

FOLDER = Path(__file__).resolve().parents[2] / "ia3_speech/out_of_domain"


def main(
    source: Path, name: str, each: int = 5, shortest: float = 3.0, longest: float = 8.0, without: str = ""
) -> None:
    """Write the data directory with its audio.

    Args:
        source: data directory to choose from
        name: of the folder that is written below ia3_speech/out_of_domain
        each: clips of a speaker
        shortest: seconds of a clip, at least
        longest: seconds of a clip, at most
        without: speakers that are left out, separated by commas
    """
    out, chosen = FOLDER / name, []
    for speaker, utterances in read_data_directory(source).speakers.items():
        if speaker in without.split(","):
            continue
        clips = [clip for clip in utterances if shortest <= (clip.duration or 0.0) <= longest]
        if len(clips) < each:
            clips = sorted(utterances, key=lambda clip: clip.duration or 0.0)[:each]
            clips.sort(key=lambda clip: clip.id)
        chosen += evenly_spaced(clips, each)
    with atomic.replacing(out) as new:
        write_tables(new, out, chosen, [])
        (new / "audio").mkdir()
        for clip in chosen:
            shutil.copyfile(clip.source, new / f"audio/{clip.id}.ogg")
        (new / "wav.scp").write_text("".join(f"{clip.id} audio/{clip.id}.ogg\n" for clip in chosen))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    validate(out, check_audio=True)
    print(f"{out}: {summarize(chosen)}, {size:,} bytes")


if __name__ == "__main__":
    command(main)
