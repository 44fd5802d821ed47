"""egs/keywords: readers and places differ between train and test; every method is trained and tabled."""

import csv

import numpy as np
import pytest
import soundfile

from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import read_data_directory

RECIPE = "keywords"
MODULES = ("prepare", "study")


def write(path, seconds: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(seed).normal(0, 0.1 * (seed > 0), round(16_000 * seconds))
    soundfile.write(path, wave, 16_000)


@pytest.fixture
def corpus(tmp_path):
    """Two keywords, three readers of other speech, and two places; with rows that can't be used."""
    rows = [("a.wav", "jarvis", "train"), ("silent.wav", "jarvis", "train")]
    for split in ("train", "dev", "test"):
        for keyword in ("alexa", "jarvis"):
            rows += [(f"{split}-{keyword}-{number}.wav", keyword, split) for number in range(2)]
    for number, (file, _, _) in enumerate(rows):
        write(tmp_path / "corpus" / file, 0.5, 0 if file == "silent.wav" else number + 1)
    rows += [("missing.wav", "alexa", "train"), ("a.wav", "snowboy", "test")]
    with (tmp_path / "corpus/keywords.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "keyword", "split"), *rows])
    for number, name in enumerate(("train/19-1", "train/19-2", "train/26-1", "test/237-1", "test/237-2")):
        write(tmp_path / f"speech/{name}.wav", 4, 100 + number)
    write(tmp_path / "noises/rain.wav", 1, 200), write(tmp_path / "noises/city.wav", 1, 201)
    return tmp_path


def test_from_clips_to_the_table(local, corpus, random_base, capsys, monkeypatch):
    monkeypatch.setattr(
        local.study.Study, "command", lambda *_: None
    )  # what is registered is tested elsewhere
    options = {"speech_train": str(corpus / "speech/train"), "speech_test": str(corpus / "speech/test")}
    options |= {"corpus": corpus / "corpus", "noises": corpus / "noises", "work_dir": corpus}
    options |= {"base": str(random_base), "seeds": 1, "epochs": 1}
    same = options | {"speech_test": options["speech_train"], "work_dir": corpus / "same"}
    with pytest.raises(UserError, match="the readers 19, 26 are in train and in test"):
        local.study.main(local.study.Options(**same))
    local.study.main(local.study.Options(**options))
    printed = capsys.readouterr().out
    for fault in ("silent.wav: silent", "keywords.csv:16: no such file", "keywords.csv:17: unknown keyword"):
        assert fault in printed
    names = ("train", "dev", "test", "background")
    sets = {name: list(read_data_directory(corpus / "data/keywords" / name, text=False)) for name in names}
    assert len(sets["test"]) == 7 * (2 + 2 + 2) and len(sets["background"]) == 2 * 2
    noisy = {name: {u.labels["place"] for u in utterances} - {"none"} for name, utterances in sets.items()}
    assert noisy["train"] == noisy["dev"] and noisy["test"] == noisy["background"]
    assert not noisy["train"] & noisy["test"]
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0] for line in lines][2:6] == [
        "| head", "| ia3_plus + head", "| lora + head", "| full",
    ]  # fmt: skip
    conditions = "clean | 20 dB | 10 dB | 5 dB | 0 dB | -5 dB | -10 dB | missed, 0 false alarms in 0.00 h |"
    assert conditions in lines[0]


def test_f1_and_misses(local, tmp_path):
    """Of two classes one is never found; a keyword counts where it exceeds all of the background."""
    true, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0])
    assert local.study.macro_f1(true, predicted, 2) == pytest.approx((2 * 2 / 6 + 0) / 2)
    (tmp_path / "train.json").write_text('{"classes": ["alexa", "other"]}')
    keyword = np.array([0.9, 0.5, 0.7, 0.1])
    both = np.stack([keyword, 1 - keyword], 1)
    snrs = np.array(["10", "10", "clean", "10"])
    np.savez(tmp_path / "test.npz", snrs=snrs, true=np.array([0, 0, 0, 1]), probabilities=both)
    np.savez(tmp_path / "background.npz", snrs=snrs, true=true, probabilities=0.6 * both)
    assert local.study.miss_rate(tmp_path, hours=0.5) == 0.5
