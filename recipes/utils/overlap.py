#!/usr/bin/env python3
"""How many speakers and sentences the test set shares with train and dev, a line for each.

    overlap.py data/train data/dev data/test

A speaker corpus has to share speakers and an accent corpus must not, so shared ones are only counted. An
utterance (an id or audio) that is in the test set and in train or dev is an error.
"""

from pathlib import Path

from ia3_speech.common.cli import command
from ia3_speech.common.errors import DataError, UserError
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.kaldi.overlap import common_utterances, find_overlap


def overlap(*data: Path) -> None:
    """Print the overlap.

    Args:
        data: train, dev (optional, selects the epoch) and test, in this order.
    """
    if len(data) < 2:
        raise UserError("overlap needs two data directories: for training and for testing")
    *used, test = [read_data_directory(path, wav=False, spk_sort=False) for path in data]
    for directory in used:
        if common := common_utterances(directory, test):
            fault = f"utterance {common[0]} is also in {directory.path}"
            raise DataError(f"{test.path}: {fault}: a test set must not hold data that training uses")
        shared = find_overlap([directory], test)
        speakers = f"{shared.common_speakers} of {shared.speakers} speakers"
        sentences = f"{shared.common_sentences} of {shared.sentences} sentences"
        print(f"{test.path.name} and {directory.path.name} share {speakers} and {sentences}")


if __name__ == "__main__":
    command(overlap)
