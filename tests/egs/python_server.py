"""A `python` for recipes and pages that starts in a moment: a fork of a process that has imported PyTorch.

`python` and `python3` of `folder` send their words, environment, working directory, stdin, stdout and stderr
to the server, which runs them in a fork of itself, and exit with its code. This is for scripts of egs/,
recipes/utils/run, `-c …` and `-m ia3_speech.…`; the real Python runs all else. A fork whose caller is killed
is killed, with its children. Forks use eight utterances of the shipped general speech.
"""

import atexit
import gc
import importlib
import io
import marshal
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CLIENT = """#!{python} -IS
import _socket, marshal, posix, sys
words = sys.argv[1:]
if not (words[:2] and (words[0] == "-c" or words[0] == "-m" and words[1].startswith("ia3_speech"))
        or words and words[0].endswith((".py", "/run"))):
    posix.execv({python!r}, [{python!r}, *words])
connection = _socket.socket(_socket.AF_UNIX)
connection.connect({address!r})
call = marshal.dumps([words, posix.environ, posix.getcwd()])
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
connection.sendmsg([len(call).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
connection.sendall(call)
sys.exit(int(connection.recv(4) or 1))
"""  # modules in C alone: it starts in a hundredth of a second


@contextmanager
def forking_python(folder: Path) -> Iterator[Path]:
    """A folder for PATH with `python` and `ia3-speech`, while the server runs."""
    address = str(folder / "socket")
    for name in ("python", "python3"):
        (folder / name).write_text(CLIENT.format(python=sys.executable, address=address))
        (folder / name).chmod(0o755)
    (folder / "ia3-speech").write_text('#!/bin/sh\nexec python -m ia3_speech.__main__ "$@"\n')
    (folder / "ia3-speech").chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, __file__, address], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
        start_new_session=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    try:
        assert server.stdout.read(1) == b"r"
        yield folder
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def serve(address: str) -> None:
    """Fork for each call, for ever."""
    commands = ["train", "decode", "score", "results", "adapters", "speakers", "report", "self_train", "lm"]
    for name in [*commands, "tune_lm", "calibrate", "transcribe", "datadir"]:
        importlib.import_module(f"ia3_speech.commands.{name}")
    for name in ("torch", "transformers.models.wav2vec2.modeling_wav2vec2", "ia3_speech.session", "peft",
                 "ia3_speech.training.run", "ia3_speech.decoding.decode_directory", "docstring_parser",
                 "transformers.trainer", "ia3_speech.routing.guard",
                 "ia3_speech.model.kinds.whisper"):  # fmt: skip
        importlib.import_module(name)
    with suppress(ImportError):  # of the group demo; it reads ICD-10-CM for two seconds
        importlib.import_module("simple_icd_10_cm")
    sys.modules["ia3_speech.routing.guard"].MAX_UTTERANCES = 6  # of a fit
    config, gate = (sys.modules[f"ia3_speech.{name}"] for name in ("training.config", "routing.gate"))
    speech = Path(address).with_name("speech")
    kaldi = sys.modules["ia3_speech.data.kaldi.directory"]
    kaldi.write_data_directory(speech, kaldi.read_data_directory(config.GENERAL_SPEECH).utterances[:8])
    config.GENERAL_SPEECH = gate.GENERAL_SPEECH = speech
    sys.modules["ia3_speech.model.kinds.whisper"].TEMPERATURES = (0.5,)  # random texts trip the guards
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a fork
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    os.write(1, b"r")
    while True:
        connection = listener.accept()[0]
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        size, streams, *_ = socket.recv_fds(connection, 4, 3)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        call = connection.makefile("rb").read(int.from_bytes(size, "big"))
        os.setpgid(0, 0)
        threading.Thread(target=end_with, args=[connection], daemon=True).start()
        words, environment, folder = marshal.loads(call)
        code = run(words, {os.fsdecode(n): os.fsdecode(v) for n, v in environment.items()}, folder)
        atexit._run_exitfuncs()
        connection.sendall(str(code).encode())
        os._exit(0)  # without touching what the server and this process share


def end_with(caller: socket.socket) -> None:
    """Kill this process and its children as soon as the caller has gone."""
    if not caller.recv(1):
        os.killpg(0, signal.SIGKILL)


def run(words: list[str], environment: dict[str, str], folder: str) -> int:
    """Run `-m MODULE …`, `-c CODE …` or `FILE …` here; the exit code."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if hub := sys.modules.get("huggingface_hub.constants"):  # it reads the environment when it is imported
        hub.HF_HUB_OFFLINE = environment.get("HF_HUB_OFFLINE") == "1"
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream = io.TextIOWrapper(io.FileIO(number, "w" if number else "r", closefd=False))
        stream.reconfigure(line_buffering=True)
        setattr(sys, name, stream)
    sys.path[:] = [*environment.get("PYTHONPATH", "").split(":"), *sys.path[1:]]
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            module = "ia3_speech.__main__" if words[1] == "ia3_speech" else words[1]
            sys.modules.pop(module, None)
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(words[1], {"__name__": "__main__"})
        else:
            sys.argv, sys.path[:0] = words, [str(Path(words[0]).resolve().parent)]
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return int(end.code if isinstance(end.code, int) else end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
