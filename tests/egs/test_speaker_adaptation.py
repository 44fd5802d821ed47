"""egs/speaker_adaptation: its preparation."""

import corpus_files
import pytest

from ia3_speech.cli import UserError
from ia3_speech.data.corpora import speechocean762
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance

RECIPE = "speaker_adaptation"
MODULES = ("prepare",)


def kaldi(folder, counts):
    """A data directory; speaker → how many utterances."""
    ids = [f"{speaker}-{number:02d}" for speaker, count in counts.items() for number in range(count)]
    source = str(corpus_files.noise(folder / "some.wav"))
    utterances = [Utterance(id, id[:3], id, source, text="some words", labels={"room": "a"}) for id in ids]
    write_data_directory(folder / "data", utterances)
    return folder / "data"


def test_a_data_directory_keeps_its_labels_and_loses_speakers_with_little(local, tmp_path, capsys):
    local.prepare.main(str(kaldi(tmp_path, {"ann": 6, "bob": 4})), tmp_path / "out")
    found = read_data_directory(tmp_path / "out/test")
    assert list(found.speakers) == ["ann"] and len(found) == 6
    assert {one.labels["room"] for one in found} == {"a"}
    assert "left out, with fewer than 5 utterances: bob\n" in capsys.readouterr().out


def test_small_is_three_speakers_with_twelve_utterances(local, tmp_path):
    folder = kaldi(tmp_path, dict.fromkeys(("ann", "bob", "cat", "dan"), 14))
    local.prepare.main(str(folder), tmp_path / "out", size="small")
    assert {name: len(own) for name, own in read_data_directory(tmp_path / "out/test").speakers.items()} == {
        "ann": 12, "bob": 12, "cat": 12,
    }  # fmt: skip


def test_speechocean762_gives_test_speakers_or_the_accent_recipe_s_dev_set(local, tmp_path, monkeypatch):
    monkeypatch.setattr(local.prepare, "FEWEST", 2)
    corpus = corpus_files.speechocean762(tmp_path / "corpus")
    local.prepare.main(str(corpus), tmp_path / "test")
    assert list(read_data_directory(tmp_path / "test/test").speakers) == ["0024", "1030"]
    local.prepare.main(str(corpus), tmp_path / "train", "train")
    speechocean762.prepare(corpus, tmp_path / "theirs")
    mine, theirs = (read_data_directory(tmp_path / name) for name in ("train/test", "theirs/dev"))
    assert [one.id for one in mine] == [one.id for one in theirs]
    assert sorted(speaker[0] for speaker in mine.speakers) == ["0", "1"]  # a child and an adult


def test_other_folders_are_refused(local, tmp_path):
    with pytest.raises(UserError, match=r"neither a Kaldi data directory .* nor speechocean762 as it was"):
        local.prepare.main(str(tmp_path), tmp_path / "out")
    with pytest.raises(UserError, match="--speakers train is for speechocean762"):
        local.prepare.main("espeak", tmp_path / "out", "train")
