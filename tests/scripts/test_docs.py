"""The documentation site builds without a warning, and its notebooks run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# One epoch, without other speech, and by tests/egs/python_server.py: seconds instead of a minute.
REPLACED = {"--config few": "--config few --epochs 1 --replay none", "epochs=6": "epochs=1"}
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
def test_a_notebook_runs_and_its_outputs_are_small(notebook, tmp_path, monkeypatch, forking_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    assert notebook.stat().st_size < 200_000
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", forking_path)
    copy = nbformat.read(shutil.copy(notebook, tmp_path), 4)
    for cell in copy.cells:
        for old, new in REPLACED.items():
            cell.source = cell.source.replace(old, new)
    nbclient.NotebookClient(copy, timeout=600, kernel_name="python3").execute()
    assert [cell.source for cell in copy.cells if cell.cell_type == "code" and not cell.outputs] == []
