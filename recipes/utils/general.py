#!/usr/bin/env python3
"""General speech, to see what an adapter forgets: one set of several corpora.

    general.py $'DIR:40\nDIR' data/medical/general [--size full|small]

In: folders, each a Kaldi data directory or in LibriSpeech's published layout; `:40` takes each 40th utterance
of the sorted ids. Out: one Kaldi directory with all of them. The label `corpus` is the folder's name; it also
stands before ids and speakers, so that those of two corpora stay apart.
"""

from dataclasses import replace
from pathlib import Path

import librispeech
from kaldi_corpus import evenly
from sets import Size, amount, with_length

from ia3_speech.cli import UserError, command
from ia3_speech.data.kaldi import DataDirectory, read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance

SMALL = 12  # utterances of each corpus


def main(corpora: str, out: Path, size: Size = "full", allow_pipes: bool = False) -> None:
    """Write OUT.

    Args:
        corpora: folders, a line each; DIR:N takes every Nth utterance
        out: the data directory to write
        size: small keeps 12 utterances of each corpus
        allow_pipes: wav.scp may hold shell commands; none is run here
    """
    found: list[Utterance] = []
    names: set[str] = set()
    for entry in corpora.splitlines():
        folder, step = parted(entry)
        name = folder.resolve().name
        if name in names:
            raise UserError(f"{folder}: another corpus is called {name} too (rename one of the folders)")
        names.add(name)
        utterances = take(folder, allow_pipes)[::step]
        if size == "small":
            utterances = evenly(DataDirectory(folder, utterances), SMALL)
        found += [labelled(one, name) for one in utterances]
    found.sort(key=lambda one: one.id)
    write_data_directory(out, found)
    print(f"{out}: {amount(found)}")


def parted(entry: str) -> tuple[Path, int]:
    """`DIR:40` → DIR, 40; a number is no step where a folder has the whole name."""
    folder, _, step = entry.rpartition(":")
    if not folder or not step.isdecimal() or Path(entry).exists():
        return Path(entry), 1
    if int(step) < 1:
        raise UserError(f"{entry}: every 0th utterance are none (the number behind the colon is from 1 on)")
    return Path(folder), int(step)


def take(folder: Path, allow_pipes: bool) -> list[Utterance]:
    """All utterances of a corpus, in the order of their ids.

    Raises:
        UserError: the folder has neither layout.
    """
    if (folder / "wav.scp").is_file():
        return list(read_data_directory(folder, spk_sort=False, allow_pipes=allow_pipes))
    chapters = librispeech.chapters(folder)
    if not chapters:
        raise UserError(
            f"{folder}: no general speech that we know (a Kaldi data directory with wav.scp, text, utt2spk "
            f"and spk2utt, or LibriSpeech's READER/CHAPTER/READER-CHAPTER.trans.txt at any depth)"
        )
    found = [one for chapter in chapters for one in librispeech.read_chapter(chapter, {})]
    return sorted(found, key=lambda one: one.id)


def labelled(utterance: Utterance, corpus: str) -> Utterance:
    """With the corpus's name before its ids, and as its only label; with its length, if known."""
    ids = {name: f"{corpus}-{getattr(utterance, name)}" for name in ("id", "speaker", "recording")}
    return replace(with_length(utterance), **ids, labels={"corpus": corpus})


if __name__ == "__main__":
    command(main)
