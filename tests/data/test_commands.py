"""The commands of `data` print their help without the libraries that they need for work."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "datasets", "librosa", "soundfile", "pandas")
SHOW_HELP = """
import runpy, sys
sys.argv = [sys.argv[1], "--help"]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
except SystemExit as left:
    print("code", left.code)
print("imported", [name for name in HEAVY if name in sys.modules])
"""


@pytest.mark.parametrize(
    "command",
    [
        "datadir",
        *(f"data.corpora.{name}" for name in ("librispeech", "speechocean762", "csv_folder", "kaldi")),
        *(f"data.corpora.{name}" for name in ("out_of_domain", "download")),
    ],
)
def test_help_imports_nothing_heavy(command):
    code = f"HEAVY = {HEAVY}\n{SHOW_HELP}"
    done = subprocess.run(
        [sys.executable, "-c", code, f"ia3_speech.{command}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"usage: python -m ia3_speech.{command}")
    assert done.stdout.endswith("code 0\nimported []\n")
