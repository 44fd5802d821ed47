"""recipes/utils/overlap.py: what a test set has in common with train and dev."""

import pytest
from corpus_files import kaldi_directories

from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance


def test_shared_speakers_are_counted_and_shared_utterances_refused(tmp_path, capsys):
    """The tiny sets differ in speakers and audio, and say the same texts."""
    from overlap import overlap

    source = kaldi_directories(tmp_path / "corpus", speakers=2, each=2, sets=("train", "dev", "test"))
    overlap(source / "train", source / "dev", source / "test")
    assert capsys.readouterr().out == (
        "test and train share 0 of 2 speakers and 4 of 4 sentences\n"
        "test and dev share 0 of 2 speakers and 4 of 4 sentences\n"
    )
    first = read_data_directory(source / "train").utterances[0]
    write_data_directory(source / "test", [Utterance("x-1", "x", "x-1", first.source, text="text")])
    message = r"utterance x-1 is also in .*train: a test set must not hold"
    with pytest.raises(UserError, match=message):
        overlap(source / "train", source / "dev", source / "test")
