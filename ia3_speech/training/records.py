"""The records of a finished training: train.json, task.json, rows of metrics.jsonl, config.yaml.

In: a file, or a row of it, also one that an earlier version wrote. Out: a dictionary under the present names.
Nothing here loads torch.
"""

import json
from pathlib import Path
from typing import Any

from ia3_speech.cli import UserError
from ia3_speech.training.config import SharedOptions

NOT_IMPROVED = "no epoch improved on the start"  # the note in train.json
FORMER_FIELDS = {
    "kept_epoch": "selected_epoch",
    "start_kept": "not_improved",
    "learnt_from": "trained_on",
    "held_back": "held_out",
    "held_back_losses": "held_out_losses",
    "best_pass": "best_epoch",
}


def present_names(record: dict[str, Any]) -> dict[str, Any]:
    """A record, or a row of metrics.jsonl, with the field names of this version."""
    return {FORMER_FIELDS.get(name, name): value for name, value in record.items()}


def read_training_record(file: Path) -> dict[str, Any]:
    """The contents of train.json or task.json.

    Raises:
        OSError, ValueError: it is missing, or not a JSON object.
    """
    record = json.loads(file.read_text("utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"{file}: not a JSON object")
    return present_names(record)


def read_adaptation_utterances(folder: Path) -> dict[str, list[str]]:
    """Tested utterance → those that trained its adapter, or selected its epoch, by their ids.

    Args:
        folder: what `ia3-speech speakers --folds N` wrote.

    Raises:
        UserError: no task.json there has tested an utterance, or one is damaged.
    """
    found = {}
    for file in task_files(folder):
        try:
            task = read_training_record(file)
            found |= dict.fromkeys(task["texts"], task["trained_on"] + task["held_out"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{file}: damaged (run ia3-speech speakers again): {error!r}") from error
    if not found:
        raise UserError(
            f"{folder}: no SPEAKER/foldN/task.json that tested an utterance (run ia3-speech speakers with "
            f"--folds 4)"
        )
    return found


def task_files(folder: Path) -> list[Path]:
    """The record of each speaker and fold."""
    return sorted(folder.glob("*/fold*/task.json"))


def read_training_options(file: Path) -> dict[str, Any]:
    """The contents of config.yaml. Raises OSError where it is missing."""
    import yaml

    options = yaml.safe_load(file.read_text("utf-8"))
    return {SharedOptions.FORMER_NAMES.get(name, name): value for name, value in options.items()}
