"""The wheel: it contains the package, and the installed commands work without a clone."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import ia3_speech

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """An environment with the wheel and the packages of this environment, without the clone."""
    if not find_spec("hatchling"):
        pytest.skip("hatchling, which builds the wheel, is not installed (it is in the dependency group dev)")
    folder = tmp_path_factory.mktemp("wheel")
    python = folder / "venv/bin/python"
    if find_spec("pip"):
        install = [sys.executable, "-m", "pip", "--python", python, "install"]
    elif uv := shutil.which("uv"):
        install = [uv, "pip", "install", "--python", python]
    else:
        pytest.skip("neither pip nor uv is there to install the wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True)
    (wheel,) = folder.glob("ia3_speech-*-py3-none-any.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    subprocess.run([*install, "--quiet", "--no-deps", "--no-index", wheel], check=True)
    packages = Path(find_spec("torch").origin).parents[1]
    (site_packages,) = (folder / "venv/lib").glob("python3*/site-packages")
    (site_packages / "packages.pth").write_text(f"{packages}\n")  # not the links to clones that are in them
    return site_packages


def run(installed: Path, *words: str) -> str:
    """The output of the installed command `ia3-speech`, started outside of the clone."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    venv = installed.parents[2]
    command = [str(venv / "bin/ia3-speech"), *words]
    environment["CUDA_VISIBLE_DEVICES"] = ""
    done = subprocess.run(command, cwd=venv.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_contains_the_package_and_nothing_else(installed):
    assert run(installed, "--version") == f"ia3-speech {ia3_speech.__version__}\n"
    names = {path.name.partition("-")[0] for path in installed.iterdir() if path.suffix != ".pth"}
    assert names == {"ia3_speech"}
    listed = subprocess.run(
        ["git", "ls-files", "ia3_speech"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git clone: there is no list of the package's files")
    assert [name for name in listed.stdout.splitlines() if not (installed / name).is_file()] == []


def test_transcribe_finds_mini(installed):
    speech = next((installed / "ia3_speech/out_of_domain/librispeech_dev/audio").glob("422-*-0030.ogg"))
    transcript = json.loads(run(installed, "transcribe", "--format", "json", str(speech)))
    assert transcript["base"] == "mini" and transcript["text"].strip()
