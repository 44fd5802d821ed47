#!/usr/bin/env python3
"""Prepare your own recordings. (Your corpus card goes here: what, where, by whom, how long, licence.)

    local/prepare.py CORPUS_DIR OUT_DIR [--size full|small] [--base BASE]

In: a folder of recordings, or Kaldi data directories; README.md describes them. Out: the data directories
OUT_DIR/{train,dev,test}, of less than five minutes without dev. Recordings of train and dev that are longer
than the base can process are cut at pauses, with their texts (ia3-speech datadir segment).
"""

import shutil
from pathlib import Path

from ia3_speech.common.cli import command
from ia3_speech.data.corpora import csv_folder, kaldi
from ia3_speech.data.corpora.preparation import Size
from ia3_speech.data.kaldi.directory import read_data_directory


def main(corpus: Path, out: Path, size: Size = "full", allow_pipes: bool = False, base: str = "mini") -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: a folder of recordings with one CSV file at its top, or with a text file for each, or of Kaldi
            data directories
        out: where the data directories go
        size: small keeps 48, 12 and 24 utterances
        allow_pipes: wav.scp may hold shell commands; those of train and dev are run, to measure the audio
        base: whose maximum input duration counts, and which aligns text and audio (mini, if it is a Whisper)
    """
    if kaldi.is_kaldi(corpus):
        kaldi.prepare(corpus, out, size, allow_pipes)
    else:
        csv_folder.prepare(corpus, out, size)
    from ia3_speech.model.base import load_base
    from ia3_speech.training.segmentation import segment_data_directory

    loaded = load_base(base)
    maximum = loaded.maximum_seconds
    if "segmentation" not in loaded.abilities:  # a Whisper base
        loaded = load_base("mini")
    ids = [read_data_directory(out / name, allow_pipes=allow_pipes).utterances for name in ("train", "test")]
    for data in filter(Path.is_dir, (out / "train", out / "dev")):
        count, result = segment_data_directory(
            data, data, loaded, max_seconds=maximum, allow_pipes=allow_pipes
        )
        if count:
            print(f"{data}: {result}")
    if ids[0] == ids[1]:  # less than five minutes, judged by folds
        shutil.copytree(out / "train", out / "test", dirs_exist_ok=True)


if __name__ == "__main__":
    command(main)
