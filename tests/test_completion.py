"""Completion: the words that the printed scripts offer, in a real shell."""

import os
import subprocess
from pathlib import Path

import pytest

BASH = 'source "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _ia3_speech; echo "${COMPREPLY[@]}"'


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


def test_bash(tmp_path, names, run_command):
    printed = run_command("completion", "bash")
    assert not printed.err
    (tmp_path / "completion.bash").write_text(printed.out)
    for line, expected in LINES.items():
        words = line.replace("=", " = ").split(" ")  # as bash divides it
        words = ["bash", "-c", BASH, "bash", tmp_path / "completion.bash", *words]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert (done.stdout.split(), done.stderr) == (expected, ""), line
