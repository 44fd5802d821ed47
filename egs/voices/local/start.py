#!/usr/bin/env python3
"""Measure where a new voice should start: the base, an accent's adapter, or the mean of other people's.

    python local/start.py --corpus DIR/speechocean762 --readers DIR/read_english/dev --out exp/start
    1    an adapter of each of the corpus's train people: OUT/others; their mean, which is registered
    2    adapt to each test person and reader, with K sentences, from each start: OUT/KIND/START_kK
    3    OUT/start.json, and OUT/RESULTS.md

In: the corpus as published; readers, whose speech is of another kind, so that no start but the base should
be chosen for them; perhaps the accent's adapter, trained on the same train people. With 0 sentences there is
no training; with 1 it chooses the start alone. A person's sentences are tested in four folds, by adapters
that were trained on others. The start `nearest` is not trained again: each fold takes the adapter from the
start that its training sentences choose (training/starts.py), which is the one that `speakers` would train.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_json
from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.commands import adapters
from ia3_speech.commands.speakers import main as adapt_to_speakers
from ia3_speech.data.kaldi import read_data_directory, write_data_directory
from ia3_speech.data.utterance import Utterance, load_utterances
from ia3_speech.model.base import load_base
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.significance import bootstrap_sums, percentile_interval, ratio
from ia3_speech.scoring.table import Rate, markdown_table
from ia3_speech.search import SearchOptions
from ia3_speech.session import load
from ia3_speech.speakers.options import SpeakerOptions
from ia3_speech.training.data import read_examples
from ia3_speech.training.multi_adapter import Measure, measure_all
from ia3_speech.training.starts import Measures, best_start, prepare

sys.path.append(str(Path(__file__).resolve().parents[2] / "speechocean762/local"))
import speechocean762

FOLDS = 4
PER_PERSON = 20  # sentences
FEW = {"learning_rate": 2e-2, "epochs": 4, "replay": "shipped", "replay_weight": 1.5}  # as conf/few.yaml
PLACEMENTS = ["key", "value", "ffn", "ffn_output", "attention_output"]
HEAD = ("people", "sentences", "start", "WER %", "change %", "worse off %", "worst change %", "base chosen %")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the study."""

    corpus: Path
    """speechocean762 as published"""
    readers: Path
    """Kaldi directory with readers, 20 sentences of each or more"""
    out: Path
    """folder to write"""
    accent: Path | None = None
    """adapter of the accent, trained on the same train people"""
    others: int = 106
    """number of train people whose adapters are averaged"""
    people: int = 85
    """number of test people"""
    ks: str = "0 1 5 10 15"
    """numbers of sentences to adapt to"""
    starts: str = "mean accent nearest"
    """starts to compare with the base"""


