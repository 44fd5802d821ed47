#!/usr/bin/env python3
"""Measure what of an adapter `ia3-speech adapters migrate` brings to another base, without texts.

    python local/migrate.py --kind orders --adapter ADAPTER --base NEW --data DATA --out exp/migrate

In: an adapter, which records its base; the new base; Kaldi directories DATA/train, DATA/dev and DATA/test.
The speech is DATA/train, without its texts. The comparison is a training with them on the new base, of the
same configuration, unless --with-texts names its adapter. An adapter that was trained on DATA/train has seen
this speech, as that of an owner whose texts are gone. Out, in OUT/KIND/OLD_to_NEW: migrated/, with_texts/,
the texts that each system recognises in DATA/test, results.json; and OUT/RESULTS.md, a row for each direction
in OUT. The old base and its adapter have their language models, the new ones greedy search. Finished work is
not repeated.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ia3_speech.adapters import registry
from ia3_speech.adapters.card import base_name
from ia3_speech.adapters.record import read_json, read_record, recorded_base
from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.commands import adapters, train
from ia3_speech.data.corpora.preparation import Size
from ia3_speech.data.kaldi import read_data_directory, subset_data_directory
from ia3_speech.data.utterance import load_utterances
from ia3_speech.inputs import provenance
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.significance import ratio_of_sums
from ia3_speech.scoring.table import Cell, Rate, markdown_table
from ia3_speech.search import SearchOptions
from ia3_speech.session import load
from ia3_speech.unsupervised.migration import Migration
from ia3_speech.unsupervised.options import MigrationOptions

FEW = 20  # utterances of each set, with --size small
SYSTEMS = ("old base", "old adapter", "new base", "with texts", "migrated")
HEAD = ("speech, direction", *(f"{system} WER %" for system in SYSTEMS), "of the gain with texts %")
HEAD += ("test utterances", "minutes learnt", "left out")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the measurement."""

    kind: str
    """the kind of speech, such as orders or accent: a folder's name"""
    adapter: Path
    """folder of the adapter to migrate"""
    base: str
    """the new base: mini, a folder or a hub id"""
    data: Path
    """folder with the Kaldi directories train, dev and test"""
    out: Path
    """folder to write"""
    lm: Path | None = None
    """language model of the adapter (default: its base's, if that has one)"""
    with_texts: Path | None = None
    """adapter of the new base that was trained with the texts of train (default: it is trained)"""
    test: str = "test"
    """name of the test set in DATA"""
    size: Size = "full"
    """small: twenty utterances of each set, to see that everything works"""


def main(options: Options) -> None:
    """Migrate, train with texts, recognise the test set, and write the table of all directions."""
    os.environ[registry.HOME] = str(options.out.absolute() / "home")
    source = registry.resolve_adapter(options.adapter)
    old_base = recorded_base(source) or "mini"
    names = [Path(base_name(base)).name for base in (old_base, options.base)]
    out, sets = options.out / options.kind / "_to_".join(names), {}
    for name in ("train", "dev", options.test):
        sets[name] = options.data / name
        if options.size == "small":
            sets[name] = subset_data_directory(sets[name], out / "data" / name, first=FEW).path
    search = SearchOptions(lm=options.lm).stored()
    adapter = registry.register(source, f"{options.kind}_{names[0]}", force=True, search_files=search)
    migration = MigrationOptions(base=options.base, data=sets["train"], out=out / "migrated")
    adapters.migrate(str(adapter), migration)
    if not (with_texts := options.with_texts):
        with_texts = out / "with_texts"
        training = Migration.prepare(adapter, migration).training
        training = replace(training, train=sets["train"], dev=sets["dev"], out=with_texts)
        train.main(training)
    loaded = [(old_base, None, None), (old_base, adapter, None), (options.base, None, "greedy")]
    loaded += [(options.base, new, "greedy") for new in (with_texts, out / "migrated")]
    for system, of_system in zip(SYSTEMS, loaded, strict=True):
        if not (file := file_of(out, system)).is_file():
            write_json(file, recognise(sets[options.test], *of_system))
    write_json(out / "results.json", compare(out, sets[options.test]) | {"versions": provenance()})
    rows = [row(file.parent) for file in sorted(options.out.glob("*/*/results.json"))]
    table = markdown_table(HEAD, rows)
    write_text(options.out / "RESULTS.md", table)
    print(table, end="")


def file_of(out: Path, system: str) -> Path:
    return out / f"{system.replace(' ', '_')}.json"


def recognise(
    data: Path, base: str, adapter: Path | None, search: Literal["greedy"] | None
) -> dict[str, Any]:
    """Utterance → text, and the normalisation of such texts for scoring. `search` as for `load`."""
    recognizer = load(base, adapter=adapter, search=search, precision="auto").recognizer
    utterances, waves = zip(*load_utterances(read_data_directory(data)), strict=True)
    texts = recognizer.texts(waves)
    texts = {utterance.id: text for utterance, text in zip(utterances, texts, strict=True)}
    return {"scoring": recognizer.base.scoring, "texts": texts}


def compare(out: Path, data: Path) -> dict[str, Any]:
    """The WER of each system, and what the migration has of the gain with texts, with 95 % intervals over
    speakers."""
    systems = {system: read_json(file_of(out, system)) for system in SYSTEMS}
    mode = "english" if any(each["scoring"] == "english" for each in systems.values()) else "ctc"
    utterances = [*read_data_directory(data, wav=False)]
    counts = {
        system: [text_errors(u.text, each["texts"].get(u.id), mode) for u in utterances]
        for system, each in systems.items()
    }
    columns = {system: np.array([each.total for each in of], float) for system, of in counts.items()}
    words = np.array([each.words for each in counts["migrated"]], float)
    speakers, before = [utterance.speaker for utterance in utterances], columns["new base"]
    gains = before - columns["migrated"], before - columns["with texts"]
    wers = {system: ratio_of_sums(columns[system], words, speakers) for system in SYSTEMS}
    return {"wer": wers, "share": ratio_of_sums(*gains, speakers), "utterances": len(utterances)}


def row(out: Path) -> list[Cell]:
    """A direction's row of the table."""
    results, training = read_json(out / "results.json"), read_json(out / "migrated/train.json")
    rates = [Rate(*results["wer"][system]) for system in SYSTEMS]
    left_out = read_record(out / "migrated/adapter")["training"]["left_out"]
    amounts = [results["utterances"], round(training["audio_seconds"] / 60, 1), left_out]
    return [
        f"{out.parent.name}, {out.name.replace('_to_', ' → ')}",
        *rates,
        Rate(*results["share"], digits=0),
        *amounts,
    ]


if __name__ == "__main__":
    command(main)
