"""The command: `python -m ia3_speech.adapters list|show|register|remove|rename …`.

    python -m ia3_speech.adapters list                           what `--adapter NAME` can mean here
    python -m ia3_speech.adapters show speaker42 --plot FILE     one adapter, registered or by its path
    python -m ia3_speech.adapters register exp/NAME speaker42    copy it into the store under a name
    python -m ia3_speech.adapters card FOLDER --score FILE       write its README.md, with scores
    python -m ia3_speech.adapters push speaker42 me/speaker42    publish it on the Hugging Face Hub
    python -m ia3_speech.adapters pull me/clinic                 register one that is there
    python -m ia3_speech.adapters combine A:0.7+B --name C       write a sum of adapters as an adapter
    python -m ia3_speech.adapters export speaker42 --out FOLDER  write its base with the adapter folded in

The store is `$IA3_SPEECH_HOME/adapters`; without that variable, the platform's folder for user data. No
command here but `combine` and `export` loads torch.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from ia3_speech import atomic
from ia3_speech.adapters import card as cards
from ia3_speech.adapters import expressions, hub
from ia3_speech.adapters import plot as picture
from ia3_speech.adapters import record as files
from ia3_speech.adapters import registry as store
from ia3_speech.cli import UserError, command

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


def show(adapter: str, format: Literal["text", "json"] = "text", plot: Path | None = None) -> None:
    """Show what is known of one adapter: base, labels, training, scores, and how its vectors lie around 1.

    Args:
        adapter: a registered name, an adapter's folder, or its id on the Hub.
        format: text is a line a fact and a table, json an object.
        plot: draw the vectors by layer and placement into this file (SVG).
    """
    folder = store.resolve(adapter)
    entry = describe(folder)
    try:
        vectors, fault = files.vectors_in(files.read_tensors(folder)), None
    except UserError as error:
        if plot:
            raise
        vectors, fault = [], str(error)
    rows = files.spreads(vectors)
    if plot:
        atomic.write_text(plot, picture.svg(vectors, entry.get("name") or cards.title(files.about(folder))))
    if format == "json":
        print(json.dumps(entry | {"vectors": files.spread_record(rows)}, indent=2, ensure_ascii=False))
        return
    for name, value in entry.items():
        said = "; ".join(map(cards.score_words, value)) if name == "scores" else words(value)
        print(f"{name + ':':<12} {said}")
    if entry.get("biometric"):
        print(f"\n{cards.BIOMETRIC}")
    print(f"\n{files.spread_table(rows)}" if rows else f"\n{fault or 'no vectors'}")


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


def card(folder: Path, name: str | None = None, score: list[Path] | None = None) -> None:
    """Write an adapter's model card, README.md in its folder, again: from its record, with scores.

    Args:
        folder: the adapter's folder, or that of the experiment around it.
        name: the adapter's name, for the title and the lines to copy.
        score: score.json of one or more test sets; they go into ia3_speech.json too.
    """
    place = store.at_path(folder)
    if place is None:
        raise store.UnknownAdapter(store.unknown(str(folder), folder))
    print(f"{cards.update(place, name, score or [])}: written")


def push(
    adapter: str, repo: str, private: bool = False, base: str | None = None, consent: bool = False
) -> None:
    """Publish an adapter on the Hugging Face Hub (log in with `hf auth login`, or set HF_TOKEN).

    Args:
        adapter: a registered name, or an adapter's folder.
        repo: USER/NAME; made where it is missing.
        private: only your account sees it.
        base: the base's id on the Hub, where the adapter records a local folder.
        consent: the person whose voice it was fitted to agrees to its publication.
    """
    print(f"{hub.push(store.resolve(adapter), repo, private=private, base=base, consent=consent)}: pushed")


def pull(repo: str, name: str | None = None, revision: str | None = None, force: bool = False) -> None:
    """Copy an adapter from the Hugging Face Hub into the store.

    Args:
        repo: USER/NAME.
        name: register it under this name (default: NAME).
        revision: a branch, a tag or a commit (default: main).
        force: replace another adapter that stands under this name.
    """
    name = store.check_name(name or repo.rpartition("/")[2])
    place = store.register(hub.fetch(repo, revision), name, force=force, writer=f"the Hub's {repo}")
    print(f"{place.name}: registered in {place.parent}")


def combine(
    expression: str,
    out: Path | None = None,
    name: str | None = None,
    base: str | None = None,
    method: Literal["linear", "log"] = "linear",
    average: bool = False,
    interpolate: float | None = None,
    force: bool = False,
) -> None:
    """Write the sum of adapters as an adapter, into a folder or into the store.

    Args:
        expression: names and paths with weights, such as accent:0.7+medical:0.5 or medical+general:-1
        out: the folder to write
        name: register it under this name
        base: mini, a folder or a hub id (default: the base that the adapters record)
        method: linear adds vectors; log multiplies them, and they have to be positive
        average: give every term the same weight, 1 divided by their number
        interpolate: of two terms, the weight of the first; the second gets the rest
        force: replace an adapter that stands there
    """
    parts = expressions.terms(expression)
    if average and interpolate is not None:
        raise UserError("--average and --interpolate both set the weights (give one of them)")
    if average:
        parts = expressions.averaged(parts)
    if interpolate is not None:
        parts = expressions.interpolated(parts, interpolate)
    check_target(out, name, force)
    from ia3_speech.adapters import combine as arithmetic  # loads torch

    with tempfile.TemporaryDirectory() as room:
        folder = out or Path(room) / "adapter"
        adapter = arithmetic.save(parts, folder, base=base, method=method)
        place = out or store.register(folder, name, force=force)
    numbers = sum(tensor.numel() for tensor in [*adapter.vectors.values(), *adapter.head.values()])
    print(f"{place}: {expressions.written(parts)}, {numbers:,} numbers")


def check_target(out: Path | None, name: str | None, force: bool) -> None:
    """Raises UserError where `combine` has no place to write to, two, or one that is taken."""
    if (out is None) == (name is None):
        raise UserError("say where to write it: --out FOLDER, or --name NAME for the store")
    if out is None:
        store.check_name(name)
    elif out.exists() and not store.is_adapter(out):
        raise UserError(f"{out}: is there already, and is no adapter (give another --out)")
    elif out.exists() and not force:
        raise UserError(f"{out}: another adapter stands there (replace it with --force)")


def export(
    adapter: str,
    out: Path | None = None,
    base: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    force: bool = False,
) -> None:
    """Write a base with an adapter merged into it: a checkpoint that transformers loads without us.

    Args:
        adapter: a name, a path, or a sum such as accent:0.7+medical
        out: the folder to write
        base: mini, a folder or a hub id (default: the base that the adapter records)
        dtype: of the checkpoint's weights; an adapter that float16 can't hold is refused
        force: replace a checkpoint that stands there
    """
    parts = expressions.terms(adapter)
    check_checkpoint(out, force)
    from ia3_speech.adapters import merge  # loads torch

    loaded = merge.export_terms(parts, out, base=base, dtype=dtype)
    print(f"{out}: {expressions.written(parts)}, merged into {loaded.name}")


def check_checkpoint(out: Path | None, force: bool) -> None:
    """Raises UserError where `export` has no place to write to, or one that is taken."""
    if out is None:
        raise UserError("say where to write it: --out FOLDER")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "config.json").is_file():
        raise UserError(f"{out}: is there already, and is no checkpoint (give another --out)")
    if not force:
        raise UserError(f"{out}: another checkpoint stands there (replace it with --force)")


def describe(folder: Path) -> dict[str, Any]:
    """What the files beside an adapter's tensors, and the heads of the tensors, say of it."""
    about, registered = files.about(folder), store.record_of(folder)
    config, training = about.get("config") or {}, about.get("training") or {}
    entry = {
        "name": folder.name if folder.parent == store.home() else None,
        "path": str(folder.absolute()),
        "base": about.get("base"),
        "placements": config.get("placements"),
        "layers": config.get("layers"),
        "numbers": files.numbers(folder),
        "labels": about.get("labels") or None,
        "biometric": cards.is_biometric(about) or None,
        "training": training or None,
        "scores": about.get("scores") or None,
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
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, dict):
        return " ".join(f"{name}={words(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ",".join(map(words, value))
    return str(value)


def main(argv: list[str] | None = None) -> None:
    commands = {
        "list": list_,
        "show": show,
        "register": register,
        "remove": remove,
        "rename": rename,
        "card": card,
        "push": push,
        "pull": pull,
        "combine": combine,
        "export": export,
    }
    command(commands, argv)


if __name__ == "__main__":
    main()
