"""recipes/utils/subset.py: the first utterances, or some minutes of all speakers."""

from pathlib import Path

import pytest
from corpus_files import kaldi_directories

from ia3_speech.data.kaldi.directory import read_data_directory


@pytest.mark.parametrize(("part", "expected"), [({"first": 2}, [0, 1]), ({"minutes": 0.001}, [1])])
def test_subset(part, expected, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "recipes/utils"))
    from subset import subset

    source = kaldi_directories(tmp_path / "corpus", speakers=2, each=2, sets=("train",)) / "train"
    subset(source, tmp_path / "part", **part)
    whole, written = read_data_directory(source), read_data_directory(tmp_path / "part")
    assert written.utterances == [whole.utterances[number] for number in expected]
    assert capsys.readouterr().out == f"{written}\n"
