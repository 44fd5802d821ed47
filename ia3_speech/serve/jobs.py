"""Learning as jobs: one at a time, each in a process of its own, so that the server keeps answering.

    voices/anna/voice.json      whose it is, when consent was given, whether the adapter is made of it
    voices/anna/state.json      {"state": "running", "epochs": 4, "queued": 1795843200.5}
    voices/anna/progress.json   {"epoch": 2, "epochs": 4, "share": 0.4}; it and the next are the process's
    voices/anna/result.json     {"kept": true, "words": 60, "base_errors": 24, "errors": 12, …}, or a reason

In: names of voices. Out: what `voice.learn_voice` makes of them, in the registry, beside which the
folders lie. A server that starts goes on with what is queued, and begins again what was running. The process
is `python -m ia3_speech.serve.jobs NAME BASE EPOCHS START`; it ends when its standard input does.
"""

import logging
import os
import shutil
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
from ia3_speech.cli import UserError
from ia3_speech.corrections import voice
from ia3_speech.corrections.voice import voice_folder
from ia3_speech.serve.errors import ApiError

logger = logging.getLogger(__name__)

STATE, PROGRESS, RESULT = "state.json", "progress.json", "result.json"
EVERY = 5.0  # seconds between two looks for what other servers have queued


def read_job(name: str) -> dict[str, Any]:
    """A voice's last job: state (queued, running, done, failed, cancelled), epochs, progress, result; empty
    where there was none."""
    state, *files = (voice_folder(name) / file for file in (STATE, PROGRESS, RESULT))
    found = read_json(state) if state.is_file() else {}
    return found | {file.stem: read_json(file) for file in files if found and file.is_file()}


def public_reason(error: UserError) -> str:
    """What an error says, without where this server keeps its files."""
    return str(error).replace(str(registry.home().parent), "…")


class Jobs:
    """The jobs beside this registry. A second server on it waits until the first has ended.

    Args:
        base: of new voices, as `--base` names it.
        start: as `learn_voice` takes it.
    """

    def __init__(self, base: str, start: str | None):
        self.base, self.start, self.root = base, start or "", voice_folder("x").parent
        self.changing, self.wake = threading.Lock(), threading.Event()
        self.closing, self.cancelled, self.process = False, False, None
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

    def add(self, name: str, epochs: int | None) -> None:
        """Queue a voice. Raises ApiError 409 where it is there already."""
        with self.changing:
            self.refuse_unfinished(name)
            for file in (PROGRESS, RESULT):
                (voice_folder(name) / file).unlink(missing_ok=True)
            self.write(name, "queued", epochs=epochs, queued=time.time())
        self.wake.set()

    def cancel(self, name: str) -> None:
        """Cancel a voice's job, if it has not ended."""
        with self.changing:
            state = read_job(name).get("state")
            if state == "queued":
                self.write(name, "cancelled")
            elif state == "running" and self.process:  # one at a time: it is this one
                self.cancelled = True
                self.process.terminate()

    def forget(self, name: str) -> None:
        """Delete all that is known of a voice here. Raises ApiError 409 while it learns."""
        with self.changing:
            self.refuse_unfinished(name)
            shutil.rmtree(voice_folder(name), ignore_errors=True)

    def refuse_unfinished(self, name: str) -> None:
        if read_job(name).get("state") in ("queued", "running"):
            raise ApiError(409, f"{name} is learning at the moment (wait, or cancel it).", "learning")

    def write(self, name: str, state: str, **more: Any) -> None:
        kept = {key: value for key, value in read_job(name).items() if key in ("epochs", "queued")}
        atomic.write_json(voice_folder(name) / STATE, {"state": state} | kept | more)

    def names(self, state: str) -> list[str]:
        """The voices whose jobs are in a state, the oldest first."""
        queued = {}
        for name in (file.parent.name for file in self.root.glob(f"*/{STATE}")):
            with suppress(OSError, UserError):  # damaged, or deleted a moment ago
                if (job := read_job(name)).get("state") == state:
                    queued[name] = job["queued"]
        return sorted(queued, key=queued.__getitem__)

    def work(self) -> None:
        """The thread: run one job after the other."""
        with FileLock(self.root / ".lock"):
            while not self.closing:
                try:
                    for name in self.names("running"):  # of a server that ended, or could not write its end
                        self.write(name, "queued")
                    if names := self.names("queued"):
                        self.run(names[0])
                        continue
                except OSError as error:  # a full disk
                    logger.error("jobs wait: %s", error.strerror)
                self.wake.wait(EVERY)
                self.wake.clear()

    def run(self, name: str) -> None:
        """Run a job to its end. What its process prints may hold words of a text, and goes nowhere."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with self.changing:
            job = read_job(name)
            if self.closing or job.get("state") != "queued":
                return
            self.write(name, "running")
            command = [sys.executable, "-m", "ia3_speech.serve.jobs", name, self.base]
            command += [str(job["epochs"] or ""), self.start]
            # In a session of its own: what ends the server (Ctrl-C, systemd) must not seem to be its failure.
            more = {"stdin": subprocess.PIPE, "start_new_session": True, **quiet}
            self.cancelled, self.process = False, subprocess.Popen(command, **more)
        with self.process as process:
            code = process.wait()
        with self.changing:
            self.process = None
            if not self.closing:
                state = "cancelled" if self.cancelled else "failed" if code else "done"
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
    from ia3_speech.speakers.cross_validation import FOLDS
    from ia3_speech.training import multi_adapter

    threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()  # ends with the server
    if hasattr(os, "nice"):  # requests come first
        os.nice(10)
    multi_adapter.logger.addHandler(JobProgress(name, FOLDS + 1))
    multi_adapter.logger.setLevel(logging.DEBUG)
    try:
        learnt = voice.learn_voice(name, base, start or None, int(epochs) if epochs else None)
    except UserError as error:
        atomic.write_json(voice_folder(name) / RESULT, {"reason": public_reason(error)})
        return 1
    told = {key: learnt.summary.get(key) for key in ("words", "base_errors", "errors", "general", "missed")}
    told |= {"kept": learnt.kept, "suspicious": [*learnt.summary["suspicious"]]}
    atomic.write_json(voice_folder(name) / RESULT, told)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