def of_people(utterances: Sequence[Utterance], most: int) -> list[Utterance]:
    """PER_PERSON utterances of each of `most` people who have as many, evenly spaced by their names."""
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in sorted(utterances, key=lambda utterance: utterance.id):
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    enough = [spoken[:PER_PERSON] for spoken in by_speaker.values() if len(spoken) >= PER_PERSON]
    chosen = [enough[n * len(enough) // most] for n in range(most)] if most < len(enough) else enough
    return [utterance for spoken in chosen for utterance in spoken]


def make_starts(options: Options) -> list[str]:
    """Stage 1; returns the names of the starts beside the base."""
    adapt_to_speakers(speaker_options(options.out / "others", options.out / "data/others", k=15))
    if not registry.is_registered("mean"):
        folders = sorted(map(str, (options.out / "others").glob("*/all/adapter")))
        adapters.combine(folders, name="mean", average=True, consent=True)
    if options.accent and not registry.is_registered("accent"):
        registry.register(registry.resolve_adapter(options.accent), "accent")
    return ["mean"] + ["accent"] * bool(options.accent)


def speaker_options(out: Path, data: Path, **changes: object) -> SpeakerOptions:
    options = FEW | {"placements": PLACEMENTS, "precision": "auto", "on_error": "skip"} | changes
    return SpeakerOptions(data=data, out=out, **options)


def main(options: Options) -> None:
    """Measure where a new voice should start."""
    os.environ[registry.HOME] = str(options.out.absolute() / "home")
    log: list[str] = []
    sets = {
        "others": of_people([*speechocean762.read_set(options.corpus, "train", log)], options.others),
        "accented": of_people([*speechocean762.read_set(options.corpus, "test", log)], options.people),
        "readers": of_people([*read_data_directory(options.readers)], options.people),
    }
    for name, utterances in sets.items():
        write_data_directory(options.out / "data" / name, utterances)
    known, ks = ["none", *make_starts(options), "nearest"], [int(k) for k in options.ks.split()]
    starts = [start for start in known if start in ("none", *options.starts.split())]
    trained = [start for start in starts if start != "nearest"]
    for kind, start, k in product(("accented", "readers"), trained, [k for k in ks if k > 1]):
        out, data = options.out / kind / f"{start}_k{k}", options.out / "data" / kind
        adapt_to_speakers(speaker_options(out, data, init_adapter=start, folds=FOLDS, k=k))
    rows = [row for kind in ("accented", "readers") for row in rows_of(options.out, kind, starts, ks)]
    write_json(options.out / "start.json", {"rows": rows})
    table = markdown_table(HEAD, [*map(cells, rows)])
    write_text(options.out / "RESULTS.md", table)
    print(table, end="")


# ---- the results


def rows_of(exp: Path, kind: str, starts: Sequence[str], ks: Sequence[int]) -> Iterator[dict[str, object]]:
    """A row for each number of sentences and start, with the word errors of each person."""
    utterances = [*read_data_directory(exp / "data" / kind)]
    untrained = {start: decode(utterances, start) for start in starts if start != "nearest"}
    measures = {start: measure(exp, kind, start) for start in untrained if "nearest" in starts}
    for k in ks:
        for start in starts:
            if k > 1:
                texts, chosen = trained_texts(exp / kind, start, k, measures)
            elif start == "nearest":
                texts, chosen = chosen_texts(utterances, untrained, measures if k else {})
            else:
                texts, chosen = untrained[start], [start]
            yield {
                "kind": kind,
                "sentences": k,
                "start": start,
                "errors": errors_of(utterances, texts),
                "base_errors": errors_of(utterances, untrained["none"]),
                "words": errors_of(utterances, {}),
                "chosen": {start: chosen.count(start) for start in dict.fromkeys(chosen)},
            }


def decode(utterances: Sequence[Utterance], start: str) -> dict[str, str]:
    """Utterance → text, by greedy search."""
    adapter = None if start == "none" else start
    recognizer = load("mini", adapter=adapter, search=SearchOptions("greedy")).recognizer
    ids, waves = zip(*((utterance.id, wave) for utterance, wave in load_utterances(utterances)), strict=True)
    return dict(zip(ids, recognizer.texts(waves), strict=True))


def measure(exp: Path, kind: str, start: str) -> dict[str, Measure]:
    """Utterance → its measure, whose loss chooses the start."""
    base, data = load_base("mini"), exp / "data" / kind
    options = speaker_options(exp, data)
    cache = prepare(base, options, None if start == "none" else start)
    examples = read_examples(data, base, options, [1.0], with_untrainable=True)
    return {measure.utterance: measure for measure in measure_all(cache, examples, options.normalize)}


def trained_texts(exp: Path, start: str, k: int, measures: Measures) -> tuple[dict[str, str], list[str]]:
    """Utterance → text, by the adapter of its fold, and the start of each adapter."""
    texts, chosen = {}, []
    for file in sorted(exp.glob(f"none_k{k}/*/fold*/task.json")):
        of_fold = best_start(measures, read_json(file)["trained_on"]) if start == "nearest" else start
        texts |= read_json(exp / f"{of_fold}_k{k}" / file.relative_to(exp / f"none_k{k}"))["texts"]
        chosen.append(of_fold)
    return texts, chosen


def chosen_texts(
    utterances: Sequence[Utterance], untrained: dict[str, dict[str, str]], measures: Measures
) -> tuple[dict[str, str], list[str]]:
    """Utterance → text, by the start that another sentence chooses: the next one of the same person, which is
    of another fold. Without measures, by the base."""
    texts, chosen = {}, []
    spoken = {u.speaker: [v for v in utterances if v.speaker == u.speaker] for u in utterances}
    for utterance in utterances:
        sentences = spoken[utterance.speaker]
        other = sentences[(sentences.index(utterance) + 1) % len(sentences)]
        start = best_start(measures, [other.id]) if measures else "none"
        texts[utterance.id] = untrained[start][utterance.id]
        chosen.append(start)
    return texts, chosen


def errors_of(utterances: Sequence[Utterance], texts: dict[str, str]) -> dict[str, int]:
    """Speaker → word errors; without texts their words."""
    totals = dict.fromkeys(sorted({utterance.speaker for utterance in utterances}), 0)
    for utterance in utterances:
        totals[utterance.speaker] += text_errors(utterance.text, texts.get(utterance.id, "")).total
    return totals


def cells(row: dict) -> list[object]:
    """A row of the table: rates with 95 % intervals over people."""
    after, before, words = (np.array([*row[key].values()]) for key in ("errors", "base_errors", "words"))
    draws = bootstrap_sums({"after": after, "before": before, "words": words})
    change = percentile_interval(ratio(draws["after"] - draws["before"], draws["before"]))
    wer = Rate(after.sum() / words.sum(), percentile_interval(ratio(draws["after"], draws["words"])))
    worst = ((after - before) / np.maximum(before, 1)).max()
    base_chosen = row["chosen"].get("none", 0) / sum(row["chosen"].values())
    change = Rate((after.sum() - before.sum()) / before.sum(), change, signed=True)
    head = [
        f"{len(after)} {row['kind']}",
        row["sentences"],
        row["start"].replace("none", "base"),
        wer,
        change,
    ]
    return [*head, Rate((after > before).mean()), Rate(worst, signed=True), Rate(base_chosen)]


if __name__ == "__main__":
    command(main)
