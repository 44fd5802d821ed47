#!/usr/bin/env python3
"""Out-of-domain speech: one test set of several corpora, to measure the errors that an adapter adds there.

    python recipes/utils/out_of_domain.py $'DIR:40\nDIR' DATA_DIR/out_of_domain [--size full|small]

In: folders, one a line, each a Kaldi data directory or in LibriSpeech's published layout; `:40` takes every
40th utterance of the sorted ids. Out: one data directory with all of them. The name of the folder becomes the
label `corpus`, and a prefix of ids and speakers, which keeps the corpora apart.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.corpora.preparation import Size, evenly_spaced, find_recording
from ia3_speech.data.kaldi.directory import read_data_directory, summarize, write_data_directory
from ia3_speech.data.kaldi.table_file import read_kaldi_text
from ia3_speech.data.utterance import Utterance, with_duration

SMALL = 12  # utterances of each corpus with --size small


def prepare(corpora: str, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT, a data directory.

    Args:
        corpora: folders, one a line; DIR:N takes every Nth utterance
        out: the data directory to write
        size: small keeps 12 utterances of each corpus
        allow_pipes: wav.scp may hold shell commands; none is run here
    """
    mixed: list[Utterance] = []
    names: set[str] = set()
    for entry in corpora.splitlines():
        match = re.fullmatch("(.+):([1-9][0-9]*)", entry)
        folder, step = (Path(match[1]), int(match[2])) if match else (Path(entry), 1)
        name = folder.resolve().name
        if name in names:
            raise UserError(f"{folder}: another corpus is called {name} too (rename one of the folders)")
        names.add(name)
        utterances = read_corpus(folder, allow_pipes)[::step]
        if size == "small":
            utterances = evenly_spaced(utterances, SMALL)
        mixed += [with_corpus_label(utterance, name) for utterance in utterances]
    mixed.sort(key=lambda utterance: utterance.id)
    write_data_directory(out, mixed)
    print(f"{out}: {summarize(mixed)}")


def read_corpus(folder: Path, allow_pipes: bool) -> list[Utterance]:
    """All utterances of a corpus, in the order of their ids."""
    if (folder / "wav.scp").is_file():
        return list(read_data_directory(folder, spk_sort=False, allow_pipes=allow_pipes))
    chapters = find_transcripts(folder)
    if not chapters:
        raise UserError(
            f"{folder}: no out-of-domain speech (neither a Kaldi data directory with wav.scp, text, utt2spk "
            f"and spk2utt, nor LibriSpeech's READER/CHAPTER/READER-CHAPTER.trans.txt at any depth)"
        )
    utterances = (utterance for chapter in chapters for utterance in read_chapter(chapter, {}))
    return sorted(utterances, key=lambda utterance: utterance.id)


def with_corpus_label(utterance: Utterance, corpus: str) -> Utterance:
    """The utterance with the corpus as a prefix of its ids and as its only label, and with its duration."""
    ids = {name: f"{corpus}-{getattr(utterance, name)}" for name in ("id", "speaker", "recording")}
    return replace(with_duration(utterance), **ids, labels={"corpus": corpus})


# ---- LibriSpeech's published layout, which egs/librispeech reads too


def find_transcripts(corpus: Path) -> list[Path]:
    """The .trans.txt of every chapter, in the order of the numbers of reader and chapter."""
    files = (file for file in corpus.rglob("*-*.trans.txt") if file.name[0] != ".")
    return sorted(files, key=lambda file: [part.zfill(30) for part in file.name.split("-")])  # 2 before 10


def read_chapter(transcript: Path, labels: dict[str, str]) -> Iterator[Utterance]:
    """The utterances of one .trans.txt, in order, with `labels` and the label chapter."""
    reader, chapter = transcript.name.removesuffix(".trans.txt").split("-")
    for id, text in sorted(read_kaldi_text(transcript).items()):
        file = find_recording(transcript.parent / f"{id}.flac")
        if file is None:
            raise UserError(
                f"{transcript}: {id}: no such file beside it, {id}.flac (unpack the corpus again)"
            )
        yield Utterance(id, reader, id, str(file.resolve()), text=text, labels=labels | {"chapter": chapter})


if __name__ == "__main__":
    command(prepare)
