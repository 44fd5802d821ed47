"""List, show, register, publish, combine and export adapters.

    ia3-speech adapters list                           the names that `--adapter` knows here
    ia3-speech adapters show speaker42 --plot FILE     one adapter, registered or by its path
    ia3-speech adapters register exp/NAME speaker42    copy it into the registry under a name
    ia3-speech adapters card FOLDER --score FILE       write its README.md, with scores
    ia3-speech adapters gate speaker42 --data DIR      let --adapter auto choose it
    ia3-speech adapters push speaker42 me/speaker42    publish it on the Hugging Face Hub
    ia3-speech adapters pull me/clinic                 register one from the Hub
    ia3-speech adapters combine A:0.7+B --name C       write a sum of adapters as an adapter
    ia3-speech adapters combine --average A B --name C write their mean
    ia3-speech adapters export speaker42 --out FOLDER  write its base with the adapter merged

The registry is `$IA3_SPEECH_HOME/adapters`; without that variable, the platform's folder for user data.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ia3_speech.adapters import hub, registry
from ia3_speech.adapters.card import BIOMETRIC, card_title, score_line, update_card
from ia3_speech.adapters.record import GATE, GUARD, read_summary
from ia3_speech.adapters.spec import AdapterSpec, parse_sum, short_name, term_at
from ia3_speech.adapters.weights import format_spreads, read_weights, spreads, vectors_in
from ia3_speech.common.errors import AdapterError, UserError
from ia3_speech.common.formatting import in_columns, plural
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.model.location import base_folder

COLUMNS = ("name", "base", "placements", "parameters", "labels")  # of `list`


def list_(format: Literal["text", "json"] = "text") -> None:
    """List the registered adapters: name, base, placements, parameters, labels.

    Args:
        format: text: a table; json: one object per line.
    """
    entries = [
        registry.describe_adapter(registry.adapters_dir() / name) for name in registry.registered_names()
    ]
    if format == "json":
        print("".join(f"{json.dumps(entry, ensure_ascii=False)}\n" for entry in entries), end="")
    elif entries:
        rows = [[format_value(entry.get(name)) for name in COLUMNS] for entry in entries]
        rows.insert(0, [name.upper() for name in COLUMNS])
        print("\n".join(in_columns(rows, left=range(len(COLUMNS)))))
    else:
        where = registry.adapters_dir()
        print(f"no adapter is registered in {where} (register FOLDER NAME)", file=sys.stderr)


def show(adapter: str, format: Literal["text", "json"] = "text", plot: Path | None = None) -> None:
    """Show the record of an adapter: base, labels, training, scores, and how far its vectors are from 1.

    Args:
        adapter: a registered name, an adapter's folder, or its id on the Hub.
        format: text: one line per fact, and a table; json: one object.
        plot: draw the vectors by layer and placement into this file: .svg; .pdf or .png with the extra
            ia3-speech[figures]
    """
    if plot:
        from ia3_speech.report.charts import check_picture, write_picture
        from ia3_speech.report.vector_chart import draw_vectors

        check_picture(plot)
    folder = registry.resolve_adapter(adapter)
    entry, rows, fault = registry.describe_adapter(folder), [], "no vectors"
    try:
        vectors = vectors_in(read_weights(folder))
        rows = spreads(vectors)
        if plot:
            write_picture(plot, draw_vectors(vectors, entry.get("name") or card_title(read_summary(folder))))
    except UserError as error:
        if plot:
            raise
        fault = str(error)
    if format == "json":
        print(json.dumps(entry | {"vectors": rows}, indent=2, ensure_ascii=False))
        return
    for name, value in entry.items():
        text = "; ".join(map(score_line, value)) if name == "scores" else format_value(value)
        print(f"{name + ':':<12} {text}")
    if entry.get("biometric"):
        print(f"\n{BIOMETRIC}")
    print(f"\n{format_spreads(rows) if rows else fault}")


def format_value(value: Any, most: int = registry.MAX_LISTED) -> str:
    """A value as text: `key,value`, `speaker=42 accent=scots`, `-` for none; of a list the first `most`."""
    if value is None or isinstance(value, bool):
        return {None: "-", True: "yes", False: "no"}[value]
    if isinstance(value, dict):
        return " ".join(
            f"{name}={format_value(entry, 2)}" for name, entry in value.items() if entry not in ([], {}, "")
        )
    if isinstance(value, list):
        more = [f"… {len(value) - most} more"] if len(value) > most else []
        return ",".join([*map(format_value, value[:most]), *more])
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def register(
    folder: Path,
    name: str,
    force: bool = False,
    keep: bool = False,
    score: list[Path] | None = None,
    search_options: SearchOptions = SearchOptions(),  # noqa: B008  (immutable)
) -> None:
    """Copy an adapter into the registry, so that `--adapter NAME` finds it.

    The language model, its weights and the hot words given here are registered with the adapter: transcribe,
    decode and serve use them by default.

    Args:
        folder: the adapter's folder, or the experiment's folder that holds it.
        name: at most 64 characters, none of / \\ : * ? " < > |
        force: replace an earlier adapter of this name.
        keep: rename an earlier adapter of this name to NAME@1, or the next number that is free.
        score: score.json of one or more test sets; the model card in `folder` is first rewritten with them.
    """
    source = registry.resolve_adapter(folder)
    if score:
        update_card(source, registry.check_name(name), score)
    stored = search_options.stored()
    check_and_register(source, name, stored, force=force, keep=keep)


def check_and_register(
    source: Path, name: str, search_files: Mapping[str, bytes] | None = None, **options: Any
) -> None:
    """Register an adapter with `registry.register`, after a check of tensors, gate and rule, and print it."""
    from ia3_speech.adapters.io import check_finite  # loads torch
    from ia3_speech.routing.gate import read_gate
    from ia3_speech.routing.guard import read_rule

    check_finite(read_weights(source, "pt"), f"{source}:")
    fingerprint = read_summary(source).get("fingerprint")
    if fingerprint and (source / GATE).is_file():
        read_gate(source, fingerprint)  # raises where it is damaged, as `read_rule`
    if (source / GUARD).is_file():
        read_rule(source, fingerprint)
    target, names = registry.register(source, name, search_files=search_files, **options), search_files or ()
    print(f"{target.name}: registered in {target.parent}{' with ' * bool(names)}{', '.join(names)}")


def remove(name: str) -> None:
    """Delete an adapter from the registry. The folder that it was registered from stays.

    Args:
        name: a registered name.
    """
    registry.remove(name)
    print(f"{name}: removed from {registry.adapters_dir()}")
    if earlier := [each for each in registry.registered_names() if each.startswith(f"{name}@")]:
        print(f"{', '.join(earlier)}: earlier versions, which stay")


def card(folder: Path, name: str | None = None, score: list[Path] | None = None) -> None:
    """Rewrite an adapter's model card, README.md in its folder, from its record and with scores.

    Args:
        folder: the adapter's folder, or the experiment's folder that holds it.
        name: the adapter's name, for the title and the commands to copy.
        score: score.json of one or more test sets; the scores are added to ia3_speech.json too.
    """
    print(f"{update_card(registry.resolve_adapter(folder), name, score or [], overwrite=True)}: written")


def gate(
    adapter: str, *, data: Path | None = None, base: str | None = None, allow_pipes: bool = False
) -> None:
    """Let `--adapter auto` choose an adapter: write statistics of its speech, gate.safetensors, beside it.

    Args:
        adapter: a registered name, or an adapter's folder; or a base's folder, with general speech of many
            people as DATA: auto then uses no adapter for such speech.
        data: data directory with speech that the adapter is for, best its training data; its texts are not
            read (default: the stored recordings of the voice, as corrections list shows them).
        base: mini, a folder or a hub id (default: the base that the adapter records).
        allow_pipes: run the shell commands that wav.scp holds.
    """
    folder = Path(adapter)
    is_base = (folder / "config.json").is_file() and not registry.is_adapter(folder)
    if is_base and data is None:
        raise UserError(f"{adapter}: is a base, whose gate needs `data`, speech of many people")
    spec = AdapterSpec(() if is_base else (term_at(adapter, registry.resolve_adapter(adapter)),))
    from ia3_speech.adapters.io import check_base  # loads torch
    from ia3_speech.adapters.load import base_of
    from ia3_speech.decoding.decode_directory import read_for_decoding
    from ia3_speech.routing.gate import add_gate
    from ia3_speech.routing.router import refuse_other_method
    from ia3_speech.voices.voice import read_store

    if is_base:
        loaded = base_of(spec, adapter)
    else:
        (term,), folder = spec.terms, spec.terms[0].folder
        term.refuse_damage()
        refuse_other_method(term)
        loaded = base_of(spec, base)
        check_base(adapter, term.record, loaded.fingerprint)
    name = registry.registered_name(folder)
    utterances = read_for_decoding(data, allow_pipes).utterances if data else read_store(name) if name else []
    if not utterances:
        raise UserError(f"{adapter}: no recordings are stored under this name (give `data`)")
    count = add_gate(folder, loaded, utterances, name)
    print(f"{folder / GATE}: of {plural(count, 'utterance')}")


def push(
    adapter: str,
    repo: str,
    private: bool = False,
    base: str | None = None,
    consent: bool = False,
    dry_run: bool = False,
) -> None:
    """Publish an adapter on the Hugging Face Hub (log in with `hf auth login`, or set HF_TOKEN).

    Args:
        adapter: a registered name, or an adapter's folder.
        repo: USER/NAME; created where it is missing.
        private: only your account can see it.
        base: the base's id on the Hub, if the adapter records a local folder.
        consent: confirm that the person to whose voice it was fitted agrees to its publication.
        dry_run: print the files and the card that would be published, and send nothing.
    """
    options = {"private": private, "base": base, "consent": consent, "dry_run": dry_run}
    print(hub.push(registry.resolve_adapter(adapter), repo, **options) + ("" if dry_run else ": pushed"))


def pull(repo: str, name: str | None = None, revision: str | None = None, force: bool = False) -> None:
    """Copy an adapter from the Hugging Face Hub into the registry, without paths that its record may hold.

    Args:
        repo: USER/NAME.
        name: register it under this name (default: NAME).
        revision: a branch, a tag or a commit (default: main).
        force: replace an earlier adapter of this name.
    """
    name = registry.check_name(name or repo.rpartition("/")[2])
    with tempfile.TemporaryDirectory() as copies:
        hub.copy_publishable(hub.fetch(repo, revision), Path(copies), repo)
        check_and_register(Path(copies), name, force=force, sender=repo)


def combine(
    adapters: list[str],
    out: Path | None = None,
    name: str | None = None,
    base: str | None = None,
    average: bool = False,
    force: bool = False,
) -> None:
    """Write the sum of adapters as an adapter, into a folder or into the registry.

    An average has the gates of all its adapters in one, if all have gates, so that `auto` can choose it.

    Args:
        adapters: names and paths, optionally with weights, such as accent:0.7+medical:0.5 or
            medical+general:-1; several arguments are added up
        out: the folder to write
        name: register it under this name
        base: mini, a folder or a hub id (default: the base that the adapters record)
        average: give every adapter the same weight, 1 divided by their number
        force: replace an older adapter
    """
    terms = [term for word in adapters for term in parse_sum(word).terms]
    if average:
        if weighted := [term for term in terms if term.weight != 1]:
            raise AdapterError(f"--average sets the weights (leave out that of {weighted[0]})")
        terms = [replace(term, name=short_name(term), weight=1 / len(terms)) for term in terms]
    spec = AdapterSpec(tuple(terms))
    if (out is None) == (name is None):
        raise UserError("say where to write it: --out FOLDER, or --name NAME to register it")
    if out is None:
        registry.check_name(name)
    elif out.exists() and not (force and registry.is_adapter(out)):
        raise UserError(f"{out}: exists (give another --out; --force replaces an adapter)")
    from ia3_speech.adapters.load import save_sum  # loads torch
    from ia3_speech.routing.gate import merge_gates

    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary) / "adapter"
        adapter = save_sum(spec, folder, base=base)
        if average and all((term.folder / GATE).is_file() for term in terms):
            merge_gates(folder, spec.folders, name)
        target = out or registry.register(folder, name, force=force)
    parameters = sum(tensor.numel() for tensor in adapter.tensors.values())
    what = f"the mean of {plural(len(terms), 'adapter')}" if average else spec
    print(f"{target}: {what}, {plural(parameters, 'parameter')}")


def export(
    adapter: str,
    *,
    out: Path,
    base: str | None = None,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    force: bool = False,
) -> None:
    """Write a base with an adapter merged into it: a checkpoint that transformers loads by itself.

    Args:
        adapter: a name, a path, or a sum such as accent:0.7+medical
        out: the folder to write
        base: mini, a folder or a hub id (default: the base that the adapter records)
        dtype: type of the checkpoint's weights; an adapter that float16 can't hold is refused
        force: replace an older checkpoint
    """
    spec = parse_sum(adapter)
    is_empty = out.is_dir() and not any(out.iterdir())
    if out.exists() and not is_empty and not (force and (out / "config.json").is_file()):
        raise UserError(f"{out}: exists (give another --out; --force replaces a checkpoint)")
    from ia3_speech.adapters.merge import export_terms  # loads torch

    loaded = export_terms(spec, out, base=base, dtype=dtype)
    print(f"{out}: {spec}, merged into {loaded.name}")
    folder = base_folder(base or loaded.name)
    if folder and (folder / "lm.arpa.gz").is_file():
        print(f"without the base's language model: transcribe with --lm {folder / 'lm.arpa.gz'}")


NAMED = (show, register, remove, card, gate, push, pull, combine, export)
SUB_COMMANDS = {"list": list_} | {run.__name__: run for run in NAMED}
