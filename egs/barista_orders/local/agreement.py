#!/usr/bin/env python3
"""How often does narrowing find the sentence of transcripts.tsv? The preparation does without that table.

    local/agreement.py DATA/test EXP/base/decode_greedy_test OUT

In: a test set whose texts are those of transcripts.tsv, and what the base heard there. For each order, the
sentence of the grammar that is nearest to that, which prepare.py would have taken, is compared with the text.
Out: OUT: how many are the same, and those that aren't. The former is also printed.
"""

from pathlib import Path

from grammar import nearest

from ia3_speech.atomic import write_text
from ia3_speech.cli import command
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.scoring.alignment import count_errors
from ia3_speech.scoring.kaldi_files import read_kaldi_text


def main(data: Path, decoded: Path, out: Path) -> None:
    """Write OUT.

    Args:
        data: the test set, its texts from transcripts.tsv
        decoded: decode directory of the base alone
        out: text file
    """
    heard, orders = read_kaldi_text(decoded / "text"), read_data_directory(data, wav=False).utterances
    found = {one.id: nearest(one.labels, heard[one.id]) for one in orders}
    errors = [count_errors(one.text.split(), found[one.id].split()) for one in orders]
    wrong, words = sum(one.total for one in errors), sum(one.words for one in errors)
    other = [one for one in orders if found[one.id] != one.text]
    same = len(orders) - len(other)
    text = (
        f"Narrowing by the base's own decoding finds the sentence of transcripts.tsv in {same} of "
        f"{len(orders)} orders ({100 * same / len(orders):.1f} %); {wrong} of {words} words differ "
        f"({100 * wrong / words:.1f} %).\n"
    )
    write_text(out, text + "".join(f"{one.id}: {found[one.id]!r}, not {one.text!r}\n" for one in other))
    print(text, end="")


if __name__ == "__main__":
    command(main)
