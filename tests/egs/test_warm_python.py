"""warm_python: its `python -m` does what Python's does, for those who start, read and kill it."""

import os
import signal
import subprocess
import sys

import pytest
from warm_python import path_with_warm_python

MODULE = """\
import os, sys, time
print(sys.argv[1:], os.getcwd(), os.environ["GIVEN"], sys.stdin.read(), __name__, flush=True)
print("ä", file=sys.stderr)
if sys.argv[1] == "wait":
    time.sleep(30)
    print("survived")
sys.exit({"three": 3, "text": "why", "none": None}[sys.argv[1]])
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts the module with an argument, by a `python` or the warm one."""
    (tmp_path / "module_of_the_test.py").write_text(MODULE)

    def run(word: str, python: str) -> subprocess.Popen:
        path = {"PATH": path_with_warm_python()} if python == "python" else {}
        environment = os.environ | path | {"GIVEN": "yes", "PYTHONPATH": str(tmp_path)}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        line = f"exec {python} -m module_of_the_test {word} 'a b'"  # found on the PATH of the environment
        return subprocess.Popen(["bash", "-c", line], env=environment, cwd=tmp_path, **streams)

    return run


@pytest.mark.parametrize("word", ["three", "text", "none"])
def test_streams_and_status_are_those_of_a_start_of_its_own(start, word):
    warm, real = start(word, "python"), start(word, sys.executable)
    assert warm.communicate(b"given") == real.communicate(b"given")
    assert warm.returncode == real.returncode == {"three": 3, "text": 1, "none": 0}[word]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_both(start, number):
    """The pipe closes only when the copy, which holds it too, has ended."""
    process = start("wait", "python")
    process.stdin.close()
    assert process.stdout.readline()
    process.send_signal(number)
    assert process.stdout.read() == b""
    assert process.wait() == -number
