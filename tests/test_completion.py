"""Completion: the words that the printed scripts offer, in a real shell."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BASH = 'source "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _ia3_speech; echo "${COMPREPLY[@]}"'


def script(shell: str, folder: Path) -> Path:
    words = [sys.executable, "-m", "ia3_speech", "completion", shell]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert not done.stderr
    file = folder / f"completion.{shell}"
    file.write_text(done.stdout)
    return file


def offered(*words: str | Path) -> list[str]:
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert not done.stderr
    return [line.partition("\t")[0] for line in done.stdout.split()]


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Adapters, among them a name that a shell must not run."""
    for name in ("accent", "anna", "$(touch PWNED)", "`touch${IFS}PWNED`"):
        Path(os.environ["IA3_SPEECH_HOME"], "adapters", name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("PWNED").exists()


LINES = {
    "ia3-speech tr": ["transcribe", "train"],
    "ia3-speech adapters p": ["push", "pull"],
    "ia3-speech adapters export --dtype=b": ["bfloat16"],
    "ia3-speech adapters export a --out b --for": ["--force"],
    "ia3-speech transcribe --search ": ["greedy", "beam"],
    "ia3-speech transcribe --adapter a": ["accent", "anna"],
    "ia3-speech transcribe --adapter=an": ["anna"],
    "ia3-speech transcribe --word-t": ["--word-timestamps"],
    "ia3-speech transcribe a": [],
    "ia3-speech train --conf": ["--config"],
    "ia3-speech completion ": ["bash", "zsh", "fish"],
}


def test_bash(tmp_path, names):
    file = script("bash", tmp_path)
    for line, expected in LINES.items():
        words = line.replace("=", " = ").split(" ")  # as bash divides it
        assert offered("bash", "-c", BASH, "bash", file, *words) == expected, line
