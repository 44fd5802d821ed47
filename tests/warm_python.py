"""A Python that has imported torch and transformers already, for tests that run recipes.

A recipe calls `python -m ia3_speech.…` some fifty times, and each start of Python needs four seconds for
these two packages. `path_with_warm_python()` starts one process that imports them and gives a PATH whose
`python`, called with `-m MODULE …`, `-c CODE …` or `SCRIPT.py …`, asks that process to fork; the copy runs
it in its caller's place, with its folder, environment and streams. Whatever else `python` is called with
goes to the real one.

Of ia3_speech nothing is imported beforehand, so the module runs as it does after a start of its own. Signals
to the caller are passed on, its death (by SIGKILL too) kills the copy, and its exit status is the copy's.
"""

import array
import atexit
import gc
import importlib
import io
import marshal
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType

PRELOADED = (
    "torch",
    "torchaudio",
    "transformers",
    "transformers.models.wav2vec2.modeling_wav2vec2",
    "transformers.models.wav2vec2.processing_wav2vec2",
    "librosa",
    "jsonargparse",
    "docstring_parser",
    "typeshed_client",
    "platformdirs",
    "sqlite3",
    "simple_icd_10_cm",
)
CALLER = """\
#!{python} -IS
import _signal, _socket, marshal, os, sys
if not (sys.argv[1:] and (sys.argv[1] in ("-m", "-c") or sys.argv[1].endswith(".py"))):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = _socket.socket(_socket.AF_UNIX)
server.connect({address!r})
job = marshal.dumps((sys.argv[1:], os.getcwd(), dict(os.environ)))
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
server.sendmsg([len(job).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
server.sendall(job)
child = int.from_bytes(server.recv(8, _socket.MSG_WAITALL), "big")
for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
    if _signal.getsignal(number) != _signal.SIG_IGN:
        _signal.signal(number, lambda number, frame: os.kill(child, number))
status = os.waitstatus_to_exitcode(int.from_bytes(server.recv(8, _socket.MSG_WAITALL), "big"))
if status < 0:
    if -status != _signal.SIGKILL:
        _signal.signal(-status, _signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""


@lru_cache
def path_with_warm_python() -> str:
    """PATH with a folder of `python` first, and that of the real one second.

    The process that forks is started at the first call and ends with the tests. Where the system has no
    pidfd, as on macOS, all is real.
    """
    real = Path(sys.executable).parent
    if not hasattr(os, "pidfd_open"):
        return f"{real}:{os.environ['PATH']}"
    folder = Path(tempfile.mkdtemp())
    caller, address = folder / "python", str(folder / "socket")
    caller.write_text(CALLER.format(python=sys.executable, address=address))
    caller.chmod(0o755)
    (folder / "python3").symlink_to(caller)  # as scripts are started by their first line
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)  # callers wait here until the packages are imported
    process = subprocess.Popen(
        [sys.executable, __file__, str(listener.fileno())],
        env=os.environ | {"LC_ALL": "C", "CUDA_VISIBLE_DEVICES": ""},  # as recipes/path.sh and the tests
        pass_fds=[listener.fileno()],
        cwd="/",
        start_new_session=True,
    )
    listener.close()

    @atexit.register
    def close() -> None:
        process.kill()
        process.wait()
        shutil.rmtree(folder)

    return f"{folder}:{real}:{os.environ['PATH']}"


def serve(listener: socket.socket) -> None:
    """Fork for each caller. Returns in the copies, each of which is to run its module."""
    callers: dict[int, tuple[socket.socket, int, int]] = {}  # by both descriptors that `ended` waits for
    ended = select.poll()
    ended.register(listener, select.POLLIN)
    while True:
        ready = [number for number, _ in ended.poll()]
        for number in ready:
            if number not in callers:  # it has ended by its other descriptor, or is the listener
                continue
            caller, watched, copy = callers[number]
            if number != watched:  # the caller was killed
                os.kill(copy, signal.SIGKILL)
            status = os.waitpid(copy, 0)[1]
            with suppress(OSError):
                caller.sendall(struct.pack(">q", status))
            for one in (watched, caller.fileno()):
                ended.unregister(one)
                del callers[one]
            os.close(watched)
            caller.close()
        if listener.fileno() in ready:  # last, for it takes descriptors that were closed
            caller, _ = listener.accept()
            if not (sent := received(caller)):
                caller.close()
                continue
            streams, job = sent
            copy = os.fork()
            if not copy:
                for file in (caller, listener, *(one for one, *_ in callers.values())):
                    file.close()
                take_place(streams, *job)
                return
            for stream in streams:
                os.close(stream)
            watched = os.pidfd_open(copy)
            for one in (watched, caller.fileno()):
                callers[one] = caller, watched, copy
                ended.register(one, select.POLLIN)
            with suppress(OSError):
                caller.sendall(struct.pack(">q", copy))


def received(caller: socket.socket) -> tuple[array.array, tuple] | None:
    """The caller's streams; its arguments, folder and environment; None of one that was killed meanwhile."""
    size, control, *_ = caller.recvmsg(8, socket.CMSG_SPACE(3 * 4))
    streams = array.array("i", control[0][2] if control else b"")
    length = int.from_bytes(size, "big")
    job = caller.recv(length, socket.MSG_WAITALL) if length else b""
    if length and len(job) == length:
        return streams, marshal.loads(job)
    for stream in streams:
        os.close(stream)
    return None


def take_place(streams: array.array, words: list[str], folder: str, environment: dict[str, str]) -> None:
    """The caller's streams, arguments, folder and environment become those of this process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    at_once = bool(environment.get("PYTHONUNBUFFERED"))
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), **like(sys.stdin))
    sys.stdout = written(1, sys.stdout, at_once)
    sys.stderr = written(2, sys.stderr, True)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    first = {"-m": folder, "-c": ""}.get(words[0])
    first = str(Path(words[0]).resolve().parent) if first is None else first
    sys.path[0:1] = [first, *filter(None, environment.get("PYTHONPATH", "").split(":"))]


def like(stream: io.TextIOWrapper) -> dict[str, str]:
    return {"encoding": stream.encoding, "errors": stream.errors}


def written(number: int, stream: io.TextIOWrapper, at_once: bool) -> io.TextIOWrapper:
    raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
    return io.TextIOWrapper(raw, **like(stream), write_through=at_once, line_buffering=at_once)


def run() -> None:
    """What sys.argv says: `-m MODULE …`, `-c CODE …` or `SCRIPT …`."""
    if sys.argv[0] == "-c":
        code = sys.argv.pop(1)
        sys.modules["__main__"] = module = ModuleType("__main__")
        exec(code, vars(module))
    elif sys.argv[0] == "-m":
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(str(Path(sys.argv[0]).absolute()), run_name="__main__")


def finish(run: Callable[[], object]) -> None:
    """Call `run` and end this process as Python ends, but without taking apart all that was imported, which
    needs half a second."""
    status = 0
    try:
        run()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the reader has left
            status = status or 120
    os._exit(status & 0xFF)


if __name__ == "__main__":
    for name in PRELOADED:
        importlib.import_module(name)
    with suppress(ImportError, AttributeError):  # a table that the first model to be loaded waits for
        importlib.import_module("transformers.conversion_mapping").get_checkpoint_conversion_mapping(
            "wav2vec2"
        )
    gc.freeze()  # a copy's collections leave these objects, and the memory it shares, alone
    serve(socket.socket(fileno=int(sys.argv[1])))
    finish(run)
