"""scripts/environment.sh makes the clone's environment on first use, with uv or with pip.

Nothing is downloaded here: uv and the Pythons on PATH are scripts that write down how they were called.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("bash", "basename", "cat", "chmod", "cksum", "cp", "dirname", "env", "mkdir", "mv", "rm", "sleep")

# A Python that has pip and packages where files of these names stand beside it.
PYTHON = r"""#!/bin/bash
here=$(dirname "$0")
case "$1 $2" in
  "-c import sys; print"*) echo VERSION; exit ;;
  "-c import shlex"*) exit ;;
  "-c import sys; from importlib"*) [[ -e $here/packages ]]; exit ;;
  "-c import torchaudio") [[ -z $CPU_TORCH || -e $here/torch_of_pypi ]]; exit ;;
  "-m venv") mkdir -p "${@: -1}/bin"; cp "$0" "${@: -1}/bin/python" ;;
  "-m ensurepip") [[ -z $NO_ENSUREPIP ]] || exit 1; : >"$here/pip" ;;
  "-m pip")
    case "$*" in
      *--version) [[ -e $here/pip ]]; exit ;;
      *--python*) : >"$(dirname "$4")/pip" ;;
      *--editable*) sleep "${SECONDS_OF_PIP:-0}"; [[ -z $PIP_FAILS ]] || exit 1; : >"$here/packages"
        [[ $PIP_CONFIG_FILE != /dev/null || -n $PIP_CONSTRAINT ]] || : >"$here/torch_of_pypi" ;;
    esac ;;
esac
echo "${0##*/} $*" >>"$CALLS"
"""
UV = r"""#!/bin/bash
echo "uv $*" >>"$CALLS"
case $1 in
  venv) mkdir -p "${@: -1}/bin"; cp "$FAKES/python" "${@: -1}/bin/python" ;;
  sync) [[ -z $PIP_FAILS ]] || exit 1; : >"$UV_PROJECT_ENVIRONMENT/bin/packages" ;;
