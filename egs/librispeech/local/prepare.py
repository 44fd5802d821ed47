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

In: the published layout, as recipes/utils/librispeech.py reads it; CORPUS_DIR may be a single reader's. Out:
OUT_DIR/{train,dev,test}. The mini base loses count after 15.36 s: longer utterances are cut at pauses where
they are decoded, and can't be learnt from, so train and dev go without them (--longest).
"""

from math import ceil
from pathlib import Path

from kaldi_corpus import DEV_SHARE
from librispeech import chapters, gender_of, read_chapter, reader_of
from sets import Size, put

from ia3_speech.cli import UserError, command
from ia3_speech.data.audio import audio_duration
from ia3_speech.data.utterance import Utterance

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
    lists = chapters(corpus)
    readers = list(dict.fromkeys(map(reader_of, lists)))
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
    own = [list(read_chapter(path, gender)) for path in lists if reader_of(path) == reader]
    for name, utterances in divide(own).items():
        kept = [one for one in utterances if name == "test" or audio_duration(one.source) <= longest]
        if len(kept) < len(utterances):
            print(f"{name}: {len(utterances) - len(kept)} of {len(utterances)} are longer than {longest:g} s")
        put(out / name, kept, size)


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


if __name__ == "__main__":
    command(main)
