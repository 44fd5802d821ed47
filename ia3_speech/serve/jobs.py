"""Learning as jobs: one at a time, each in a process of its own, so that the server keeps answering.

    voices/anna/voice.json      whose it is, when consent was given, whether the adapter is made of it
    voices/anna/state.json      {"state": "running", "epochs": 4, "queued": 1795843200.5}
    voices/anna/progress.json   {"epoch": 2, "epochs": 4, "share": 0.4}; it and the next are the process's
    voices/anna/result.json     {"kept": true, "words": 60, "base_errors": 24, "errors": 12, …}, or a reason

In: names of voices. Out: what `voice.learn_voice` makes of them, in the registry, beside which the
folders lie. A server that starts goes on with what is queued, and begins again what was running. The process
is `python -m ia3_speech.serve.jobs NAME BASE EPOCHS START`; it ends when its standard input does. However
it ends, whoever locks the store next deletes what it has left there. What is written of a job is written by
the holder of that lock.
"""

import _thread
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from filelock import FileLock

from ia3_speech import atomic
from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_json
from ia3_speech.corrections import voice
from ia3_speech.corrections.store import REMOVAL_SECONDS, is_stored, only_writer, voice_folder
from ia3_speech.errors import StoreLocked, UserError
from ia3_speech.serve.errors import ApiError

logger = logging.getLogger(__name__)

STATE, PROGRESS, RESULT = "state.json", "progress.json", "result.json"
EVERY = 5.0  # seconds between two looks for what other servers have queued
UNFINISHED = ("queued", "running")
STATES = (*UNFINISHED, "done", "failed", "cancelled")
TOLD = ("words", "base_errors", "errors", "general", "missed")  # of what learning came to
GRACE = 10.0  # seconds in which a process that is to end deletes what it was working on


def read_job(name: str) -> dict[str, Any]:
    """A voice's last job: state (see STATES), queued (when), epochs, start, progress, result; empty where
    there was none, or its file is damaged."""
    found: dict[str, dict[str, Any]] = {}
    for file in (STATE, PROGRESS, RESULT):
        with suppress(UserError):
            found[file.removesuffix(".json")] = read_json(voice_folder(name) / file)
    job = found.pop("state", {})
    sound = job.get("state") in STATES and isinstance(job.get("queued"), int | float)
    return job | found if sound else {}


def public_reason(error: UserError) -> str:
    """What an error says, without where this server keeps its files."""
    return str(error).replace(str(registry.home()), "…")


