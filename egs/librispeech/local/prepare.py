#!/usr/bin/env python3
"""Prepare one reader of LibriSpeech.

    local/prepare.py CORPUS_DIR OUT_DIR [--reader 237] [--size full|small]

Corpus card

    What      audio books of LibriVox, read aloud by volunteers, cut into sentences; 16 kHz
    Speakers  about 2,500 readers; 40 in test-clean, about 8 minutes each
    Sets      of one reader: the last third of the chapters (at least one) is test, the last of the others
              dev; of two chapters the second is test, and the end of the first dev; a single chapter is cut
              by the order of its utterances: the last third is test, the last 15 % of the others dev
    Labels    utt2chapter, and spk2gender where SPEAKERS.TXT is found
    Licence   CC BY 4.0, OpenSLR 12
    Citation  Panayotov et al. 2015, "LibriSpeech: an ASR corpus based on public domain audio books", ICASSP

In: READER/CHAPTER/READER-CHAPTER.trans.txt and the sound files beside it, at any depth below CORPUS_DIR,
which may be a single reader's folder. (Kaldi's preparation takes a chapter for a speaker; here a reader is.)
Out: OUT_DIR/{train,dev,test}. The mini base loses count after 15.36 s: longer utterances are cut at pauses
where they are decoded, and can't be learnt from, so train and dev go without them (--longest).
"""

from collections.abc import Iterator
from math import ceil
from pathlib import Path

from kaldi_corpus import DEV_SHARE
from sets import Size, put, sound, table

from ia3_speech.audio import duration
from ia3_speech.cli import UserError, command
from ia3_speech.datadir import Utterance
from ia3_speech.datadir.tables import decode

PUBLISHED = Path(__file__).with_name("published.txt")
LONGEST = 15.0  # seconds

Sets = dict[str, list[Utterance]]


def main(
    corpus: Path,
    out: Path,
    reader: str | None = None,
    longest: float = LONGEST,
    size: Size = "full",
    allow_pipes: bool = False,
) -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: LibriSpeech, one of its subsets, or one reader's folder
        out: where the data directories go
        reader: whom to take, where there are several
        longest: seconds of an utterance of train and dev; longer ones are left out
        size: small keeps 48, 12 and 24 utterances
        allow_pipes: not used, the corpus holds files
    """
    found = sorted(corpus.rglob("*.trans.txt"), key=numbers)
    lists = {path.name.removesuffix(".trans.txt"): path for path in found}
    readers = list(dict.fromkeys(name.partition("-")[0] for name in lists))
    if not readers:
        layout = PUBLISHED.read_text(encoding="utf-8").partition("\n\n")[2]
        raise UserError(f"{corpus}: no .trans.txt at any depth\n\n{layout}")
    if reader is None and len(readers) > 1:
        raise UserError(
            f"{corpus}: holds {len(readers)} readers (choose one, --reader N): {' '.join(readers)}"
        )
    reader = reader or readers[0]
    if reader not in readers:
        raise UserError(f"{corpus}: has no reader {reader} (there are {' '.join(readers)})")
    gender = gender_of(reader, corpus)
    own = [path for name, path in lists.items() if name.partition("-")[0] == reader]
    chapters = [list(read_chapter(path, gender)) for path in own]
    for name, utterances in divide(chapters).items():
        kept = [one for one in utterances if name == "test" or duration(one.source) <= longest]
        if len(kept) < len(utterances):
            print(f"{name}: {len(utterances) - len(kept)} of {len(utterances)} are longer than {longest:g} s")
        put(out / name, kept, size)


def numbers(path: Path) -> list[str]:
    """Reader and chapter, to sort by: 2 stands before 10."""
    return [part.zfill(12) for part in path.name.removesuffix(".trans.txt").split("-")]


def read_chapter(path: Path, gender: dict[str, str]) -> Iterator[Utterance]:
    """The utterances of one .trans.txt, in order.

    Raises:
        UserError: a line's utterance has no sound file, or is of another chapter.
    """
    chapter = path.name.removesuffix(".trans.txt")
    for id, text in sorted(table(path).items()):
        place = sound(path.parent / f"{id}.flac")
        if id.rpartition("-")[0] != chapter or place is None:
            raise UserError(f"{path}: {id}: no such file beside it, {id}.flac (unpack the corpus again)")
        labels = gender | {"chapter": chapter.partition("-")[2]}
        yield Utterance(id, chapter.partition("-")[0], id, str(place.resolve()), text=text, labels=labels)


def divide(chapters: list[list[Utterance]]) -> Sets:
    """train, dev and test: by chapters, else by the order of utterances.

    Raises:
        UserError: there are fewer than three utterances.
    """
    utterances = [one for chapter in chapters for one in chapter]
    if len(utterances) < 3:
        raise UserError(
            f"reader {utterances[0].speaker}: {len(utterances)} utterances are too few for three sets"
        )
    if len(chapters) > 1:
        tested = max(1, len(chapters) // 3)
        others, test = chapters[:-tested], [one for chapter in chapters[-tested:] for one in chapter]
        if len(others) > 1:
            train = [one for chapter in others[:-1] for one in chapter]
            return {"train": train, "dev": others[-1], "test": test}
        rest = others[0]
    else:
        rest, test = utterances[: -ceil(len(utterances) / 3)], utterances[-ceil(len(utterances) / 3) :]
    held = ceil(DEV_SHARE * len(rest))
    return {"train": rest[:-held], "dev": rest[-held:], "test": test}


def gender_of(reader: str, corpus: Path) -> dict[str, str]:
    """The label gender, from SPEAKERS.TXT in the corpus or above it (`237   | F | test-clean | …`)."""
    for folder in [corpus, *corpus.resolve().parents[:3]]:
        if (folder / "SPEAKERS.TXT").is_file():
            for line in decode(folder / "SPEAKERS.TXT").splitlines():
                fields = [field.strip().lower() for field in line.split("|")]
                if fields[0] == reader and fields[1:2] in (["f"], ["m"]):
                    return {"gender": fields[1]}
            return {}
    return {}


if __name__ == "__main__":
    command(main)
