"""README: its Python runs as it stands, its commands exist with the flags that it gives them."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ia3_speech.__main__ import COMMANDS
from ia3_speech.__main__ import main as ia3_speech
from ia3_speech.adapters.registry import register

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
LINES = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip()
]


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
    assert capsys.readouterr().out.startswith("[")
    assert len(names["logits"]) == 3 and names["logits"][0].shape == names["logits"][1].shape


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith(("ia3-speech ", "python -m"))])
def test_the_commands_have_these_flags(line, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [*sys.argv])  # which the command sets
    words = shlex.split(line.replace("python -m ia3_speech.", "ia3-speech "))
    assert words[1] in COMMANDS
    sub = words[2:3] if words[1] in ("adapters", "datadir") else []
    with pytest.raises(SystemExit) as ended:
        ia3_speech([words[1], *sub, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for flag in (word for word in words if word.startswith("--")):
        assert re.search(rf"{flag}\b", text), flag


def test_the_scripts_are_there():
    scripts = [shlex.split(line)[1] for line in LINES if line.startswith("bash ")]
    assert len(scripts) >= 3 and all((ROOT / script).is_file() for script in scripts)
    assert shutil.which("bash")


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links and all((ROOT / link).exists() for link in links)
