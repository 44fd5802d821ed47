"""What adapters of speakers, or of folds, were trained on: their task.json. Nothing here loads torch."""

from pathlib import Path

from ia3_speech.adapters.record import read_json
from ia3_speech.cli import UserError


def read_adaptation_utterances(folder: Path) -> dict[str, list[str]]:
    """Tested utterance → those that its adapter was trained on, by their ids.

    Args:
        folder: what `ia3-speech speakers --folds N`, or `train` without dev, wrote.

    Raises:
        UserError: no task.json there has tested an utterance, or one is damaged.
    """
    utterances = {}
    for task in map(read_json, task_files(folder)):
        utterances |= dict.fromkeys(task["texts"], task["trained_on"])
    if not utterances:
        raise UserError(
            f"{folder}: no SPEAKER/foldN/task.json that tested an utterance (run ia3-speech speakers with "
            f"--folds 4)"
        )
    return utterances


def task_files(folder: Path) -> list[Path]:
    """The record of each speaker and fold."""
    return sorted(folder.glob("*/fold*/task.json"))
