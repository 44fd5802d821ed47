"""A corpus of Kaldi directories: train and test, perhaps dev, or one directory to divide."""

import pytest
from corpus_files import kaldi_directories

from ia3_speech.common.errors import UserError
from ia3_speech.data.corpora import kaldi
from ia3_speech.data.kaldi.directory import read_data_directory

pytestmark = pytest.mark.usefixtures("enough_speech")


@pytest.mark.parametrize(("label", "groups"), [("consultation", 3), (None, 2)])
def test_dev_is_split_from_train_by_consultation_or_speaker(tmp_path, label, groups):
    source = kaldi_directories(tmp_path / "corpus", label=label)
    kaldi.prepare(source, tmp_path / "out")
    train, dev, test = (read_data_directory(tmp_path / "out" / name) for name in ("train", "dev", "test"))
    assert len(train) + len(dev) == 40
    assert len(test) == 40

    def group(utterance):
        return utterance.labels["consultation"] if label else utterance.speaker

    in_dev = {group(utterance) for utterance in dev}
    assert len(in_dev) == groups
    assert not in_dev & {group(utterance) for utterance in train}
    kaldi.prepare(source, tmp_path / "again")
    assert [u.id for u in read_data_directory(tmp_path / "again/dev")] == [u.id for u in dev]


def test_a_dev_set_of_the_corpus_is_taken_and_small_takes_a_part(tmp_path):
    source = kaldi_directories(tmp_path / "corpus", each=8, sets=("train", "dev", "test"))
    kaldi.prepare(source, tmp_path / "out", "small")
    sizes = [len(read_data_directory(tmp_path / "out" / name)) for name in ("train", "dev", "test")]
    assert sizes == [48, 12, 24]
    assert len(read_data_directory(tmp_path / "out/train").speakers) == 10
    with pytest.raises(UserError, match=r"train: no Kaldi directory \(a corpus is a folder with train/ and"):
        kaldi.prepare(tmp_path, tmp_path / "out")


def test_one_directory_is_divided_by_speaker(tmp_path, capsys):
    """As a CSV file without a column split: a fifth of the speakers is test, 15 % of the others dev."""
    source = kaldi_directories(tmp_path / "corpus", sets=("all",), label="room") / "all"
    kaldi.prepare(source, tmp_path / "out")
    sets = {name: read_data_directory(tmp_path / "out" / name) for name in ("train", "dev", "test")}
    assert {name: (len(data), len(data.speakers)) for name, data in sets.items()} == {
        "train": (28, 7), "dev": (4, 1), "test": (8, 2),
    }  # fmt: skip
    assert len({speaker for data in sets.values() for speaker in data.speakers}) == 10
    assert all("room" in item.labels and item.duration == 0.5 for data in sets.values() for item in data)
    first, second = "test: 2 of 10 speakers, 20%", "dev: 1 of 8 speakers, 10%"
    assert f"{first} of all recordings\n{second} of all recordings\n" in capsys.readouterr().out
