"""corrections learn: a voice moves to a new base, or starts from an adapter; voices show and export."""

import json
from pathlib import Path

import pytest
from corpus_files import full_disk, names
from tiny_models import random_adapter

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_record, write_record
from ia3_speech.commands import voices
from ia3_speech.common.errors import UserError
from ia3_speech.voices import voice
from tests.voices.test_corrections import WORDY, learn_with, place  # noqa: F401


@pytest.fixture
def new_base(place, save_base, run_command, monkeypatch) -> Path:  # noqa: F811
    """Another base that writes too many words, and a voice, anna, with seven recordings."""
    save_base(place / "new_base", seed=3, **WORDY)
    for number in range(4):
        run_command("corrections", "add", "anna", place / f"audio/new/{number}.wav", "no")
    for number in range(3, 6):
        run_command("corrections", "add", "anna", place / f"data/audio/train/{number}.wav", "no fever")
    learn_with(monkeypatch, learning_rate=0.3, epochs=3)
    return place / "new_base"


def with_errors_of_folds(errors: int) -> None:
    """The record of anna says how many errors its folds made on all of today's recordings."""
    folder = registry.adapters_dir() / "anna"
    training = {"folds": 4, "errors": errors, "words": 100, "data": None}
    corrections = voice.read_store("anna")
    training["trained_on"] = [utterance.id for utterance in corrections]
    training["corrections"] = {utterance.id: voice.checksum(utterance) for utterance in corrections}
    write_record(folder, read_record(folder) | {"training": training})
    registration = folder / registry.REGISTRATION
    registration.write_text(json.dumps({**json.loads(registration.read_text()), "data": ""}))


def test_a_voice_moves_only_to_a_base_where_it_is_better(new_base, run_command):
    with_errors_of_folds(0)
    old = registry.file_contents(registry.adapters_dir() / "anna")
    command = ("corrections", "learn", "anna", "--base", new_base)
    done = run_command(*command)
    assert done.code == 0 and "anna stays as it is" in done.out, done.err
    assert "on the old base 0 of 100 words" in done.out
    assert registry.file_contents(registry.adapters_dir() / "anna") == old

    with_errors_of_folds(10_000)
    done = run_command(*command)
    assert "the old one is anna@1" in done.out and done.code == 0, done.out + done.err
    assert read_record(registry.adapters_dir() / "anna")["base"] == str(new_base)
    assert "nothing new" in run_command(*command).err


def test_a_voice_learns_from_a_start_that_the_folds_accept(new_base, run_command, monkeypatch):
    """A start that the folds like is recorded by its name; its speaker stays in the record."""
    folder, base = new_base.with_name("start"), new_base.with_name("base")
    random_adapter(base, folder, 7, low=0.9, high=1.1, labels={"speaker": "bert"})
    registry.register(folder, "start")
    monkeypatch.setattr(
        "ia3_speech.training.cross_validation.best_start", lambda measures, _: [*measures][-1]
    )
    monkeypatch.setattr(voice, "MAX_OUT_OF_DOMAIN_ERRORS", 100.0)
    done = run_command("corrections", "learn", "anna", "--init-adapter", "start")
    assert done.code == 0 and ", from start" in done.out, done.out + done.err
    assert "the old one is anna@1" in done.out, done.out
    record = read_record(registry.adapters_dir() / "anna")
    assert record["labels"] == {"speaker": "bert+042"} and record["training"]["init_adapter"] == "start"
    assert run_command("corrections", "learn", "anna", "--init-adapter", "nobody").code == 1


def test_what_is_stored_is_shown_and_exported(new_base, run_command, tmp_path):
    shown = run_command("voices", "show", "anna").out
    assert "7 recordings" in shown and f"base {new_base.parent / 'base'}" in shown
    with full_disk(2_000):
        done = run_command("voices", "export", "anna", "--out", tmp_path / "out")
    assert done.code == 1 and done.err == f"error: {tmp_path / 'out'}: File too large\n"
    assert "out" not in names(tmp_path)
    done = run_command("voices", "export", "anna", "--out", tmp_path / "out")
    assert done.out == f"{tmp_path / 'out'}: adapters, recordings\n"
    assert len([*(tmp_path / "out/recordings/audio").iterdir()]) == 7
    assert (tmp_path / "out/adapters/anna/adapter_model.safetensors").is_file()
    assert "exists" in run_command("voices", "export", "anna", "--out", tmp_path / "out").err
    assert "there is no voice" in run_command("voices", "show", "nobody").err
    with pytest.raises(UserError, match="there is no voice"):
        voices.folders_of("nobody")
