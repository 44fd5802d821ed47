#!/usr/bin/env python3
"""Write texts for the language model that no recording contains: diagnoses of ICD-10-CM, drugs with doses.

    local/lm_texts.py OUT [--train DATA/train]

Out: one per line, as spoken. Test sets are not read; the lists contain some of their terms, as a clinic's
lists would, and none of their sentences.
"""

from pathlib import Path

from grammar import read_drugs
from wording import diagnoses, spoken

from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command
from ia3_speech.data.numbers_in_words import verbalize_numbers

HERE = Path(__file__).parent


def main(out: Path, train: Path | None = None) -> None:
    """Write OUT, each line once, in the order of the lists; TRAIN, which recipes pass, is not read."""
    texts = []
    for drug in read_drugs(HERE / "drugs.tsv"):
        texts += [f"{drug.name} {verbalize_numbers(d)} {drug.route} {drug.frequency}" for d in drug.doses]
        texts.append(f"{drug.name} for {drug.indication}")
    lines = [line for line in dict.fromkeys([*texts, *map(spoken, diagnoses())]) if line]
    write_text(out, "".join(f"{line}\n" for line in lines))
    print(f"{out}: {len(lines):,} lines of ICD-10-CM and drugs.tsv")


if __name__ == "__main__":
    command(main)