class Jobs:
    """The jobs beside this registry. A second server on it waits until the first has ended.

    Args:
        base: of new voices, as `--base` names it.
        start: as `learn_voice` takes it.
    """

    def __init__(self, base: str, start: str | None):
        self.base, self.start, self.root = base, start or "", voice_folder("x").parent
        self.changing, self.wake = threading.Lock(), threading.Event()
        self.closing, self.cancelled, self.process, self.learning = False, False, None, ""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        threading.Thread(target=self.work, name="jobs", daemon=True).start()

    def close(self) -> None:
        """End the process of a running job, which the next server begins again."""
        with self.changing:
            self.closing = True
            if self.process:
                self.process.terminate()
        self.wake.set()

    def add(self, name: str, epochs: int | None, start: str | None = None) -> None:
        """Queue a voice, which begins with the vectors of `start`. Raises ApiError 409 where it is there
        already."""
        with only_writer(name):
            if read_job(name).get("state") in UNFINISHED:
                raise ApiError(409, f"{name} is learning at the moment (wait, or cancel it).", "learning")
            for file in (PROGRESS, RESULT):
                (voice_folder(name) / file).unlink(missing_ok=True)
            self.write(name, "queued", epochs=epochs, start=start, queued=time.time())
        self.wake.set()

    def cancel(self, name: str) -> None:
        """Cancel a voice's job, if it has not ended."""
        with self.changing:
            if self.process and self.learning == name:
                self.cancelled = True
                self.process.terminate()
                return
        with only_writer(name):
            if read_job(name).get("state") in UNFINISHED:
                self.write(name, "cancelled")

    def write(self, name: str, state: str, **more: Any) -> None:
        """Write the state of a job, unless its voice has been deleted. Raises StoreLocked."""
        with only_writer(name):
            if is_stored(name):
                job = {key: read_job(name).get(key) for key in ("epochs", "start", "queued")}
                atomic.write_json(voice_folder(name) / STATE, {"state": state} | job | more)

    def names(self) -> list[str]:
        """The voices whose jobs have not ended, the oldest first. One that is running while none runs here is
        of a server that has ended, or could not write its end."""
        queued = {}
        for name in (file.parent.name for file in self.root.glob(f"*/{STATE}")):
            if not registry.name_fault(name) and (job := read_job(name)).get("state") in UNFINISHED:
                queued[name] = job["queued"]
        return sorted(queued, key=queued.__getitem__)

    def work(self) -> None:
        """The thread: run one job after the other, whatever becomes of one."""
        with FileLock(self.root / ".lock"):
            while not self.closing:
                for name in self.names():
                    try:
                        self.run(name)
                    except StoreLocked:  # it waits for another command
                        pass
                    except Exception as error:  # a full disk, a damaged file
                        logger.error("a job waits: %s", getattr(error, "strerror", None) or type(error))
                self.wake.wait(EVERY)
                self.wake.clear()

    def run(self, name: str) -> None:
        """Run a job to its end. What its process prints may hold words of a text, and goes nowhere."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with only_writer(name), self.changing:
            job = read_job(name)
            if self.closing or job.get("state") not in UNFINISHED:
                return
            self.write(name, "running")
            command = [sys.executable, "-m", "ia3_speech.serve.jobs", name, self.base]
            command += [str(job.get("epochs") or ""), str(job.get("start") or self.start)]
            # In a session of its own: what ends the server (Ctrl-C, systemd) must not seem to be its failure.
            more = {"stdin": subprocess.PIPE, "start_new_session": True, **quiet}
            self.learning, self.cancelled = name, False
            self.process = subprocess.Popen(command, **more)
        with self.process as process:
            code = process.wait()
        with self.changing:
            self.process = None
            if self.closing:
                return
        state = "cancelled" if self.cancelled else "failed" if code else "done"
        with only_writer(name, REMOVAL_SECONDS):  # which deletes what a process that was killed left
            if read_job(name).get("state") == "running":
                self.write(name, state)
                if state == "failed" and "result" not in read_job(name):
                    logger.error("defect: the process of a job ended with %d", code)


# ---- the process of a job


class JobProgress(logging.Handler):
    """Writes progress.json whenever some of the trainings, those of the folds and the last, end an epoch.
    Where the base proves better, they are repeated with a lower learning rate: then the share falls."""

    def __init__(self, name: str, trainings: int):
        super().__init__()
        self.file, self.trainings, self.done, self.total = voice_folder(name) / PROGRESS, trainings, 0, 0

    def emit(self, record: logging.LogRecord) -> None:
        trainings, epoch, epochs = record.epoch_of_tasks
        self.done += trainings
        self.total += self.trainings * epochs if self.done > self.total else 0
        share = round(min(0.98, self.done / self.total), 3)
        atomic.write_json(self.file, {"epoch": epoch, "epochs": epochs, "share": share})


def main(name: str, base: str, epochs: str, start: str) -> int:
    """Learn from what is stored of a voice, and write how it went; → the exit code."""
    from ia3_speech.training import multi_adapter
    from ia3_speech.training.cross_validation import FOLDS

    for number in (signal.SIGTERM, signal.SIGINT):  # so that what was worked on is deleted
        signal.signal(number, signal.default_int_handler)
    threading.Thread(target=end_with_server, daemon=True).start()
    if hasattr(os, "nice"):  # requests come first
        os.nice(10)
    multi_adapter.logger.addHandler(JobProgress(name, FOLDS + 1))
    multi_adapter.logger.setLevel(logging.DEBUG)
    with only_writer(name):  # until the result is written: so nothing is, of a voice that has been deleted
        if not is_stored(name):
            return 1
        try:
            learnt = voice.learn_voice(name, base, start or None, int(epochs) if epochs else None)
        except UserError as error:
            atomic.write_json(voice_folder(name) / RESULT, {"reason": public_reason(error)})
            return 1
        told = {key: learnt.summary.get(key) for key in TOLD}
        told |= {"kept": learnt.kept, "suspicious": [*learnt.summary["suspicious"]]}
        atomic.write_json(voice_folder(name) / RESULT, told)
    return 0


def end_with_server() -> None:
    """Interrupt the process when its standard input ends."""
    os.read(0, 1)
    _thread.interrupt_main(signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
