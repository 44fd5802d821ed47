"""What a test set has in common with train and dev."""

import pytest
from corpus_files import kaldi_directories

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.datadir import overlap


def test_an_utterance_on_both_sides_is_refused(tmp_path):
    source = kaldi_directories(tmp_path / "corpus", sets=("train", "dev"))
    first = read_data_directory(source / "train").utterances[0]
    write_data_directory(source / "test", [Utterance("x-1", "x", "x-1", first.source, text="text")])
    with pytest.raises(
        UserError, match=r"utterance x-1 is also in .*train: a test set must not hold anything"
    ):
        overlap(source / "train", source / "dev", source / "test")


def test_speakers_and_sentences_are_counted(tmp_path, capsys):
    """The tiny sets differ in speakers and audio, and say the same texts."""
    source = kaldi_directories(tmp_path / "corpus", speakers=2, each=2, sets=("train", "dev", "test"))
    overlap(source / "train", source / "dev", source / "test")
    assert capsys.readouterr().out == (
        "test and train share 0 of 2 speakers and 4 of 4 sentences\n"
        "test and dev share 0 of 2 speakers and 4 of 4 sentences\n"
    )
