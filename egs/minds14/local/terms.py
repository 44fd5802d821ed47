#!/usr/bin/env python3
"""List the terms of local/terms.txt that occur in the references of a test set.

    local/terms.py DATA/test TERMS [--train DATA/train]

In: terms.txt with a term and its intent in each line, written before anything was decoded; the references of
the test set and of train. Out: lines `joint account<TAB>joint_account`, for `ia3-speech score --terms`; a
term that is not in train's references also has the category `only in test`.
"""

from pathlib import Path

from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.text import normalize

LIST = Path(__file__).with_name("terms.txt")


def text_of(data: Path) -> str:
    """All references, with a bar between them, so that no term reaches from one into the next."""
    calls = read_data_directory(data, wav=False, spk_sort=False)
    return f" {' | '.join(normalize(call.text or '') for call in calls)} "


def main(data: Path, out: Path, train: Path | None = None) -> None:
    """Write the terms that occur in the references of DATA to OUT."""
    lines = [line.split("\t") for line in LIST.read_text("utf-8").splitlines() if line and line[0] != "#"]
    tested, known = text_of(data), text_of(train) if train else ""
    terms = {term: intent for term, intent in sorted(lines) if f" {term} " in tested}
    if not terms:
        raise UserError(f"{data}: none of the terms of {LIST} occurs in its references")
    new = {term: "\tonly in test" for term in terms if train and f" {term} " not in known}
    write_text(out, "".join(f"{term}\t{terms[term]}{new.get(term, '')}\n" for term in terms))
    print(f"{out}: {len(terms)} terms, {len(new)} of them only in test")


if __name__ == "__main__":
    command(main)
