"""The command: `python -m ia3_speech.adapters list|show|register|remove|rename …`.

    python -m ia3_speech.adapters list                           what `--adapter NAME` can mean here
    python -m ia3_speech.adapters show speaker42                 one adapter, registered or by its path
    python -m ia3_speech.adapters register exp/NAME speaker42    copy it into the store under a name

The store is `$IA3_SPEECH_HOME/adapters`; without that variable, the platform's folder for user data. No
command here loads torch.
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal

from ia3_speech.adapters import store
from ia3_speech.cli import command

COLUMNS = ("name", "base", "placements", "numbers", "labels")


def list_(format: Literal["text", "json"] = "text") -> None:
    """List the adapters of the store: name, base, placements, numbers, labels.

    Args:
        format: text is a table, json an object a line.
    """
    entries = [describe(store.home() / name) for name in store.names()]
    if format == "json":
        print("".join(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in entries), end="")
    elif entries:
        print(table(entries))
    else:
        print(f"no adapter is registered in {store.home()} (register FOLDER NAME)", file=sys.stderr)


def show(adapter: str, format: Literal["text", "json"] = "text") -> None:
    """Show what is known of one adapter: base, placements, labels, training, who registered it.

    Args:
        adapter: a registered name, or an adapter's folder.
        format: text is a line a fact, json an object.
    """
    entry = describe(store.resolve(adapter))
    if format == "json":
        print(json.dumps(entry, indent=2, ensure_ascii=False))
        return
    for name, value in entry.items():
        print(f"{name + ':':<12} {words(value)}")


def register(folder: Path, name: str, force: bool = False, writer: str | None = None) -> None:
    """Copy an adapter into the store, so that `--adapter NAME` finds it.

    Args:
        folder: the adapter's folder, or that of the experiment around it.
        name: letters, digits, - and _; at most 64 characters.
        force: replace another adapter that stands under this name.
        writer: the recipe that registers it; the same recipe may replace it later without --force.
    """
    place = store.register(folder, name, force=force, writer=writer)
    print(f"{place.name}: registered in {place.parent}")


def remove(name: str) -> None:
    """Delete an adapter from the store. The folder that it was registered from stays.

    Args:
        name: a registered name.
    """
    store.remove(name)
    print(f"{name}: removed from {store.home()}")


def rename(old: str, new: str) -> None:
    """Give an adapter of the store another name.

    Args:
        old: a registered name.
        new: its new name; nothing may stand under it.
    """
    place = store.rename(old, new)
    print(f"{old}: is {place.name} now, in {place.parent}")


def describe(folder: Path) -> dict[str, Any]:
    """What the files beside an adapter's tensors, and the heads of the tensors, say of it."""
    about, registered = store.about(folder), store.record_of(folder)
    config, training = about.get("config") or {}, about.get("training") or {}
    entry = {
        "name": folder.name if folder.parent == store.home() else None,
        "path": str(folder.absolute()),
        "base": about.get("base"),
        "placements": config.get("placements"),
        "layers": config.get("layers"),
        "numbers": store.numbers(folder),
        "labels": about.get("labels") or None,
        "training": training or None,
        "created": about.get("created"),
        "sha256": store.weights_sha256(folder),
        "writer": registered.get("writer"),
        "source": registered.get("source"),
        "registered": registered.get("registered"),
    }
    return {name: value for name, value in entry.items() if value is not None}


def table(entries: list[dict[str, Any]]) -> str:
    """Columns under their names, as wide as what stands in them."""
    rows = [[name.upper() for name in COLUMNS]]
    rows += [[words(entry.get(name)) for name in COLUMNS] for entry in entries]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def words(value: Any) -> str:
    """A fact as a person reads it: `key,value`, `speaker=42 accent=scots`, `-` for none."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        return " ".join(f"{name}={words(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value)


def main(argv: list[str] | None = None) -> None:
    commands = {"list": list_, "show": show, "register": register, "remove": remove, "rename": rename}
    command(commands, argv)


if __name__ == "__main__":
    main()
