"""Completion: the words that the printed script offers in bash, and a script for every other shell."""

import os
import subprocess
from pathlib import Path

BASH = (
    'source "$1"; shift; COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _shtab_ia3_speech; echo "${COMPREPLY[@]}"'
)
LINES = {
    "tr": ["transcribe", "train"],
    "adapters pu": ["push", "pull"],
    "adapters export a --out b --for": ["--force"],
    "transcribe --search ": ["greedy", "beam"],
    "transcribe --adapter a": ["accent", "anna"],
    "train --conf": ["--config"],
    "transcribe recording": ["recording.wav"],
}


def test_bash_completes_commands_flags_choices_adapters_and_files(tmp_path, monkeypatch, run_command):
    for name in ("accent", "anna", "a$(touch PWNED)"):  # a shell must not run a name
        Path(os.environ["IA3_SPEECH_HOME"], "adapters", name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    Path("recording.wav").touch()
    Path("completion.bash").write_text(run_command("completion", "bash").out)
    for line, expected in LINES.items():
        words = ["bash", "-c", BASH, "bash", "completion.bash", "ia3-speech", *line.split(" ")]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert done.stdout.split() == expected, (line, done.stderr)
    assert not Path("PWNED").exists()
