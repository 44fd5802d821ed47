#!/usr/bin/env python3
"""A reader of LibriSpeech: English audio books, read aloud by volunteers of LibriVox.

    local/prepare.py CORPUS DATA_DIR [--reader 237] [--size full|small]

Corpus card

    What      audio books of LibriVox, read aloud by volunteers, cut into sentences; 16 kHz
    Speakers  about 2,500 readers; 40 in test-clean, about 8 minutes each
    Sets      of one reader: the last third of the chapters (at least one) is test, the last of the others
              dev; of two chapters the second is test, and the end of the first dev; a single chapter is cut
              by the order of its utterances: the last third is test, the last 15 % of the others dev
    Labels    utt2chapter, and spk2gender where SPEAKERS.TXT is found
    Licence   CC BY 4.0, OpenSLR 12
    Citation  Panayotov et al. 2015, "LibriSpeech: an ASR corpus based on public domain audio books", ICASSP

In: the published layout (`LAYOUT`), of the whole corpus, a subset or a single reader. Out:
DATA_DIR/{train,dev,test}. Kaldi's preparation makes each chapter a speaker; here a reader is a speaker. The
mini base accepts 15.36 s of audio at once: longer utterances are cut at pauses for decoding, and cannot be
used for training, so train and dev do not have them (--longest).
"""

import re
from itertools import chain
from math import ceil
from pathlib import Path

from out_of_domain import find_transcripts, read_chapter

from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import audio_duration
from ia3_speech.data.corpora.preparation import Size, write_set
from ia3_speech.data.kaldi.directory import DEV_SHARE
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.data.utterance import Utterance

LAYOUT = """\
LibriSpeech is published as OpenSLR 12, https://www.openslr.org/12/ (CC BY 4.0). Unpack any of its tar files
and give the folder; it holds, as it was published, at any depth,

  237/134500/237-134500.trans.txt        READER/CHAPTER; lines `237-134500-0000 FRANK READ ENGLISH SLOWLY …`
  237/134500/237-134500-0000.flac …      or .wav, .ogg, .mp3 of the same names
  SPEAKERS.TXT                           optional, at the top; adds the reader's gender
"""
MAX_SECONDS = 15.0


def prepare(
    corpus: Path, out: Path, reader: str | None = None, longest: float = MAX_SECONDS, size: Size = "full"
) -> None:
    """Write OUT/{train,dev,test}.

    Args:
        corpus: LibriSpeech, one of its subsets, or one reader's folder
        out: where the data directories go
        reader: the reader's number, where there are several
        longest: seconds of an utterance of train and dev; longer ones are left out
        size: small keeps 48, 12 and 24 utterances
    """
    transcripts = find_transcripts(corpus)
    readers = list(dict.fromkeys(map(reader_of, transcripts)))
    if not readers:
        raise UserError(f"{corpus}: no .trans.txt at any depth\n\n{LAYOUT}")
    reader = readers[0] if reader is None and len(readers) == 1 else reader
    if reader not in readers:
        several = f"holds {len(readers)} readers (choose one with `reader`)"
        raise UserError(f"{corpus}: {several}: {' '.join(readers)}")
    labels: dict[str, str] = {}
    for folder in [corpus, *corpus.resolve().parents[:3]]:
        if (folder / "SPEAKERS.TXT").is_file():  # `237   | F | test-clean | …`
            table = read_utf8(folder / "SPEAKERS.TXT")
            if gender := re.search(rf"^{reader}\s*\|\s*([MF])\b", table, re.MULTILINE):
                labels["gender"] = gender[1].lower()
            break
    chapters = [list(read_chapter(path, labels)) for path in transcripts if reader_of(path) == reader]
    for name, utterances in divide_chapters(chapters).items():
        usable = [u for u in utterances if name == "test" or audio_duration(u.source) <= longest]
        if len(usable) < len(utterances):
            too_long = len(utterances) - len(usable)
            print(f"{name}: {too_long} of {len(utterances)} are longer than {longest:g} s")
        write_set(out / name, usable, size)


def divide_chapters(chapters: list[list[Utterance]]) -> dict[str, list[Utterance]]:
    """train, dev and test of one reader: by chapters, else by the order of utterances."""
    if len(chapters) > 1:
        test_chapters = max(1, len(chapters) // 3)
        *earlier, last = chapters[:-test_chapters]
        test = list(chain.from_iterable(chapters[-test_chapters:]))
        if earlier:
            return {"train": list(chain.from_iterable(earlier)), "dev": last, "test": test}
        rest = last
    else:
        test_size = ceil(len(chapters[0]) / 3)
        rest, test = chapters[0][:-test_size], chapters[0][-test_size:]
    dev_size = ceil(DEV_SHARE * len(rest))
    return {"train": rest[:-dev_size], "dev": rest[-dev_size:], "test": test}


def reader_of(transcript: Path) -> str:
    return transcript.name.partition("-")[0]


if __name__ == "__main__":
    command(prepare)
