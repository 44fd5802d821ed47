"""The wheel: what README promises of an installed package is in it and works where no clone is."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that the wheel is installed in, without its dependencies; nothing is downloaded."""
    if not find_spec("hatchling"):
        pytest.skip("hatchling, which builds the wheel, is not installed (it is in the dependency group dev)")
    pip = [sys.executable, "-m", "pip"] if find_spec("pip") else [shutil.which("uv"), "pip"]
    if not pip[0]:
        pytest.skip("neither pip nor uv is there to install the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True)
    (wheel,) = folder.glob("ia3_speech-*-py3-none-any.whl")
    place = folder / "installed"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(place), str(wheel)]
    subprocess.run([*pip, *install], check=True)
    return place


def run(installed: Path, *words: str) -> str:
    """What the installed command `ia3-speech` prints, started elsewhere than in the clone."""
    environment = os.environ | {"PYTHONPATH": str(installed), "CUDA_VISIBLE_DEVICES": ""}
    command = [str(installed / "bin/ia3-speech"), *words]
    done = subprocess.run(command, cwd=installed.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_the_package_and_nothing_else(installed):
    assert {path.name for path in installed.iterdir()} == {
        "bin", "ia3_speech", next(path.name for path in installed.glob("ia3_speech-*.dist-info")),
    }  # fmt: skip
    listed = subprocess.run(
        ["git", "ls-files", "ia3_speech"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is no git clone: there is no list of the package's files")
    assert [name for name in listed.stdout.splitlines() if not (installed / name).is_file()] == []


def test_its_version(installed):
    assert run(installed, "--version") == "ia3-speech 0.1.0\n"


def test_the_files_that_no_python_imports(installed):
    """Configurations, mini with its language model and the scaling of its confidences, speech, the report."""
    package = installed / "ia3_speech"
    for name in (
        *("conf/ia3.yaml", "conf/dictation.yaml"),
        *("report/page.css", "report/page.js", "report/templates/page.html.jinja"),
        *("mini/config.json", "mini/lm.arpa.gz", "mini/lm.json", "mini/confidence.json"),
    ):
        assert (package / name).stat().st_size > 0, name
    speech = package / "out_of_domain/librispeech_dev"
    sources = [line.split()[1] for line in (speech / "wav.scp").read_text().splitlines()]
    assert len(sources) == 30 and all((speech / source).is_file() for source in sources)


def test_train_finds_the_configuration_and_speech_that_come_with_it(installed, base_folder):
    """README's `ia3-speech train --config ia3`, up to the check of texts and audio."""
    speech = installed / "ia3_speech/out_of_domain/librispeech_dev"
    base = "mini" if base_folder.name == "mini" else str(base_folder)
    sets = ("--train", str(speech), "--dev", str(speech), "--out", "exp")
    printed = run(installed, "train", "--config", "ia3", "--base", base, *sets, "--check")
    assert printed == f"{speech}: 30 utterances can be trained on\n"


def test_transcribe_finds_mini(installed, base_folder):
    if base_folder.name != "mini":
        pytest.skip("ia3_speech/mini is not trained yet")
    speech = next((installed / "ia3_speech/out_of_domain/librispeech_dev/audio").glob("422-*-0030.ogg"))
    found = json.loads(run(installed, "transcribe", "--format", "json", str(speech)))
    assert found["base"] == "mini" and found["text"].strip()
