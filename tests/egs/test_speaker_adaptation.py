"""egs/speaker_adaptation: its preparation."""

import pytest
from corpus_files import noise

from ia3_speech.cli import UserError
from ia3_speech.data.corpora import speechocean762
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance

RECIPE = "speaker_adaptation"
MODULES = ("prepare",)


def kaldi(folder, counts, texts=("some words",)):
    """A data directory; speaker → how many utterances, who say the texts in turn."""
    utterances = []
    for speaker, count in counts.items():
        for number in range(count):
            id = f"{speaker}-{number:02d}"
            noise(folder / f"wav/{id}.wav")
            source = str(folder / f"wav/{id}.wav")
            text = texts[number % len(texts)]
            utterances.append(Utterance(id, speaker, id, source, text=text, labels={"room": "a"}))
    write_data_directory(folder / "data", utterances)
    return folder / "data"


def published(folder):
    """speechocean762's layout: four train speakers and two test speakers, half of each adults."""
    people = {"0001": 6, "0005": 10, "1027": 37, "1029": 19, "0024": 11, "1030": 27}
    (folder / "WAVE").mkdir(parents=True)
    for speaker, age in people.items():
        place = folder / ("test" if speaker in ("0024", "1030") else "train")
        place.mkdir(exist_ok=True)
        rows = {"spk2gender": [f"{speaker}\tm"], "spk2age": [f"{speaker}\t{age}"]}
        for number in range(5):
            id = f"0{speaker}{number:04d}"
            file = f"WAVE/SPEAKER{speaker}/{id}.WAV"
            noise(folder / file)
            for name, value in (("wav.scp", file), ("text", "A BEAR"), ("utt2spk", speaker)):
                rows.setdefault(name, []).append(f"{id}\t{value}")
        for name, lines in rows.items():
            with (place / name).open("a") as table:
                table.writelines(f"{line}\n" for line in lines)
    return folder


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


def test_speechocean762_gives_test_speakers_or_held_out_train_speakers(local, tmp_path):
    corpus = published(tmp_path / "corpus")
    local.prepare.main(str(corpus), tmp_path / "test")
    assert list(read_data_directory(tmp_path / "test/test").speakers) == ["0024", "1030"]
    local.prepare.main(str(corpus), tmp_path / "train", "train")
    dev = read_data_directory(tmp_path / "train/test")
    assert sorted(speaker[0] for speaker in dev.speakers) == ["0", "1"]  # a child and an adult, none of test
    assert set(dev.speakers) <= {"0001", "0005", "1027", "1029"}


def test_train_speakers_are_the_accent_recipes_dev_set(local, tmp_path):
    corpus = published(tmp_path / "corpus")
    local.prepare.main(str(corpus), tmp_path / "mine", "train")
    speechocean762.prepare(corpus, tmp_path / "theirs")
    theirs = read_data_directory(tmp_path / "theirs/dev")
    assert [one.id for one in read_data_directory(tmp_path / "mine/test")] == [one.id for one in theirs]


def test_other_folders_are_refused(local, tmp_path):
    with pytest.raises(UserError, match=r"neither a Kaldi data directory .* nor speechocean762 as it was"):
        local.prepare.main(str(tmp_path), tmp_path / "out")
    with pytest.raises(UserError, match="--speakers train is for speechocean762"):
        local.prepare.main("espeak", tmp_path / "out", "train")
