#!/usr/bin/env python3
"""What a test set has in common with the sets that training sees: speakers, sentences, utterances.

    overlap.py data/train data/dev data/test

Prints one line for each earlier set. The same utterance (id or audio file) on both sides is an error;
speakers and sentences are counted, and the reader judges: a speaker corpus has the speaker on both sides,
an accent corpus not.
"""

from pathlib import Path

from ia3_speech.cli import UserError, command
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.text import normalize


def main(train: Path, dev: Path, test: Path) -> None:
    """Compare a test set with train and dev.

    Args:
        train: data directory that the adapter learns from
        dev: data directory that it is chosen by
        test: data directory that it is tested on
    """
    *seen, test = [read_data_directory(path, wav=False, spk_sort=False) for path in (train, dev, test)]
    speakers = set(test.speakers)
    sentences = {normalize(utterance.text or "") for utterance in test}
    for data in seen:
        refuse_same(data, test)
        both_speakers = speakers & set(data.speakers)
        both = sentences & {normalize(utterance.text or "") for utterance in data}
        print(
            f"{test.path.name} and {data.path.name} share {len(both_speakers)} of {len(speakers)} speakers "
            f"and {len(both)} of {len(sentences)} sentences"
        )


def place_of(utterance) -> tuple:
    return (utterance.source, utterance.start, utterance.end)


def refuse_same(data: DataDirectory, test: DataDirectory) -> None:
    known = {utterance.id for utterance in data} | {
        place_of(utterance) for utterance in data if utterance.source
    }
    for utterance in test:
        if utterance.id in known or (utterance.source and place_of(utterance) in known):
            raise UserError(
                f"{test.path}: utterance {utterance.id} is also in {data.path}: a test set must hold nothing "
                f"that training sees (take it out of one of them)"
            )


if __name__ == "__main__":
    command(main)
