"""A person leaves: sums and copies of their adapter, voices that nobody uses, voice prints of version 0.2."""

import os
import time
from pathlib import Path

import pytest
from tiny_models import random_adapter

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_record, write_record
from ia3_speech.session import load
from ia3_speech.voices import store

YEARS_AGO = time.time() - 900 * registry.DAY


@pytest.fixture
def people(tmp_path, random_base, run_command) -> Path:
    """Adapters medical, dora and emil (speakers), and what is made of them; the folder of their base."""
    labels = {"medical": {"domain": "medical"}, "dora": {"speaker": "d-7"}, "emil": {"speaker": "e-1"}}
    for seed, (name, label) in enumerate(labels.items()):
        random_adapter(random_base, tmp_path / name, seed, labels=label)
        registry.register(tmp_path / name, name)
    for name, words in {
        "mixed": ["medical:0.5+dora:0.5"], "softer": ["dora:0.5"], "of_mixed": ["mixed:0.5", "medical:0.1"],
        "mean": ["--average", "dora", "emil"], "others": ["medical", "emil:0.5"],
    }.items():  # fmt: skip
        assert run_command("adapters", "combine", *words, "--name", name).code == 0
    registry.register(tmp_path / "dora", "copy")
    random_adapter(random_base, tmp_path / "d7", 9, labels={"speaker": "d-7"})
    registry.register(tmp_path / "d7", "same_label")
    return random_base


def test_a_removed_person_lives_on_in_no_sum_unmentioned(people, run_command):
    done = run_command("voices", "remove", "dora")
    assert done.code == 0 and "adapters: dora, copy, softer;" in done.out, done.out + done.err
    for name in ("mean", "mixed", "of_mixed", "same_label"):
        assert f"ia3-speech adapters remove {name}" in done.out
    assert registry.registered_names() == [
        "emil",
        "mean",
        "medical",
        "mixed",
        "of_mixed",
        "others",
        "same_label",
    ]
    assert "others" not in done.out


def test_a_voice_that_started_from_anothers_adapter_is_named_and_stays(people, run_command):
    folder = registry.adapters_dir() / "emil"
    labels, training = {"speaker": "d-7+e-1"}, {"init_adapter": "dora"}
    write_record(folder, read_record(folder) | {"labels": labels, "training": training})
    assert "adapters remove emil" in run_command("voices", "remove", "dora").out
    assert "adapters: emil;" in run_command("voices", "remove", "emil").out


def make_old(*names: str) -> None:
    for name in names:
        for folder in (registry.adapters_dir() / name, store.store_of(name), store.voice_folder(name)):
            for file in (folder, *folder.rglob("*")):
                if file.exists():
                    os.utime(file, (YEARS_AGO, YEARS_AGO))


def test_unused_voices_are_removed_wherever_they_were_begun(people, run_command):
    for name in ("dora", "emil"):  # as `corrections add` stores them, without a record of the page
        (store.store_of(name) / "audio").mkdir(parents=True)
    store.voice_folder("fred").mkdir(parents=True)
    (store.voice_folder("fred") / store.VOICE).write_text("{}")
    make_old("dora", "emil", "fred")
    assert (time.time() - store.last_used("dora")) / registry.DAY > 899
    load(people, adapter="emil")  # used today
    command = ("voices", "remove", "--unused-for", "365d")
    assert [line.split(":")[0] for line in run_command(*command, "--dry-run").out.splitlines()] == [
        "dora",
        "fred",
    ]
    assert store.voice_names() == ["dora", "emil", "fred"]
    done = run_command(*command)
    assert done.code == 0 and store.voice_names() == ["emil"], done.err
    assert "no voice is unused" in run_command(*command).out
    for words in ((), ("--dry-run",), ("--unused-for", "a year")):
        assert run_command("voices", "remove", *words).code == 1


def test_a_voice_print_of_version_0_2_is_named(people, run_command):
    folder = registry.adapters_dir() / "dora"
    write_record(folder, read_record(folder) | {"gate": {"utterances": 9, "identify": True}})
    shown = run_command("voices", "show", "dora").out
    assert "voice print of version 0.2 (ia3-speech adapters gate dora replaces it)" in shown
