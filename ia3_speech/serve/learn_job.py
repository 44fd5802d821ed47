"""The process of a job: an adapter learns from what is stored of a voice.

    python -m ia3_speech.serve.learn_job anna mini --epochs 4

In: the corrections of a name. Out: its adapter, where it is better; progress.json and result.json, which
`jobs` describes. It ends when its standard input does: with the server.
"""

import logging
import os
import sys
import threading

from ia3_speech import atomic, corrections
from ia3_speech.adapters import registry
from ia3_speech.cli import UserError, command
from ia3_speech.serve.access import voice_folder, voice_record
from ia3_speech.serve.jobs import PROGRESS, RESULT
from ia3_speech.training import multi_adapter
from ia3_speech.training.config import NEAREST
from ia3_speech.training.cross_validation import FOLDS


class JobProgress(logging.Handler):
    """Writes progress.json whenever some of the FOLDS + 1 trainings have ended an epoch.

    Where the base proves better, they are repeated with a lower learning rate: then the share falls.
    """

    def __init__(self, name: str):
        super().__init__()
        self.file, self.done, self.total = voice_folder(name) / PROGRESS, 0, 0

    def emit(self, record: logging.LogRecord) -> None:
        trainings, epoch, epochs = record.args
        self.done += trainings
        if self.done > self.total:
            self.total += (FOLDS + 1) * epochs
        share = round(min(0.98, self.done / self.total), 3)
        atomic.write_json(self.file, {"epoch": epoch, "epochs": epochs, "share": share})


def main(name: str, base: str, *, epochs: int | None = None) -> int:
    """Learn from what is stored of a voice.

    Args:
        name: of the voice, and of its adapter
        base: of a new adapter
        epochs: of training (default: as `ia3-speech corrections learn`)
    """
    threading.Thread(target=end_with_server, daemon=True).start()
    os.nice(5)
    multi_adapter.logger.addHandler(JobProgress(name))
    multi_adapter.logger.setLevel(logging.DEBUG)
    result = voice_folder(name) / RESULT
    try:
        start = None if voice_record(name).get("owner") else NEAREST  # others' adapters are not a key's
        learnt = corrections.learn_voice(name, base, start, epochs)
    except UserError as error:
        atomic.write_json(result, {"reason": str(error).replace(str(registry.home().parent), "…")})
        return 1
    told = {key: learnt.summary[key] for key in ("words", "errors", "base_errors", "utterances")}
    suspicious = [*learnt.summary["suspicious"]]
    learnt_of = {"kept": learnt.kept, "earlier": learnt.earlier, "suspicious": suspicious}
    atomic.write_json(result, told | learnt_of)
    return 0


def end_with_server() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    command(main)
