#!/usr/bin/env python3
"""Score every system of an exp folder on one test set against the base, in one process.

    local/score.py exp/espeak data/espeak/test_caribbean --training data/espeak/both_caribbean/train

In: EXP/base and EXP/SYSTEM_seedN with decode_greedy_SET/text, DATA/SET, EXP/terms_SET where there is one.
Out: score.json and Kaldi's files beside each text. What is a link was scored by the recipe that it is of.
"""

from pathlib import Path

from ia3_speech import score
from ia3_speech.cli import command
from ia3_speech.data.kaldi import read_data_directory


def main(exp: Path, data: Path, training: list[Path] | None = None) -> None:
    """Write EXP/*/decode_greedy_SET/score.json, where SET is the name of the data.

    Args:
        exp: folder of the systems
        data: a test set
        training: what the accent's and the domain's adapter were trained on
    """
    base, terms = exp / "base" / f"decode_greedy_{data.name}", exp / f"terms_{data.name}"
    directory = read_data_directory(data, wav=False, spk_sort=False)
    cluster = "utterance" if len(directory.speakers) == len(directory) else "speaker"
    for folder in sorted(exp.glob(f"*/{base.name}"), key=lambda one: (one != base, one)):
        if not folder.is_symlink():
            score.main(
                data,
                folder,
                baseline=base if folder != base else None,
                terms=terms if terms.is_file() else None,
                cluster=cluster,
                training=training,
            )


if __name__ == "__main__":
    command(main)
