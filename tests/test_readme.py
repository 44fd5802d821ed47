"""README: its Python runs as it stands, its links lead somewhere; test_readme_commands.py runs its bash."""

import re
from pathlib import Path

import numpy as np
import soundfile

from ia3_speech.adapters.registry import register

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def test_its_length():
    assert len(README.splitlines()) <= 150


def test_the_python_block_runs(tmp_path, monkeypatch, capsys, tiny_folder, speaker42):
    """With a small random base in the place of mini; the adapters are registered as the first command leaves
    them.
    """
    register(speaker42, "medical")
    monkeypatch.chdir(tmp_path)
    wave = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    soundfile.write("audio.wav", wave, 16_000, subtype="FLOAT")
    code = re.search(r"## Python\n\n```python\n(.*?)```", README, re.DOTALL)[1]
    names: dict = {}
    exec(code.replace('"mini"', repr(str(tiny_folder))), names)
    assert capsys.readouterr().out.startswith("(Word(text=")
    assert len(names["logits"]) == 3 and names["logits"][0].shape == names["logits"][1].shape


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links and all((ROOT / link).exists() for link in links)
