"""scripts/environment.sh: which Python a recipe uses, and what it leaves alone. Nothing is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def clone(tmp_path) -> Path:
    """The files of a clone that set up its environment."""
    for name in ("scripts/environment.sh", "recipes/path.sh", "pyproject.toml"):
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clone" / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path / "clone"


def source_path(clone: Path, path: str, **environment: str) -> subprocess.CompletedProcess:
    """Source path.sh as recipes do, with this PATH; prints the Python, and how a user calls it."""
    script = '. recipes/path.sh; command -v python; echo "$IA3_SPEECH_PYTHON"'
    environment = {"PATH": path, "HOME": "/", "PYTHONPATH": str(ROOT)} | environment
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)


def test_an_active_environment_is_used_as_it_is(clone):
    active = str(Path(sys.executable).parent)
    done = source_path(clone, f"{active}:{os.environ['PATH']}")
    assert (done.stdout, done.stderr) == (f"{active}/python\npython\n", "")
    assert not (clone / ".venv").exists()
    done = source_path(clone, f"{active}:{os.environ['PATH']}", UV_RUN_RECURSION_DEPTH="1")
    assert done.stdout.endswith("uv run python\n")


def fake_python(folder: Path, version: str) -> str:
    """A PATH with a `python3` of this version that has no packages, and the system's other programs."""
    folder.mkdir()
    (folder / "python3").write_text(f"#!/bin/bash\n[[ $2 == *version_info* ]] && echo {version} || exit 1\n")
    (folder / "python3").chmod(0o755)
    for tool in ("bash", "basename", "cat", "cksum", "dirname", "env", "mkdir", "mv", "rm"):
        (folder / tool).symlink_to(
            next(p for p in (Path("/usr/bin", tool), Path("/bin", tool)) if p.exists())
        )
    return str(folder)


def test_old_pythons_are_refused_and_other_environments_left_alone(clone, tmp_path):
    done = source_path(clone, fake_python(tmp_path / "old", "3.10.13"))
    assert done.returncode == 1 and "python3 is Python 3.10.13" in done.stderr
    assert not (clone / ".venv").exists()
    other = clone / ".venv/lib/python3.12/site-packages/django-5.0.dist-info"
    other.mkdir(parents=True)
    done = source_path(clone, fake_python(tmp_path / "new", "3.11.7"))
    assert done.returncode == 1 and "holds other packages" in done.stderr and other.is_dir()
