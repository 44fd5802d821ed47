"""What a test set has in common with train and dev."""

from pathlib import Path

import pytest

from ia3_speech.data.kaldi.directory import DataDirectory
from ia3_speech.data.kaldi.overlap import find_overlap_by_speaker, overlap_of_train_and_dev
from ia3_speech.data.utterance import Utterance


def directory(name: str, rows: list[str]) -> DataDirectory:
    """A data directory of rows `SPEAKER-NUMBER text`."""
    pairs = [row.split(" ", 1) for row in rows]
    utterances = [Utterance(id, id.split("-")[0], id, f"{id}.wav", text=text) for id, text in pairs]
    return DataDirectory(Path(name), utterances)


ADAPTED_ON = {"a-1": ["a-2", "a-4"], "a-2": ["a-1", "a-3"], "a-3": ["a-2", "a-4"], "b-1": ["b-2"]}


@pytest.mark.parametrize(
    ("texts", "unseen", "warnings"),
    [
        # a-3 has the sentence of a-2, which trained a-3's adapter; b-1 has another speaker's sentence.
        ("one|Two!|two|three|one|four", {"a-1", "a-4", "b-1", "b-2"}, ["1 of 5 sentences of the test set"]),
        # a-4 has the sentence of a-2, whose adapter was trained on a-1 and a-3; a-4 itself is not tested.
        ("one|two|three|two|five|six", {"a-1", "a-2", "a-3", "a-4", "b-1", "b-2"}, []),
    ],
)
def test_sentences_are_compared_with_the_training_data_of_the_speakers_adapter(texts, unseen, warnings):
    ids = ("a-1", "a-2", "a-3", "a-4", "b-1", "b-2")
    rows = map(" ".join, zip(ids, texts.split("|"), strict=True))
    overlap = find_overlap_by_speaker(ADAPTED_ON, directory("data/test", rows))
    assert (overlap.unseen, overlap.training) == (unseen, ["data/test"])
    assert [warning[:32] for warning in overlap.warnings] == warnings


def test_train_and_dev_are_compared_before_training():
    train = directory("data/train", ["a-1 no fever", "a-2 take two"])
    assert overlap_of_train_and_dev(train, directory("data/dev", ["a-3 no cough", "b-1 "])) == []
    utterances, sentences = overlap_of_train_and_dev(
        train, directory("data/dev", ["a-2 take two", "b-1 No fever."])
    )
    assert utterances.startswith("1 of 2 utterances ") and sentences.startswith("2 of 2 sentences ")
    assert len(overlap_of_train_and_dev(train, train)) == 1
