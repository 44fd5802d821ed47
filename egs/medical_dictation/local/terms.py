#!/usr/bin/env python3
"""The terms of a test set, fixed before anything is decoded: drugs, procedures, words of ICD-10-CM.

    local/terms.py DATA/test TERMS [--train DATA/train]

In: the references of a test set (and of train), drugs.tsv, dictation.grammar, stop_words.txt, ICD-10-CM. Out:
the terms that occur in the references, for `ia3-speech score --terms`: `cystoscopy<TAB>procedure<TAB>only in
test`. An `icd` term is a part of a description of two to four words ("urinary tract infection"), or one word
of its diagnoses and symptoms, without the stop list. British spelling counts ("haematuria").
"""

import re
from collections.abc import Iterator
from pathlib import Path

from grammar import read_drugs, read_sections
from wording import diagnoses, spoken

from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.text import normalize

HERE = Path(__file__).parent
MAX_PHRASE_WORDS = 4  # words of a phrase; longer descriptions count by their parts
FUNCTION_WORDS = {*"a an as at by except for from having in not of on the to with".split()}  # noqa: SIM905
JOINTS = re.compile(r"[,;:()\[\]]| (?:with|without|due to|caused by|following|in|and|or|not) ")


def icd_terms(stop: set[str]) -> tuple[set[str], set[str]]:
    """→ words, phrases of ICD-10-CM's diagnoses and symptoms."""
    parts = {part for description in diagnoses() for part in JOINTS.split(description.lower())}
    words, phrases = set(), set()
    for part_words in (spoken(part).split() for part in parts):
        telling = [word for word in part_words if len(word) > 2 and word not in stop]
        words.update(telling)
        hanging = {*part_words[:1], *part_words[-1:]} & FUNCTION_WORDS
        if telling and not hanging and 2 <= len(part_words) <= MAX_PHRASE_WORDS:
            phrases.add(" ".join(part_words))
    return words, phrases


def runs(words: list[str], longest: int) -> Iterator[str]:
    """All runs of one to `longest` words."""
    for start in range(len(words)):
        for end in range(start + 1, min(start + longest, len(words)) + 1):
            yield " ".join(words[start:end])


def american(word: str) -> str:
    """ "haematuria" → "hematuria", so that a British reference finds ICD-10-CM's word."""
    return word.replace("ae", "e").replace("oe", "e") if len(word) > 5 else word


def texts(data: Path) -> list[list[str]]:
    return [normalize(utterance.text or "").split() for utterance in read_data_directory(data, wav=False)]


def main(data: Path, out: Path, train: Path | None = None) -> None:
    """Write the terms that occur in the references of DATA to OUT."""
    stop = set(re.sub(r"#.*", "", (HERE / "stop_words.txt").read_text(encoding="utf-8")).split())
    listed = dict.fromkeys(read_sections(HERE / "dictation.grammar")[0]["procedure"], "procedure")
    listed |= dict.fromkeys((drug.name for drug in read_drugs(HERE / "drugs.tsv")), "drug")
    words, phrases = icd_terms(stop)
    longest = max(MAX_PHRASE_WORDS, *(len(term.split()) for term in listed))
    occurring: dict[str, str] = {}
    for run in (run for text in texts(data) for run in runs(text, longest)):
        in_icd = " ".join(map(american, run.split())) in (phrases if " " in run else words)
        if run in listed or (in_icd and run not in stop):
            occurring[run] = listed.get(run, "icd")
    if not occurring:
        raise UserError(f"{data}: no term of ICD-10-CM and of our lists occurs in its references")
    known = {run for text in texts(train) for run in runs(text, 8)} if train else set(occurring)
    new = {term: "\tonly in test" for term in occurring if term not in known}
    write_text(out, "".join(f"{term}\t{occurring[term]}{new.get(term, '')}\n" for term in sorted(occurring)))
    print(f"{out}: {len(occurring)} terms, {len(new)} of them only in test")


if __name__ == "__main__":
    command(main)
