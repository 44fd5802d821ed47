"""The commands of `data` print their help without the libraries that they need for work."""

import subprocess
import sys

HEAVY = {"torch", "transformers", "datasets", "librosa", "soundfile", "pandas"}


def test_help_imports_nothing_heavy():
    corpora = [f"data.corpora.{name}" for name in ("librispeech", "csv_folder", "kaldi", "download")]
    for module in ["datadir", *corpora]:
        command = [sys.executable, "-X", "importtime", "-m", f"ia3_speech.{module}", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"usage: python -m ia3_speech.{module}")
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "ia3_speech.cli" in imported and not imported & HEAVY
