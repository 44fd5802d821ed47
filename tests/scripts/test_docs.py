"""The documentation site builds without a warning, and its notebooks run."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# One epoch of a few sentences, without other speech, by tests/egs/python_server.py: seconds, not a minute.
REPLACED = {"--config few": "--config few --epochs 1 --replay none", "epochs=6": "epochs=1"}
REPLACED |= {"speaker == id]": "speaker == id][:1]"}
REPLACED |= {"python = sys.executable": "python = 'python'"}
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


def test_the_site_builds(tmp_path):
    """With --strict: a broken link, an unknown name or a page outside of the navigation is an error."""
    pytest.importorskip("mkdocs_jupyter")
    site = tmp_path / "site"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = ["bash", ROOT / "scripts/docs.sh", "build", "--site-dir", site]
    done = subprocess.run(words, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("index", "recipes/TEMPLATE", "results/minds14", "notebooks/adapt_to_a_voice"):
        assert (site / f"{page}.html").is_file()
    assert 'id="ia3_speech.session.load"' in (site / "reference.html").read_text("utf-8")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_and_each_cell_shows_something(notebook, tmp_path, monkeypatch, forking_path):
    """In this process, without a kernel."""
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    from IPython.utils.capture import capture_output

    assert notebook.stat().st_size < 200_000
    for name, value in (("IPYTHONDIR", tmp_path), ("PYTHONPATH", ROOT), ("PATH", forking_path)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(tmp_path)  # the notebook leaves it
    shell = interactive.InteractiveShell()
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        source = "".join(cell["source"])
        for old, new in REPLACED.items():
            source = source.replace(old, new)
        if cell["cell_type"] == "code":
            with capture_output() as shown, warnings.catch_warnings():
                shell.run_cell(source).raise_error()
            assert shown.stdout or shown.outputs, source
