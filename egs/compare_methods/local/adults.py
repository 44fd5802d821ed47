#!/usr/bin/env python3
"""The adults of speechocean762 (card: ia3_speech/data/corpora/speechocean762.py) → train, dev and test.

local/adults.py CORPUS data/accent --minutes 20
"""

from pathlib import Path

from ia3_speech.cli import command
from ia3_speech.data.corpora import speechocean762
from ia3_speech.data.corpora.preparation import Size
from ia3_speech.data.kaldi import read_data_directory, subset_data_directory, write_data_directory


def main(
    corpus: Path, out: Path, minutes: float = 20, size: Size = "full", allow_pipes: bool = False
) -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: in its published layout
        out: folder of the data directories
        minutes: of train
        size: small takes a little of each set
        allow_pipes: not used, the corpus holds files
    """
    speechocean762.prepare(corpus, out / "whole", size)
    for name, source in (("adults", "train"), ("dev", "dev"), ("test", "test_adults")):
        utterances = read_data_directory(out / "whole" / source).utterances
        write_data_directory(out / name, [u for u in utterances if speechocean762.is_adult(u)])
    whole = sum(u.duration or 0.0 for u in read_data_directory(out / "adults").utterances) / 60
    print(subset_data_directory(out / "adults", out / "train", minutes=min(minutes, whole)))


if __name__ == "__main__":
    command(main)
