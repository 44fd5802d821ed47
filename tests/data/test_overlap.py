"""What a test set has in common with train and dev."""

from pathlib import Path

import pytest
from corpus_files import kaldi_directories

from ia3_speech.commands.datadir import overlap
from ia3_speech.data.kaldi import DataDirectory, read_data_directory, write_data_directory
from ia3_speech.data.kaldi.overlap import find_overlap, find_overlap_by_speaker, overlap_of_train_and_dev
from ia3_speech.data.utterance import Utterance
from ia3_speech.errors import UserError


def directory(name: str, rows: list[str]) -> DataDirectory:
    """A data directory of rows `SPEAKER-NUMBER text`."""
    pairs = [row.split(" ", 1) for row in rows]
    utterances = [Utterance(id, id.split("-")[0], id, f"{id}.wav", text=text) for id, text in pairs]
    return DataDirectory(Path(name), utterances)


def test_what_sets_share_is_counted_and_an_utterance_on_both_sides_refused(tmp_path, capsys):
    """The tiny sets differ in speakers and audio, and say the same texts."""
    source = kaldi_directories(tmp_path / "corpus", speakers=2, each=2, sets=("train", "dev", "test"))
    overlap(source / "train", source / "dev", source / "test")
    assert capsys.readouterr().out == (
        "test and train share 0 of 2 speakers and 4 of 4 sentences\n"
        "test and dev share 0 of 2 speakers and 4 of 4 sentences\n"
    )
    first = read_data_directory(source / "train").utterances[0]
    write_data_directory(source / "test", [Utterance("x-1", "x", "x-1", first.source, text="text")])
    message = r"utterance x-1 is also in .*train: a test set must not hold anything"
    with pytest.raises(UserError, match=message):
        overlap(source / "train", source / "dev", source / "test")


@pytest.mark.parametrize(
    ("rows", "unseen", "warnings"),
    [
        (["x-3 one", "y-4 two", "z-5 three"], 3, []),
        (
            ["ann-3 a word", "y-4 two", "z-5 two"], 2,
            [
                "1 of 2 sentences of the test set occur in training: the 2 utterances with other sentences "
                "are scored separately too",
                "1 of 3 speakers of the test set speak in training",
            ],
        ),
        (
            ["ann-3 A word.", "bob-4 a word", "ann-5 no fever"], 0,
            [
                "every sentence of the test set occurs in training: the scores hold for these sentences only",
                "every speaker of the test set speaks in training: the scores hold for these speakers only",
            ],
        ),
    ],
)  # fmt: skip
def test_what_a_reader_of_scores_is_told(rows, unseen, warnings):
    train = directory("train", ["ann-1 a word", "bob-2 no fever"])
    found = find_overlap([train], directory("test", rows))
    assert (found.warnings, len(found.unseen), found.utterances) == (warnings, unseen, 3)
    assert found.record()["unseen_utterances"] == unseen and "unseen" not in found.record()


ADAPTED_ON = {"a-1": ["a-2", "a-4"], "a-2": ["a-1", "a-3"], "a-3": ["a-2", "a-4"], "b-1": ["b-2"]}


@pytest.mark.parametrize(
    ("texts", "unseen", "warnings"),
    [
        # a-2 says what a-3 says, too, of whom a-3's adapter heard a-2; b-1 says what another speaker says.
        (
            "one|Two!|two|three|one|four", {"a-1", "a-4", "b-1", "b-2"},
            [
                "1 of 5 sentences of the test set occur in the same speaker's adaptation utterances: the 4 "
                "utterances with other sentences are scored separately too"
            ],
        ),
        # a-4 says what a-2 says, whose adapter was trained on a-1 and a-3; a-4 itself was tested by none.
        ("one|two|three|two|five|six", {"a-1", "a-2", "a-3", "a-4", "b-1", "b-2"}, []),
    ],
)  # fmt: skip
def test_sentences_are_compared_with_what_the_speakers_adapter_was_trained_on(texts, unseen, warnings):
    """Not with what another adapter of the speaker, or another speaker's, was trained on."""
    ids = ("a-1", "a-2", "a-3", "a-4", "b-1", "b-2")
    rows = map(" ".join, zip(ids, texts.split("|"), strict=True))
    found = find_overlap_by_speaker(ADAPTED_ON, directory("data/test", rows))
    assert (found.unseen, found.warnings, found.training) == (unseen, warnings, ["data/test"])


def test_what_train_and_dev_have_in_common_is_said_before_training():
    train = directory("data/train", ["a-1 no fever", "a-2 take two"])
    assert overlap_of_train_and_dev(train, directory("data/dev", ["a-3 no cough", "b-1 "])) == []
    assert overlap_of_train_and_dev(train, directory("data/dev", ["a-2 take two", "b-1 No fever."])) == [
        "1 of 2 utterances of data/dev are also in data/train, such as a-2: what is learned by heart counts "
        "as right there (remove them from one)",
        "2 of 2 sentences of data/dev occur in data/train, such as “no fever”: dev's error rate says less "
        "about other sentences",
    ]
    assert overlap_of_train_and_dev(train, train) == [
        "data/train is both train and dev: its error rate falls whatever is learned, and cannot tell which "
        "epoch is the best (ia3-speech datadir split holds a part of train out for dev)"
    ]
