"""self-train: what is learnt of recordings, what is left of a run, and that no text is read or replaced."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_files import contents
from safetensors.torch import load_file
from tiny_models import random_adapter, tiny_whisper

from ia3_speech import load_adapter, load_base
from ia3_speech.adapters.record import GATE, OWN_WEIGHTS, read_record
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.decoding.decode_directory import Decoding
from ia3_speech.decoding.transcript import Word
from ia3_speech.training import self_training
from tests.commands.test_train import NO_DROPOUT, bad_start, record  # noqa: F401  (bad_start: a fixture)

HEARD = [
    ("the", 0.1, 0.3, 0.93), ("patient", 0.3, 0.8, 0.95), ("denies", 1.2, 1.6, 0.4), ("chest", 1.8, 2.2, 0.9),
    ("pain", 2.2, 2.5, 0.9), ("no", 2.6, 2.7, 0.1), ("fever", 2.8, 3.2, 0.99),
]  # fmt: skip
WORDS = [Word(*word) for word in HEARD]


def test_confident_words_become_whole_labels_or_parts(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(64_000), 16_000)
    utterances = [Utterance(id, "s", id, str(tmp_path / "a.wav")) for id in ("s-1", "s-2", "s-3")]
    decoding = Decoding({"s-1": "chest pain", "s-2": "…", "s-3": ""}, words={"s-1": WORDS[3:5], "s-2": WORDS})
    labels = self_training.confident_labels(utterances, decoding, 0.8, 15.0)
    assert [(label.id, round(label.start, 2), round(label.end, 2), label.text) for label in labels] == [
        ("s-1", 0.0, 4.0, "chest pain"),
        ("s-2-001", 0.0, 1.0, "the patient"),
        ("s-2-002", 1.7, 2.55, "chest pain"),
    ]
    everything = self_training.confident_labels(utterances[1:], decoding, 0.0, 15.0)
    assert {label.end - label.start for label in everything} == {4.0}
    texts = [text for *_, text in self_training.confident_parts(WORDS, 6.0, 0.0, 2.4)]
    assert texts == ["the patient", "denies chest pain", "no fever"]  # none is longer than 2.4 s


def test_words_not_confirmed_at_other_speeds_are_no_labels():
    words = self_training.confirmed(WORDS, "the patient the knees has chest pain fever")
    assert [word.text for word in words if not word.confidence] == ["denies", "no"]
    assert [word for word in words if word.confidence] == [w for w in WORDS if w.text not in ("denies", "no")]
    assert not any(word.confidence for word in self_training.confirmed(WORDS, ""))
    assert self_training.confirmed((), "fever") == ()


@pytest.fixture
def place(tmp_path, save_base) -> Path:
    """A small base, and recordings with texts that nobody may read or replace."""
    save_base(tmp_path / "base", norm="layer", sharpness=20, **NO_DROPOUT)
    record(tmp_path / "data", 20, text="not to be read")
    return tmp_path


def self_train(run_command, place: Path, *options: object, data: str = "data", out: str = "exp"):
    standard = ["--base", place / "base", "--data", place / data, "--out", place / out, "--epochs", "2"]
    return run_command("self-train", *standard, "--min-confidence", "0", *options)


@pytest.mark.usefixtures("bad_start")
@pytest.mark.parametrize("few", [True, False])
def test_a_run_writes_the_files_of_train(place, run_command, monkeypatch, few):
    monkeypatch.setattr(self_training, "FEW", 1_000 if few else 0)
    before = contents(place / "data")
    result = self_train(run_command, place, "--replay", "none")
    assert result.code == 0, result.err
    assert contents(place / "data") == before
    out = place / "exp"
    assert {"adapter", "config.yaml", "train.json", "inputs.json"} <= {path.name for path in out.iterdir()}
    summary = json.loads((out / "train.json").read_text())
    learnt = read_data_directory(out / "round1/train")
    assert summary["rounds"][0]["learnt_utterances"] == len(learnt)
    assert not any("not to be read" in label.text for label in learnt)
    ids = [utterance.id for utterance in read_data_directory(place / "data")]
    held_out = json.loads((out / "held_out_greedy.json").read_text())["words"]
    assert [*held_out] == (ids[2::3] if few else ids[4::5])
    assert not {label.recording for label in learnt} & held_out.keys()
    load_adapter(load_base(place / "base").model, out / "adapter")
    assert (out / "adapter" / GATE).is_file() == bool(summary["selected_round"])
    assert self_train(run_command, place, "--replay", "none").out == f"{out}: up to date\n"


def test_of_silence_noise_and_music_nothing_is_learnt(tmp_path, run_command, base_folder, shared_data):
    time = np.arange(2 * 16_000) / 16_000
    tones = sum(np.sin(2 * np.pi * pitch * time) * np.exp(-3 * (time % 0.5)) for pitch in (262, 330, 392))
    sounds = {"silence": 1e-5 * np.random.default_rng(0).standard_normal(len(time)), "music": 0.1 * tones}
    for name in ("rain", "birds"):
        [file] = (shared_data / "noises").glob(f"*{name}*")
        sounds[name] = soundfile.read(file, frames=len(time))[0]
    (tmp_path / "data").mkdir()
    for name, wave in sounds.items():
        soundfile.write(tmp_path / "data" / f"{name}.wav", wave, 16_000)
    options = ("--base", base_folder, "--data", tmp_path / "data", "--out", tmp_path / "exp")
    result = run_command("self-train", *options)
    assert result.code == 0 and "adapter: the start, after 4 recordings" in result.out, result.err
    assert all((t == 1).all() for t in load_file(tmp_path / "exp/adapter" / OWN_WEIGHTS).values())


@pytest.mark.usefixtures("bad_start", "few_samples")
@pytest.mark.parametrize("teacher", ["base", "whisper"])
def test_another_base_learns_the_texts_of_a_teacher(place, save_base, run_command, teacher):
    save_base(place / "new", norm="layer", seed=3, sharpness=20, **NO_DROPOUT)
    for part in tiny_whisper():
        part.save_pretrained(place / "whisper")
    random_adapter(place / teacher, place / "clinic", 42, labels={"speaker": "anna"})
    student = "whisper" if teacher == "base" else "new"
    options = ("--teacher-adapter", place / "clinic", "--base", place / student, "--replay", "none")
    result = self_train(run_command, place, *options)
    assert result.code == 0, result.err
    summary = json.loads((place / "exp/train.json").read_text())
    assert summary["teacher"] == {"base": str(place / teacher), "adapter": str(place / "clinic")}
    assert read_record(place / "exp/adapter")["labels"] == {"speaker": "anna"}
    load_adapter(load_base(place / student).model, place / "exp/adapter")
    assert not (place / "exp/held_out_beam.json").exists(), "the teacher's text is the reference"
    (place / teacher).rename(place / "moved")
    moved = (*options, "--teacher-base", place / "moved")
    assert self_train(run_command, place, *moved, out="again").code == 0
    assert self_train(run_command, place, *options, out="gone").code == 1


def test_pseudo_labels_never_lie_beside_or_over_the_recordings(place, run_command):
    shutil.copytree(place / "data", place / "exp/round1/train")
    before = contents(place / "exp/round1/train")
    for data, out in (("data", "data/exp"), ("exp/round1/train", "exp"), ("data", "data")):
        result = self_train(run_command, place, "--force", data=data, out=out)
        assert result.code == 1 and "must be outside of --data" in result.err
    assert contents(place / "exp/round1/train") == before
