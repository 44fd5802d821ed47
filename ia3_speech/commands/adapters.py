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
    ia3-speech adapters migrate speaker42 --base NEW --data DIR --out exp/NAME    train it on another base

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
from ia3_speech.adapters.record import GATE, PEOPLE, read_metadata, read_summary
from ia3_speech.adapters.spec import AdapterSpec, parse_sum, short_name, term_at
from ia3_speech.adapters.weights import format_spreads, read_weights, spreads, vectors_in
from ia3_speech.errors import AdapterError, UserError
from ia3_speech.formatting import in_columns, plural
from ia3_speech.model.location import base_folder
from ia3_speech.search import SearchOptions
from ia3_speech.unsupervised.options import MigrationOptions

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
    """Register an adapter with `registry.register`, after a check of tensors and gate, and print it."""
    from ia3_speech.adapters.io import check_finite  # loads torch
    from ia3_speech.routing.gate import read_gate

    check_finite(read_weights(source, "pt"), f"{source}:")
    fingerprint = read_summary(source).get("fingerprint")
    if fingerprint and (source / GATE).is_file():
        read_gate(source, fingerprint)  # raises where it is damaged
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
    adapter: str,
    *,
    data: Path | None = None,
    identify: Literal["yes", "no"] = "no",
    base: str | None = None,
    allow_pipes: bool = False,
) -> None:
    """Let `--adapter auto` choose an adapter: write statistics of its speech, gate.safetensors, beside it.

    Args:
        adapter: a registered name, or an adapter's folder; or a base's folder, with general speech of many
            people as DATA: auto then uses no adapter for such speech, or, with --identify yes, learns how
            voices differ, which it needs to identify people.
        data: data directory with speech that the adapter is for, best its training data; its texts are not
            read (default: the stored recordings of the voice, as corrections list shows them).
        identify: yes: DATA is of one person, who agreed that auto identifies them by their voice; no: deletes
            the voice print that an earlier yes has stored.
        base: mini, a folder or a hub id (default: the base that the adapter records).
        allow_pipes: run the shell commands that wav.scp holds.
    """
    folder, identifies = Path(adapter), identify == "yes"
    is_base = (folder / "config.json").is_file() and not registry.is_adapter(folder)
    if is_base and data is None:
        raise UserError(f"{adapter}: is a base, whose gate needs `data`, speech of many people")
    spec = AdapterSpec(() if is_base else (term_at(adapter, registry.resolve_adapter(adapter)),))
    from ia3_speech.adapters.io import check_base  # loads torch
    from ia3_speech.adapters.load import base_of
    from ia3_speech.corrections.store import agree
    from ia3_speech.corrections.voice import read_store
    from ia3_speech.decoding.decode_directory import read_for_decoding
    from ia3_speech.routing.gate import add_gate
    from ia3_speech.routing.router import refuse_other_method

    if is_base:
        loaded = base_of(spec, adapter)
    else:
        folder = spec.terms[0].folder
        refuse_other_method(adapter, folder)
        loaded = base_of(spec, base)
        check_base(adapter, read_metadata(folder), loaded.fingerprint)
    name = registry.registered_name(folder)
    utterances = read_for_decoding(data, allow_pipes).utterances if data else read_store(name) if name else []
    if is_base and identifies:
        from ia3_speech.routing.people import add_background

        count = add_background(folder, loaded, utterances, allow_pipes=allow_pipes)
        print(f"{folder / PEOPLE}: of {plural(count, 'utterance')}")
        return
    if name and not identifies:
        agree(name, False)  # deletes an earlier voice print, also if there are no recordings any more
    if not utterances:
        raise UserError(f"{adapter}: no recordings are stored under this name (give `data`)")
    speakers = sorted({utterance.speaker for utterance in utterances})
    if identifies and len(speakers) > 1:
        raise UserError(f"`identify`: the recordings are of {', '.join(speakers[:5])}, and not of one person")
    options = {"identify": identifies, "allow_pipes": allow_pipes}
    count = add_gate(folder, loaded, utterances, name, **options)
    if name and identifies:
        agree(name, True)
    use = ", by which auto recognises the person" * identifies
    print(f"{folder / GATE}: of {plural(count, 'utterance')}{use}")


def push(
    adapter: str, repo: str, private: bool = False, base: str | None = None, consent: bool = False
) -> None:
    """Publish an adapter on the Hugging Face Hub (log in with `hf auth login`, or set HF_TOKEN).

    Args:
        adapter: a registered name, or an adapter's folder.
        repo: USER/NAME; created where it is missing.
        private: only your account can see it.
        base: the base's id on the Hub, if the adapter records a local folder.
        consent: confirm that the person to whose voice it was fitted agrees to its publication.
    """
    folder = registry.resolve_adapter(adapter)
    print(f"{hub.push(folder, repo, private=private, base=base, consent=consent)}: pushed")


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
    consent: bool = False,
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
        consent: with --average, confirm that the people whose adapters these are agree to a common adapter:
            it has no label of a speaker, so that auto and nearest (training) may choose it
        force: replace an older adapter
    """
    terms = [term for word in adapters for term in parse_sum(word).terms]
    if average:
        if weighted := [term for term in terms if term.weight != 1]:
            raise AdapterError(f"--average sets the weights (leave out that of {weighted[0]})")
        terms = [replace(term, name=short_name(term), weight=1 / len(terms)) for term in terms]
    if consent and not average:
        raise UserError("--consent is for a mean of several people's adapters: it needs --average")
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
        adapter = save_sum(spec, folder, base=base, consent=consent)
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


def migrate(adapter: str, options: MigrationOptions) -> None:
    """Train an adapter again on another base, from speech without texts.

    The old base with the adapter, and with its language model and hot words, recognises the speech, and the
    new base trains on these texts. The old adapter stays in use. The texts stay in OUT/labels.

    Args:
        adapter: a registered name, or an adapter's folder
    """
    folder, out, name = registry.resolve_adapter(adapter), options.out, options.name
    if name:
        registry.check_name(name)
    from ia3_speech.commands.train import add_guard_of_training
    from ia3_speech.data.kaldi import read_data_directory
    from ia3_speech.unsupervised.migration import Migration

    if not options.data:
        hint = "which is not of the adapter's kind"
        print(f"warning: without --data it learns from read speech of other people, {hint}", file=sys.stderr)
    migration, guard = Migration.prepare(folder, options), None
    inputs = migration.inputs()
    if not inputs.is_current(out, options.force, resume=True):
        migration.run()
        if options.data:
            dev = read_data_directory(migration.training.dev, spk_sort=False, allow_pipes=options.allow_pipes)
            guard = add_guard_of_training(migration.training, dev)
        inputs.record(out)
    fault, sentences = migration.report(adapter)
    print(*sentences, *filter(None, [guard]), sep="\n")
    if name and fault:
        print(f"{name}: is not registered: {fault}")
    elif name:
        search, lost = migration.search_files()
        if lost:
            print(f"without {', '.join(lost)} of {adapter}: {options.base} takes no language model")
        check_and_register(out / "adapter", name, search, keep=True)


NAMED = (show, register, remove, card, gate, push, pull, combine, export, migrate)
SUB_COMMANDS = {"list": list_} | {run.__name__: run for run in NAMED}
