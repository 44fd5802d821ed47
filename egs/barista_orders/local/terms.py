#!/usr/bin/env python3
"""List the terms of the orders: the slots, by category.

    local/terms.py DATA/test TERMS [--train DATA/train]

In: the labels drink, size, roast, shots, milk and sugar of a test set (and of train). Out: the slots, for
`ia3-speech score --terms`: `double shot<TAB>shots`; a slot that no order of train has also has the category
`only in test`. Hypotheses are not read.
"""

from pathlib import Path

from grammar import LABELS

from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import read_data_directory


def main(data: Path, out: Path, train: Path | None = None) -> None:
    """Write the slots of DATA to OUT."""
    slots = slots_of(data)
    if not slots:
        raise UserError(f"{data}: none of its utterances has a slot (utt2drink, …; prepare it again)")
    known = slots_of(train) if train else slots
    new = {slot: "\tonly in test" for slot in slots if slot not in known}
    write_text(out, "".join("\t".join(slot) + new.get(slot, "") + "\n" for slot in slots))
    print(f"{out}: {len(slots)} terms, {len(new)} of them only in test")


def slots_of(data: Path) -> list[tuple[str, str]]:
    """(words, category) of every slot that occurs, sorted."""
    names = set(LABELS.values())
    pairs = (item for utterance in read_data_directory(data, wav=False) for item in utterance.labels.items())
    return sorted({(words, name) for name, words in pairs if name in names})


if __name__ == "__main__":
    command(main)
