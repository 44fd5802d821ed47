"""warm_python: its `python` does what Python's does, for those who start, read and kill it."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from warm_python import path_with_warm_python

MODULE = """\
import os, sys, time
print(sys.argv[1:], os.getcwd(), os.environ["GIVEN"], sys.stdin.read(), __name__, flush=True)
print("ä", file=sys.stderr)
if sys.argv[1] == "kill":
    os.kill(os.getpid(), 9)
if sys.argv[1] == "wait":
    time.sleep(30)
    print("survived")
sys.exit({"three": 3, "text": "why", "none": None}[sys.argv[1]])
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts the module, or the script, with an argument, by a `python` or the warm one."""
    (tmp_path / "module_of_the_test.py").write_text(MODULE)

    def run(word: str, python: str, *what: str) -> subprocess.Popen:
        path = {} if python == sys.executable else {"PATH": path_with_warm_python()}
        environment = os.environ | path | {"GIVEN": "yes", "PYTHONPATH": str(tmp_path)}
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([python, *what, word, "a b"], env=environment, cwd=tmp_path, **streams)

    return run


@pytest.mark.parametrize("what", ["-m module_of_the_test", "-c"])
@pytest.mark.parametrize("word", ["three", "text", "none", "kill"])
def test_streams_and_status_are_those_of_a_start_of_its_own(start, word, what):
    code = ("-c", MODULE) if what == "-c" else tuple(what.split())
    warm, real = (start(word, python, *code) for python in ("python", sys.executable))
    assert warm.communicate(b"given") == real.communicate(b"given")
    assert warm.returncode == real.returncode == {"three": 3, "text": 1, "none": 0, "kill": -9}[word]


def test_a_script_imports_what_lies_beside_it(start, tmp_path):
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/other_of_the_test.py").write_text("VALUE = 7\n")
    script = tmp_path / "beside/script.py"
    script.write_text(f"import other_of_the_test as o; print(o.VALUE, __file__)\n{MODULE}")
    warm, real = (start("three", python, "beside/script.py") for python in ("python3", sys.executable))
    found = warm.communicate(b"given")
    assert found == real.communicate(b"given") and found[0].startswith(b"7 ")
    assert warm.returncode == real.returncode == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_both(start, number):
    """The pipe closes only when the copy, which holds it too, has ended."""
    process = start("wait", "python", "-m", "module_of_the_test")
    process.stdin.close()
    assert process.stdout.readline()
    process.send_signal(number)
    assert process.stdout.read() == b""
    assert process.wait() == -number


@pytest.mark.parametrize("sent", [b"", (100).to_bytes(8, "big") + b"half"])
def test_a_caller_that_was_killed_before_it_asked_harms_no_other(start, sent):
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(f"{path_with_warm_python().partition(':')[0]}/socket")
        caller.sendall(sent)
    process = start("three", "python", "-m", "module_of_the_test")
    process.communicate(b"given")
    assert process.returncode == 3
