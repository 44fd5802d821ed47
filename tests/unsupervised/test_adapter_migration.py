"""adapters migrate: another base learns an adapter's texts, of bases with other vocabularies too."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import tiny_whisper

from ia3_speech import IA3Config, attach, load_adapter, load_base, save_adapter
from ia3_speech.adapters import registry
from ia3_speech.adapters.record import GATE, OWN_WEIGHTS, STORED_LM_WEIGHTS, read_record
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.unsupervised import migration
from tests.test_train import NO_DROPOUT, bad_start, record  # noqa: F401  (bad_start: a fixture)


@pytest.fixture
def place(tmp_path, save_base) -> Path:
    """Three bases, two registered adapters, and recordings with texts that nobody may read."""
    for name, seed in (("old", 0), ("new", 3)):
        save_base(tmp_path / name, norm="layer", seed=seed, sharpness=20, **NO_DROPOUT)
    for part in tiny_whisper():
        part.save_pretrained(tmp_path / "whisper")
    for name in ("old", "whisper"):
        base = load_base(tmp_path / name)
        attach(base.model, IA3Config())
        save_adapter(base.model, tmp_path / f"{name}_adapter", base=base, labels={"domain": "medical"})
        registry.register(
            tmp_path / f"{name}_adapter",
            f"of_{name}",
            search_files={STORED_LM_WEIGHTS: b'{"search": "greedy"}'},
        )
    record(tmp_path / "data", 20, text="not to be read")
    return tmp_path


def migrate(run_command, place: Path, adapter: str = "of_old", base: str = "new", *options: object):
    words = ["--base", place / base, "--data", place / "data", "--out", place / "exp", "--min-confidence", 0]
    return run_command("adapters", "migrate", adapter, *words, *options)


@pytest.mark.usefixtures("bad_start", "few_samples")
@pytest.mark.parametrize("base", ["new", "whisper"])
def test_another_base_learns_the_texts_and_takes_the_name_if_it_is_told_to(place, run_command, base):
    before = registry.file_contents(registry.adapters_dir() / "of_old")
    result = migrate(run_command, place, "of_old", base)
    assert result.code == 0, result.err
    assert registry.file_contents(registry.adapters_dir() / "of_old") == before, "it stays in use"
    learnt, dev = (read_data_directory(place / "exp/labels" / name) for name in ("train", "dev"))
    assert (len(dev), len(learnt)) == (6, 14) and not {u.id for u in dev} & {u.id for u in learnt}
    assert not any("not to be read" in label.text for label in learnt)
    load_adapter(load_base(place / base).model, place / "exp/adapter")
    new = read_record(place / "exp/adapter")
    assert new["labels"] == {"domain": "medical"} and new["training"]["left_out"] == 0
    assert new["training"]["migrated_from"]["base"] == str(place / "old")
    assert (place / "exp/adapter" / GATE).is_file()

    again = migrate(run_command, place, "of_old", base, "--name", "of_old")
    assert again.out.startswith(f"{place / 'exp'}: up to date\n"), again.err
    assert ("without lm.json of of_old" in again.out) == (base == "whisper")
    assert registry.registered_names() == ["of_old", "of_old@1", "of_whisper"]
    assert (registry.adapters_dir() / "of_old" / STORED_LM_WEIGHTS).is_file() == (base == "new")
    assert "is an adapter of" in migrate(run_command, place, "of_old", base).err


def test_an_adapter_that_did_not_improve_takes_no_name(place, run_command):
    result = migrate(run_command, place, "of_old", "new", "--name", "medical2")
    assert result.code == 0 and "medical2: is not registered: no epoch improved" in result.out, result.err
    assert "medical2" not in registry.registered_names()


@pytest.mark.usefixtures("bad_start")
def test_a_killed_migration_goes_on(place, run_command, monkeypatch):
    assert migrate(run_command, place).code == 0
    (place / "exp").rename(place / "whole")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for function in ("write_data_directory", "train", "write_record"):
        with monkeypatch.context() as patch:
            patch.setattr(migration, function, killed)
            assert migrate(run_command, place).code == 130
    texts = (place / "exp/labels/hypotheses.json").stat().st_mtime_ns
    assert migrate(run_command, place).code == 0
    assert (place / "exp/labels/hypotheses.json").stat().st_mtime_ns == texts
    whole, resumed = (load_file(place / out / "adapter" / OWN_WEIGHTS) for out in ("whole", "exp"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_bad_input(place, run_command, tmp_path):
    silence = record(tmp_path / "few", 3)
    faults = [
        (("nobody",), (), "no adapter has this name"),
        (("of_old", "old"), (), "is an adapter of"),
        (("of_old", "gone"), (), "no base"),
        (("of_old",), ("--name", "a/b"), "can't be an adapter's name"),
        (("of_old",), ("--min-confidence", "2"), "--min-confidence is 2.0"),
        (("of_old",), ("--data", silence), "3 certain texts (five are needed"),
        (("of_whisper",), (), "s0-00: no certain words that the new base writes"),
        (("of_old",), ("--data", place / "gone"), "gone"),
        (("of_old",), ("--out", place / "data/exp"), "lie in one another"),
    ]
    for words, options, fault in faults:
        result = migrate(run_command, place, *words, *(["new"] if len(words) == 1 else []), *options)
        assert result.code == 1 and fault in result.err, (fault, result.err)
    (place / "old").rename(place / "moved")
    result = migrate(run_command, place)
    assert result.code == 1 and "records it; give its folder as --old-base" in result.err, result.err
    result = migrate(run_command, place, "of_old", "new", "--old-base", place / "moved")
    assert result.code == 0, result.err
