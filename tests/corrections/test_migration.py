"""voices show, export and migrate: a voice moves to a new base only where it is better there."""

import json
from pathlib import Path

import pytest
from test_corrections import WORDY, learn_with, place  # noqa: F401

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_record, write_record
from ia3_speech.commands import voices
from ia3_speech.corrections import voice
from ia3_speech.errors import UserError


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


def test_a_voice_moves_only_to_a_base_where_it_is_better_and_once(new_base, run_command, monkeypatch):
    with_errors_of_folds(0)
    old = registry.file_contents(registry.adapters_dir() / "anna")
    command = ("voices", "migrate", "--base", new_base, "--all")
    done = run_command(*command)
    assert done.code == 0 and "anna: stays as it is; errors on held-out" in done.out, done.err
    assert "on the old base 0 of 100 words" in done.out
    assert registry.file_contents(registry.adapters_dir() / "anna") == old
    learn_voice = voice.learn_voice
    monkeypatch.setattr(voice, "learn_voice", None)  # the second run reads the result of the first
    assert run_command(*command).out == done.out.splitlines(keepends=True)[-1]
    assert run_command(*command, "--part", "2/2").out == "", "the other part has no voice"
    monkeypatch.setattr(voice, "learn_voice", learn_voice)

    with_errors_of_folds(10_000)
    voice.delete_recordings("anna", [voice.read_store("anna")[0].id])  # other recordings: it is tried again
    with_errors_of_folds(10_000)
    killed = learn_voice

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(voice, "learn_voice", kill)
    assert run_command(*command).code == 130
    assert registry.registered_names() == ["anna"], "the old voice is in use"
    monkeypatch.setattr(voice, "learn_voice", killed)
    done = run_command(*command)
    assert "the old adapter is anna@1" in done.out and done.code == 0, done.out + done.err
    assert read_record(registry.adapters_dir() / "anna")["base"] == str(new_base)
    assert run_command(*command).out == f"anna: is of {new_base}\n"


def test_what_is_stored_is_shown_and_exported(new_base, run_command, tmp_path):
    shown = run_command("voices", "show", "anna").out
    assert (
        "7 recordings" in shown
        and f"base {new_base.parent / 'base'}" in shown
        and "does not recognise" in shown
    )
    done = run_command("voices", "export", "anna", "--out", tmp_path / "out")
    assert done.out == f"{tmp_path / 'out'}: adapters, recordings\n"
    assert len([*(tmp_path / "out/recordings/audio").iterdir()]) == 7
    assert (tmp_path / "out/adapters/anna/adapter_model.safetensors").is_file()
    assert "exists" in run_command("voices", "export", "anna", "--out", tmp_path / "out").err
    assert "there is no voice" in run_command("voices", "show", "nobody").err
    with pytest.raises(UserError, match="there is no voice"):
        voices.folders_of("nobody")
