"""Sounds of three kinds, adapters of random numbers, and a base with two adapters and their gates."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from corpus_files import sound_directory
from tiny_models import random_adapter

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import GATE
from ia3_speech.data.audio import SAMPLE_RATE

KINDS = {"low": 0.95, "high": 0.05, "general": 0.4}  # share of a quarter of a second in which there is sound


def sound(kind: str | float, seed: int, seconds: float = 1.0) -> np.ndarray:
    """Noise of a kind: nearly steady, clicks, or syllables; or with that share of sound."""
    noise = np.random.default_rng(seed).normal(0, 0.3, round(seconds * SAMPLE_RATE))
    share = KINDS.get(kind, kind)
    return (noise * (np.arange(len(noise)) / 4000 % 1 < share)).astype(np.float32)


def data_of(folder: Path, kind: str, first: int = 0, count: int = 24) -> Path:
    """A data directory of a kind."""
    seeds = range(first, first + count)
    return sound_directory(folder / "data", {f"{kind}{seed:03}": sound(kind, seed) for seed in seeds})


def add_adapter(base: Path, name: str, seed: int, *placements: str, labels=None) -> Path:
    """A registered adapter of random numbers."""
    folder = base / f"{name}_adapter"
    random_adapter(base, folder, seed, *placements, low=-10, high=10, labels=labels)
    return registry.register(folder, name)


STABLE = {"stable": True, "norm": "layer"}  # of a small random base whose front end tells the kinds apart


@pytest.fixture
def tiny_folder(save_base, tmp_path) -> Path:
    return save_base(tmp_path / "base", **STABLE)


def prepare_once(folder: Path, save_base: Callable, add: Callable[[Path], None]) -> Path:
    """The folder, with `base` and `home` as `add` leaves them: `put_back` brings them for each test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IA3_SPEECH_HOME", str(folder / "home"))
        add(save_base(folder / "base", **STABLE))
    (folder / "base").rename(folder / "prepared")
    return folder


def put_back(prepared: Path) -> Path:
    """The base, at the place that its adapters record, and the test's registry, as they were prepared."""
    shutil.rmtree(prepared / "base", ignore_errors=True)
    shutil.copytree(prepared / "home", registry.home(), dirs_exist_ok=True)
    return shutil.copytree(prepared / "prepared", prepared / "base")


@pytest.fixture(scope="session")
def two_prepared(save_base, run_command, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")

    def add(base: Path) -> None:
        for name, place, seed in (("low", None, 1), ("high", None, 2), ("general", base, 0)):
            if not place:
                add_adapter(base, name, seed)
            data, gate = data_of(folder / name, name), (place or registry.adapters_dir() / name) / GATE
            done = run_command("adapters", "gate", place or name, "--data", data)
            assert done == (0, f"{gate}: of 24 utterances\n", "")

    return prepare_once(folder, save_base, add)


@pytest.fixture
def two(two_prepared) -> Path:
    """A base with a gate, and adapters `low` and `high` with theirs."""
    return put_back(two_prepared)