esac
"""


def executable(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)


class Clone:
    """The files of a clone that make its environment, on a machine that has nothing but `python3`."""

    def __init__(self, folder: Path):
        self.folder, self.path, self.log = folder / "clone", folder / "bin", folder / "calls"
        self.venv, self.state = self.folder / ".venv", self.folder / ".venv/ia3_speech_setup"
        for name in ("scripts/environment.sh", "recipes/path.sh", "pyproject.toml"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.folder / name)
        self.path.mkdir()
        for tool in (*TOOLS, *filter(shutil.which, ["flock"])):
            (self.path / tool).symlink_to(shutil.which(tool))
        executable(folder / "fakes/python", PYTHON.replace("VERSION", "3.11.7"))
        self.add_python("python3")

    def add_python(self, name: str, version: str = "3.11.7") -> None:
        executable(self.path / name, PYTHON.replace("VERSION", version))

    def add_uv(self) -> None:
        executable(self.path / "uv", UV)

    def start(self, script: str, **environment: str) -> subprocess.Popen:
        fakes = {"CALLS": str(self.log), "FAKES": str(self.log.parent / "fakes")}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env={"PATH": str(self.path), "HOME": "/", **fakes, **environment},
            **streams,
        )

    def run(self, script: str = ". recipes/path.sh; command -v python", **environment: str):
        """Code, output and messages of a script; by default one that uses the environment as recipes do."""
        process = self.start(script, **environment)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err.replace(f"{self.folder}/", "")

    def calls(self) -> list[str]:
        """What was called since the last look."""
        calls = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [call.replace(f"{self.folder}/", "") for call in calls]


@pytest.fixture
def clone(tmp_path) -> Clone:
    return Clone(tmp_path)


WITH_PIP = [
    "python3 -m venv --without-pip .venv",
    "python -m ensurepip",
    "python -m pip install --upgrade --quiet pip>=25.1",
    "python -m pip install --quiet --no-compile --editable . --group demo --group dev",
]
WITH_UV = ["uv venv --quiet .venv", "uv sync --inexact --compile-bytecode --quiet"]
FIRST_USE = (
    "first use: making .venv with {}; up to 6 GB of packages are downloaded, which takes some minutes\n"
)


@pytest.mark.parametrize(("installer", "calls"), [("pip", WITH_PIP), ("uv", WITH_UV)])
def test_pip_or_uv_is_enough(clone, installer, calls):
    if installer == "uv":  # whatever python3 is
        clone.add_uv()
        clone.add_python("python3", "3.8.18")
    assert clone.run() == (0, f"{clone.venv}/bin/python\n", FIRST_USE.format(installer))
    assert clone.calls() == calls
    assert clone.run() == (0, f"{clone.venv}/bin/python\n", "") and clone.calls() == []


@pytest.mark.parametrize(
    ("variable", "calls"),
    [
        ("NO_ENSUREPIP", [  # as in Debian's Python, which lends its pip
            WITH_PIP[0], "python3 -m pip --python .venv/bin/python install --quiet pip>=25.1", *WITH_PIP[2:],
        ]),
        ("CPU_TORCH", [*WITH_PIP, "python -m pip uninstall --yes --quiet torch", WITH_PIP[-1]]),
    ],
)  # fmt: skip
def test_what_pip_lacks_or_has_otherwise_is_made_good(clone, variable, calls):
    assert clone.run(PIP_CONSTRAINT="constraints.txt", **{variable: "1"})[0] == 0
    assert clone.calls() == calls


def test_an_interrupted_set_up_is_made_again(clone):
    code, out, err = clone.run(PIP_FAILS="1")
    failed = ".venv could not be set up for the reason above; the next run tries again\n"
    assert (code, out, err) == (1, "", FIRST_USE.format("pip") + failed)
    assert clone.state.read_text() == "unfinished\n"
    (clone.venv / "half a package").touch()
    clone.calls()
    assert clone.run()[::2] == (0, ".venv is unfinished and is made again\n" + FIRST_USE.format("pip"))
    assert clone.calls() == WITH_PIP and not (clone.venv / "half a package").exists()


def test_an_environment_of_other_packages_is_left_alone(clone):
    other = clone.venv / "lib/python3.12/site-packages/django-5.0.dist-info"
    other.mkdir(parents=True)
    told = ".venv holds other packages: move it away, or activate an environment that has ia3_speech\n"
    assert clone.run() == (1, "", told) and other.is_dir()


@pytest.mark.parametrize("change", ["made by uv sync", "pyproject.toml", "made of another pyproject.toml"])
def test_a_whole_environment_is_kept_and_brought_up_to_date(clone, change):
    clone.run()
    clone.calls()
    (clone.venv / "my own package").touch()
    if change == "made by uv sync":
        clone.state.unlink()
        (clone.venv / "bin/pip").unlink()
    else:
        with (clone.folder / "pyproject.toml").open("a") as file:
            file.write("# another\n")
    assert clone.run()[::2] == (0, "bringing .venv up to date with pyproject.toml, with pip\n")
    assert clone.calls() == WITH_PIP[1 if change == "made by uv sync" else 2 :]
    assert (clone.venv / "my own package").exists()
    assert clone.run()[2] == ""


def test_an_active_environment_is_used_as_it_is(clone):
    clone.add_python("python")
    (clone.path / "packages").touch()
    assert clone.run() == (0, f"{clone.path}/python\n", "")
    assert clone.calls() == []
    assert not clone.venv.exists()


def test_old_pythons_are_refused(clone):
    clone.add_python("python3", "3.10.13")
    clone.add_python("python", "2.7.18")
    assert clone.run() == (
        1,
        "",
        "Python 3.11 or later is needed, and PATH has none "
        "(python3 is Python 3.10.13, python is Python 2.7.18): "
        "install one, or install uv ('pip install uv'), which brings its own\n",
    )
    assert not clone.venv.exists()
    clone.add_python("python3.13", "3.13.0")
    assert clone.run()[0] == 0
    assert clone.calls() == ["python3.13 -m venv --without-pip .venv", *WITH_PIP[1:]]


@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock")
def test_two_at_once_make_one_environment(clone):
    first = clone.start(". recipes/path.sh", SECONDS_OF_PIP="1")
    while not clone.state.exists():
        assert first.poll() is None
    assert clone.run()[::2] == (0, "waiting for another command that sets up .venv\n")
    assert first.wait() == 0
    assert clone.calls() == WITH_PIP


def test_recipes_say_how_python_is_called_afterwards(clone):
    script = '. recipes/path.sh; echo "$IA3_SPEECH_PYTHON"'
    assert clone.run(script)[1] == ".venv/bin/python\n"
    active = f"{clone.venv}/bin:{clone.path}"
    assert clone.run(script, PATH=active)[1] == "python\n"
    assert clone.run(script, PATH=active, UV_RUN_RECURSION_DEPTH="1")[1] == "uv run python\n"
