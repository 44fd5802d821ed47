"""What `adapters list` and `adapters show` print of an adapter.

In: an adapter's folder. Out: what its record, the headers of its tensors and its registration say, as JSON or
as text. Nothing here loads torch.
"""

from pathlib import Path
from typing import Any

from ia3_speech.adapters import registry
from ia3_speech.adapters.card import is_biometric
from ia3_speech.adapters.record import read_summary
from ia3_speech.adapters.weights import parameters_in, weights_sha256
from ia3_speech.formatting import in_columns

COLUMNS = ("name", "base", "placements", "parameters", "labels")


def describe_adapter(folder: Path) -> dict[str, Any]:
    """What an adapter's record, the headers of its tensors and its registration say of it."""
    summary, registration = read_summary(folder), registry.registration_of(folder)
    config, training = summary.get("config") or {}, summary.get("training") or {}
    entry = {
        "name": folder.name if folder.parent == registry.home() else None,
        "path": str(folder.absolute()),
        "base": summary.get("base"),
        "placements": config.get("placements"),
        "layers": config.get("layers"),
        "parameters": parameters_in(folder),
        "labels": summary.get("labels") or None,
        "biometric": is_biometric(summary) or None,
        "training": training or None,
        "scores": summary.get("scores") or None,
        "created": summary.get("created"),
        "sha256": weights_sha256(folder),
        "writer": registration.get("writer"),
        "source": registration.get("source"),
        "registered": registration.get("registered"),
    }
    return {name: value for name, value in entry.items() if value is not None}


def format_listing(entries: list[dict[str, Any]]) -> str:
    """Columns under their names, as wide as their contents:

    NAME       BASE  PLACEMENTS  PARAMETERS  LABELS
    speaker42  mini  key,value   12          speaker=42 accent=scots
    """
    rows = [[name.upper() for name in COLUMNS]]
    rows += [[format_value(entry.get(name)) for name in COLUMNS] for entry in entries]
    return "\n".join(in_columns(rows, left=range(len(COLUMNS))))


def format_value(value: Any) -> str:
    """A fact for people: `key,value`, `speaker=42 accent=scots`, `-` for none."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, dict):
        return " ".join(f"{name}={format_value(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ",".join(map(format_value, value))
    return str(value)
