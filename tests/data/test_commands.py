"""The commands of `data` print their help without the libraries that they need for work."""

import subprocess
import sys

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


def test_help_imports_nothing_heavy():
    modules = ["datadir"]
    modules += [f"data.corpora.{name}" for name in ("librispeech", "csv_folder", "kaldi", "download")]
    for module in modules:
        code = f"HEAVY = {HEAVY}\n{SHOW_HELP}"
        done = subprocess.run(
            [sys.executable, "-c", code, f"ia3_speech.{module}"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(f"usage: python -m ia3_speech.{module}")
        assert done.stdout.endswith("code 0\nimported []\n")
