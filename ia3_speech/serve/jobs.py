"""Training jobs of voices: one at a time, each in a separate process, so that the server keeps answering.

    voices/anna/voice.json      the owner, the time of consent, whether the adapter is made of the voice
    voices/anna/state.json      {"state": "running", "epochs": 4, "queued": 1795843200.5}
    voices/anna/report.json     by the process, each second: {"progress": {"step": "training on all",
                                "epoch": 2, "epochs": 4, "share": 0.4, "seconds_left": 9}}; then
                                {"result": {"kept": true, "words": 60, "base_errors": 24, …}}, or a reason

In: names of voices. Out: adapters by `voice.learn_voice`, in the registry. A new server continues with queued
jobs, and repeats a job that was running. The process ends with its standard input. Only the holder of the
lock of a store writes here.
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
from functools import partial
from typing import Any

from filelock import FileLock

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_json
from ia3_speech.adapters.spec import stamp_of
from ia3_speech.common import atomic
from ia3_speech.common.errors import StoreLocked, UserError
from ia3_speech.common.progress import Progress
from ia3_speech.serve.errors import ApiError, public_reason
from ia3_speech.voices import voice
from ia3_speech.voices.store import REMOVAL_SECONDS, is_stored, only_writer, voice_folder

logger = logging.getLogger(__name__)

STATE, REPORT = "state.json", "report.json"
POLL_SECONDS = 5.0  # between searches for jobs that other servers have queued
UNFINISHED = ("queued", "running")
STATES = (*UNFINISHED, "done", "failed", "cancelled")
# Of a summary, for the page
RESULTS = ("words", "base_errors", "start_errors", "errors", "init_adapter", "general", "missed")
GRACE_SECONDS = 10.0  # for an interrupted process to delete its temporary files


def read_job(name: str) -> dict[str, Any]:
    """A voice's last job: state (see STATES), queued (time), epochs, start, progress or result; empty if
    there was no job, or its file is damaged."""
    job: dict[str, Any] = {}
    for file in (REPORT, STATE):
        with suppress(UserError):
            job |= read_json(voice_folder(name) / file)
    return job if job.get("state") in STATES and isinstance(job.get("queued"), int | float) else {}


class Jobs:
    """The jobs beside this registry; `base` is that of new voices. A second server with the same registry
    waits until the first has ended."""

    def __init__(self, base: str):
        self.base, self.root = base, voice_folder("x").parent
        self.changing, self.wake = threading.Lock(), threading.Event()
        self.closing, self.cancelled, self.process, self.learning = False, False, None, ""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        threading.Thread(target=self.work, name="jobs", daemon=True).start()

    def close(self) -> None:
        """End the process of a running job, which the next server repeats."""
        with self.changing:
            self.closing = True
            if self.process:
                self.process.terminate()
        self.wake.set()

    def add(self, name: str, epochs: int | None, start: str | None = None) -> None:
        """Queue a voice, whose lock is held, and whose training has this `start`, as `learn_voice`. Raises
        ApiError 409 if it is already queued or running."""
        if read_job(name).get("state") in UNFINISHED:
            raise ApiError(409, f"{name} is learning at the moment (wait, or cancel it).", "learning")
        (voice_folder(name) / REPORT).unlink(missing_ok=True)
        stamp = start and [*stamp_of(registry.adapters_dir() / start)]
        self.write(name, "queued", epochs=epochs, start=start, stamp=stamp, queued=time.time())
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
        """Write the state of a job of a voice whose lock is held."""
        job = {key: read_job(name).get(key) for key in ("epochs", "start", "stamp", "queued")}
        atomic.write_json(voice_folder(name) / STATE, {"state": state} | job | more)

    def names(self) -> list[str]:
        """The voices with unfinished jobs, the oldest first. A running job without a process belongs to a
        server that has ended, or could not write the end of the job."""
        jobs = {file.parent.name: read_job(file.parent.name) for file in self.root.glob(f"*/{STATE}")}
        queued = {name: job["queued"] for name, job in jobs.items() if job.get("state") in UNFINISHED}
        return sorted(queued, key=queued.__getitem__)

    def work(self) -> None:
        """The thread: run the jobs one after another; a failure does not stop the others."""
        with FileLock(self.root / ".lock"):
            while not self.closing:
                for name in self.names():
                    try:
                        self.run(name)
                    except StoreLocked:  # the job waits for another command
                        pass
                    except Exception as error:  # a full disk, a damaged file
                        logger.error("a job waits: %s", getattr(error, "strerror", None) or type(error))
                self.wake.wait(POLL_SECONDS)
                self.wake.clear()

    def run(self, name: str) -> None:
        """Run a job to its end. The output of its process, which may quote a text, is discarded."""
        with only_writer(name), self.changing:
            job = read_job(name)
            if self.closing or job.get("state") not in UNFINISHED:
                return
            start = job.get("start")
            if start and job.get("stamp") != [*stamp_of(registry.adapters_dir() / str(start))]:
                self.write(name, "failed")  # its name may be another key's by now
                report(name, result={"reason": "The adapter to start from has changed."})
                return
            self.write(name, "running")
            command = [sys.executable, "-m", "ia3_speech.serve.jobs", name, self.base]
            command += [str(job.get("epochs") or ""), str(job.get("start") or "")]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self.learning, self.cancelled = name, False
            # In its own session: a signal that ends the server (Ctrl-C, systemd) must not fail the job.
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, **quiet)
        with self.process as process:
            code = process.wait()
        with self.changing:
            self.process = None
            if self.closing:
                return
        state = "cancelled" if self.cancelled else "failed" if code else "done"
        with only_writer(name, REMOVAL_SECONDS):  # deletes the temporary files of a process that was killed
            if read_job(name).get("state") == "running":
                self.write(name, state)
                if state == "failed" and "result" not in read_job(name):
                    logger.error("defect: the process of a job ended with %d", code)


def report(name: str, **content: Any) -> None:
    atomic.write_json(voice_folder(name) / REPORT, content)


def report_progress(name: str, progress: Progress) -> None:
    """Report the step that runs: its name, in training the epoch, its share that is done and its seconds
    left, if they are known."""
    record = {"step": progress.name} | progress.epoch
    if (left := progress.seconds_left) is not None:
        record |= {"share": round(progress.n / progress.total, 3), "seconds_left": round(left)}
    with suppress(UserError, OSError):  # a full disk
        report(name, progress=record)


def main(name: str, base: str, epochs: str, start: str) -> int:
    """Train the adapter of a voice, and report the result; returns the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):  # so that temporary files are deleted
        signal.signal(number, signal.default_int_handler)
    threading.Thread(target=end_with_server, daemon=True).start()
    if hasattr(os, "nice"):  # requests come first
        os.nice(10)
    Progress.watcher = partial(report_progress, name)
    with only_writer(name):  # until the result is written, so that no deleted voice gets a result
        if not is_stored(name):
            return 1
        report(name, progress={"step": "loading the base"})  # PyTorch's import is part of it
        try:
            learned = voice.learn_voice(name, base, start or None, int(epochs) if epochs else None)
        except UserError as error:
            report(name, result={"reason": public_reason(error)})
            return 1
        result = {key: learned.summary.get(key) for key in RESULTS}
        report(name, result=result | {"kept": learned.kept, "suspicious": [*learned.summary["suspicious"]]})
    return 0


def end_with_server() -> None:
    """Interrupt the process when its standard input ends."""
    os.read(0, 1)
    _thread.interrupt_main(signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
