"""The records of a finished training: train.json, task.json, config.yaml. Nothing here loads torch.

In: a file, or a folder of them. Out: dictionaries.
"""

import json
from pathlib import Path
from typing import Any

from ia3_speech.cli import UserError


def read_training_record(file: Path) -> dict[str, Any]:
    """The contents of train.json or task.json.

    Raises:
        OSError, ValueError: it is missing, or not a JSON object.
    """
    record = json.loads(file.read_text("utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"{file}: not a JSON object")
    return record


def read_training_options(file: Path) -> dict[str, Any]:
    """The contents of config.yaml. Raises OSError where it is missing."""
    import yaml

    return yaml.safe_load(file.read_text("utf-8"))


def read_adaptation_utterances(folder: Path) -> dict[str, list[str]]:
    """Tested utterance → those that its adapter was trained on, by their ids.

    Args:
        folder: what `ia3-speech speakers --folds N`, or `train` without dev, wrote.

    Raises:
        UserError: no task.json there has tested an utterance, or one is damaged.
    """
    utterances = {}
    for file in task_files(folder):
        try:
            task = read_training_record(file)
            utterances |= dict.fromkeys(task["texts"], task["trained_on"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{file}: damaged (run ia3-speech speakers again): {error!r}") from error
    if not utterances:
        raise UserError(
            f"{folder}: no SPEAKER/foldN/task.json that tested an utterance (run ia3-speech speakers with "
            f"--folds 4)"
        )
    return utterances


def task_files(folder: Path) -> list[Path]:
    """The record of each speaker and fold."""
    return sorted(folder.glob("*/fold*/task.json"))
