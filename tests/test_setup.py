"""scripts/environment.sh makes the clone's environment on first use, with uv or with pip.

Nothing is downloaded: uv and the Pythons on PATH are scripts that log their calls.
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
    """The files of a clone that set up its environment, on a machine that has only `python3`."""

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

    def start(self, script: str, **environment: str) -> subprocess.Popen:
        fakes = {"CALLS": str(self.log), "FAKES": str(self.log.parent / "fakes")}
        environment = {"PATH": str(self.path), "HOME": "/", **fakes, **environment}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        words = ["bash", "-euo", "pipefail", "-c", script]
        return subprocess.Popen(words, cwd=self.folder, env=environment, **streams)

    def run(self, script: str = ". recipes/path.sh; command -v python", **environment: str):
        """Exit code, stdout and stderr of a script; by default it uses the environment as recipes do."""
        process = self.start(script, **environment)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err.replace(f"{self.folder}/", "")

    def calls(self) -> list[str]:
        """The calls since the last call of this method."""
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


@pytest.mark.parametrize(("installer", "calls"), [("pip", WITH_PIP), ("uv", WITH_UV)])
def test_pip_or_uv_is_enough(clone, installer, calls):
    if installer == "uv":  # whatever python3 is
        executable(clone.path / "uv", UV)
        clone.add_python("python3", "3.8.18")
    code, out, err = clone.run()
    assert (code, out) == (0, f"{clone.venv}/bin/python\n") and f"with {installer}" in err
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
def test_a_missing_pip_and_a_cpu_build_of_torch_are_replaced(clone, variable, calls):
    assert clone.run(PIP_CONSTRAINT="constraints.txt", **{variable: "1"})[0] == 0
    assert clone.calls() == calls


def test_an_interrupted_set_up_starts_again(clone):
    code, out, err = clone.run(PIP_FAILS="1")
    assert (code, out) == (1, "") and "the next run tries again" in err
    (clone.venv / "half a package").touch()
    clone.calls()
    code, _, err = clone.run()
    assert code == 0 and "unfinished" in err
    assert clone.calls() == WITH_PIP and not (clone.venv / "half a package").exists()


def test_an_environment_of_other_packages_is_left_alone(clone):
    other = clone.venv / "lib/python3.12/site-packages/django-5.0.dist-info"
    other.mkdir(parents=True)
    code, _, err = clone.run()
    assert code == 1 and "holds other packages" in err and other.is_dir()


@pytest.mark.parametrize("change", ["made by uv sync", "pyproject.toml"])
def test_a_complete_environment_is_brought_up_to_date(clone, change):
    clone.run()
    clone.calls()
    (clone.venv / "my own package").touch()
    if change == "made by uv sync":
        clone.state.unlink()
        (clone.venv / "bin/pip").unlink()
    else:
        with (clone.folder / "pyproject.toml").open("a") as file:
            file.write("# another\n")
    code, _, err = clone.run()
    assert code == 0 and "up to date" in err
    assert clone.calls() == WITH_PIP[1 if change == "made by uv sync" else 2 :]
    assert (clone.venv / "my own package").exists()
    assert clone.run()[2] == ""


def test_an_active_environment_is_used_as_it_is(clone):
    clone.add_python("python")
    (clone.path / "packages").touch()
    assert clone.run() == (0, f"{clone.path}/python\n", "")
    assert clone.calls() == [] and not clone.venv.exists()


def test_old_pythons_are_refused(clone):
    clone.add_python("python3", "3.10.13")
    clone.add_python("python", "2.7.18")
    code, _, err = clone.run()
    assert code == 1 and "python3 is Python 3.10.13, python is Python 2.7.18" in err
    assert not clone.venv.exists()
    clone.add_python("python3.13", "3.13.0")
    assert clone.run()[0] == 0
    assert clone.calls() == ["python3.13 -m venv --without-pip .venv", *WITH_PIP[1:]]


@pytest.mark.skipif(not shutil.which("flock"), reason="needs flock")
def test_two_at_once_set_up_one_environment(clone):
    first = clone.start(". recipes/path.sh", SECONDS_OF_PIP="1")
    while not clone.state.exists():
        assert first.poll() is None
    code, _, err = clone.run()
    assert code == 0 and err.startswith("waiting")
    assert first.wait() == 0 and clone.calls() == WITH_PIP


def test_recipes_export_the_call_of_python(clone):
    script = '. recipes/path.sh; echo "$IA3_SPEECH_PYTHON"'
    assert clone.run(script)[1] == ".venv/bin/python\n"
    active = f"{clone.venv}/bin:{clone.path}"
    assert clone.run(script, PATH=active)[1] == "python\n"
    assert clone.run(script, PATH=active, UV_RUN_RECURSION_DEPTH="1")[1] == "uv run python\n"
