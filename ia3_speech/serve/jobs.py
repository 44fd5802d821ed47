"""Learning as jobs: one at a time, each in a process of its own, so that the server keeps answering.

    voices/anna/voice.json      whose it is, when consent was given, whether the adapter is made of it
    voices/anna/state.json      {"state": "running", "epochs": 4, "queued": 1795843200.5}
    voices/anna/progress.json   {"epoch": 2, "epochs": 4, "share": 0.4}; it and the next are the process's
    voices/anna/result.json     {"kept": true, "words": 60, "before": 24, "after": 12, …}, or a reason

In: names of voices. Out: what `learn_job` makes of them, in the registry. The folders lie beside the
registry's. A server that starts goes on with what is queued, and begins again what it was in the middle of.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ia3_speech import atomic
from ia3_speech.adapters.record import read_json
from ia3_speech.serve.access import VOICE, voice_folder
from ia3_speech.serve.errors import ApiError

STATE, PROGRESS, RESULT = "state.json", "progress.json", "result.json"
EVERY = 0.2  # seconds between two looks at a process
UNFINISHED = ("queued", "running")


def read_job(name: str) -> dict[str, Any] | None:
    """What there is to tell of a voice's last job: state (queued, running, done, failed, cancelled), epochs,
    progress, result, reason; None where there was none."""
    files = {key: voice_folder(name) / file for key, file in (("progress", PROGRESS), ("result", RESULT))}
    if not (state := voice_folder(name) / STATE).is_file():
        return None
    job = read_json(state) | {key: read_json(file) for key, file in files.items() if file.is_file()}
    return job | {"reason": job["result"]["reason"]} if "reason" in job.get("result", {}) else job


class Jobs:
    """The jobs of this machine's registry; a second server on it waits until the first has ended.

    Args:
        base: of new voices, as `--base` names it.
    """

    def __init__(self, base: str):
        self.base, self.root = base, voice_folder("x").parent
        self.changing, self.wake = threading.Lock(), threading.Event()
        self.cancelled: set[str] = set()
        self.closing, self.thread = False, None
        if self.root.is_dir():
            self.start()

    def start(self) -> None:
        if self.thread is None:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(0o700)
            self.thread = threading.Thread(target=self.work, name="jobs")
            self.thread.start()

    def close(self) -> None:
        """End the process of a running job, which a later server begins again."""
        self.closing = True
        self.wake.set()
        if self.thread:
            self.thread.join()

    def add(self, name: str, epochs: int | None) -> None:
        """Queue a voice. Raises ApiError 409 where it is there already."""
        with self.changing:
            self.refuse_unfinished(name)
            for file in (PROGRESS, RESULT):
                (voice_folder(name) / file).unlink(missing_ok=True)
            self.write(name, "queued", epochs=epochs, queued=time.time())
            self.start()
        self.wake.set()

    def cancel(self, name: str) -> None:
        """Cancel a voice's job, if it has not ended."""
        with self.changing:
            state = (read_job(name) or {}).get("state")
            if state == "queued":
                self.write(name, "cancelled")
            elif state == "running":
                self.cancelled.add(name)

    def forget(self, name: str) -> None:
        """Delete all that is known of a voice here. Raises ApiError 409 while it learns."""
        with self.changing:
            self.refuse_unfinished(name)
            shutil.rmtree(voice_folder(name), ignore_errors=True)

    def refuse_unfinished(self, name: str) -> None:
        if (read_job(name) or {}).get("state") in UNFINISHED:
            raise ApiError(409, f"{name} is learning at the moment (wait, or cancel it).", "learning")

    def write(self, name: str, state: str, **more: Any) -> None:
        file = voice_folder(name) / STATE
        old = read_json(file) if file.is_file() else {}
        atomic.write_json(file, old | more | {"state": state})

    # ---- the thread

    def names(self, state: str) -> list[str]:
        """The voices whose jobs are in a state, the oldest first."""
        known = {folder.name: read_job(folder.name) for folder in self.root.iterdir() if folder.is_dir()}
        names = [name for name, job in known.items() if job and job["state"] == state]
        return sorted(names, key=lambda name: known[name]["queued"])

    def work(self) -> None:
        """Run one job after the other, as long as the server runs and no other one does so."""
        lock = FileLock(self.root / ".lock")
        while not self.closing and not lock.is_locked:
            try:
                lock.acquire(timeout=EVERY)
            except Timeout:
                continue
        for name in self.names("running"):
            self.write(name, "queued")
        while not self.closing:
            if not self.run_next():
                self.wake.wait()
                self.wake.clear()
        lock.release()

    def run_next(self) -> bool:
        """Run the job that has waited longest; → whether there was one."""
        with self.changing:
            if not (names := self.names("queued")):
                return False
            self.write(name := names[0], "running")
            self.cancelled.discard(name)
        epochs = (read_job(name) or {}).get("epochs")
        command = [sys.executable, "-m", "ia3_speech.serve.learn_job", name, self.base]
        command += ["--epochs", str(epochs)] if epochs else []
        # What it prints may hold words of a text. When its standard input ends, it ends.
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ, **quiet) as process:
            while process.poll() is None:
                if self.closing or name in self.cancelled:
                    process.terminate()
                    process.wait()
                else:
                    time.sleep(EVERY)
        ended = {0: "done"}.get(process.returncode, "failed")
        stopped = process.returncode and (
            "queued" if self.closing else name in self.cancelled and "cancelled"
        )
        with self.changing:
            self.write(name, stopped or ended)
        return True


def new_voice(name: str, **record: Any) -> None:
    """Write what a voice begins with: owner (the hash of a key, or None), consent, made."""
    atomic.write_json(Path(voice_folder(name) / VOICE), record)
