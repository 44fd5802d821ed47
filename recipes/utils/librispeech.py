"""LibriSpeech's published layout, read: READER/CHAPTER/READER-CHAPTER.trans.txt with its sound files.

In: LibriSpeech, a part of it, or one reader's folder; at any depth. Out: `Utterance`s. (Kaldi's preparation
takes a chapter for a speaker; here a reader is.)
"""

from collections.abc import Iterator
from pathlib import Path

from sets import sound, table

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.data.utterance import Utterance


def chapters(corpus: Path) -> list[Path]:
    """Every chapter's .trans.txt, in the order of the numbers of reader and chapter."""
    return list({path.name: path for path in sorted(corpus.rglob("*.trans.txt"), key=numbers)}.values())


def reader_of(chapter: Path) -> str:
    return chapter.name.partition("-")[0]


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


def gender_of(reader: str, corpus: Path) -> dict[str, str]:
    """The label gender, from SPEAKERS.TXT in the corpus or above it (`237   | F | test-clean | …`)."""
    for folder in [corpus, *corpus.resolve().parents[:3]]:
        if (folder / "SPEAKERS.TXT").is_file():
            for line in read_utf8(folder / "SPEAKERS.TXT").splitlines():
                fields = [field.strip().lower() for field in line.split("|")]
                if fields[0] == reader and fields[1:2] in (["f"], ["m"]):
                    return {"gender": fields[1]}
            return {}
    return {}
