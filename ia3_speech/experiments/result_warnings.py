"""What a reader of results must know before the numbers: overlap with training, and training without effect.

In: systems with their scores. Out: `ResultWarning`s, which results.json and the tables of RESULTS.md hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ia3_speech.experiments.systems import System
from ia3_speech.training.records import NOT_IMPROVED


@dataclass(frozen=True)
class ResultWarning:
    """A warning.

    Attributes:
        set: the test set that it is about; None: all of them.
        system: the folder of the system (ia3_seed1) that it is about; None: all of them.
        text: one sentence without a full stop.
    """

    set: str | None
    system: str | None
    text: str


def warnings_of(systems: Sequence[System], sets: Sequence[str]) -> list[ResultWarning]:
    """Of the test sets first: what they have in common with training; then of the systems."""
    found = []
    for name in sets:
        overlaps = overlaps_of(systems, name)
        for text in dict.fromkeys(text for one in overlaps.values() for text in one["warnings"]):
            folders = [folder for folder, one in overlaps.items() if text in one["warnings"]]
            of_all = len(folders) == len(overlaps)
            found += [ResultWarning(name, folder, text) for folder in ([None] if of_all else folders)]
    for folder in dict.fromkeys(one.folder.name for one in systems if one.start_selected):
        text = f"{NOT_IMPROVED}, so the adapter is as it started (try a lower --learning-rate)"
        found.append(ResultWarning(None, folder, text))
    return found


def overlaps_of(systems: Sequence[System], set_name: str) -> dict[str, dict[str, Any]]:
    """Folder of a system → what the test set has in common with its training, where score.json knows it.

    They differ between systems with an adapter a speaker, by how many utterances it was trained on.
    """
    scores = {one.folder.name: one.scores[set_name] for one in systems if set_name in one.scores}
    return {folder: score["overlap"] for folder, score in scores.items() if score.get("overlap")}
