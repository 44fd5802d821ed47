#!/usr/bin/env python3
"""Measure the guard: whose text is used, the base's or an adapter's, by the gate, by confidence, and by both.

    python local/guard.py --data data/real --home exp/real/home --out exp/real/guard

In: the mixed sets of study.py (dev, replay, test, unseen), and a registry with the adapters of the four
kinds, each with its gate. Out: OUT/SET.jsonl, a line for each utterance with the texts and confidences of the
base and of each adapter; OUT/guard.json, the rule of the base, fitted to the dev sets of all four;
results.json and RESULTS.md. Nothing is recognised twice, so that another fit takes seconds.

The rule of an adapter ("guard") is fitted as `train` does it, to its dev set and the shipped general speech,
with a prior of the other three adapters; "left out" is that prior alone, which has seen nothing of the
adapter's corpus. With another base than `mini` the prior is `mini`'s rule, as in `train`. "Calibrated" is the
rule of `train` with confidences scaled as `calibrate` would scale them: the base's on all dev sets, an
adapter's on its dev set. The oracle decodes an adapter's own kind with the adapter, and other speech with the
base.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ia3_speech.adapters.spec import BASE_ALONE, parse_adapter
from ia3_speech.common.atomic import write_json, write_text
from ia3_speech.common.cli import command
from ia3_speech.common.inputs import provenance
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.corpora.preparation import evenly_spaced
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.text import Mode, normalize
from ia3_speech.data.utterance import Utterance, load_utterances
from ia3_speech.decoding.recognizer import Candidates
from ia3_speech.decoding.reliability import fit_scaling
from ia3_speech.decoding.word_times import Scaling
from ia3_speech.model.hypotheses import search_rows
from ia3_speech.routing.gate import utterance_point
from ia3_speech.routing.guard import (
    INPUTS,
    MAX_UTTERANCES,
    Observations,
    Rule,
    base_rule,
    fit_adapter_rule,
    fit_rule,
    inputs_of,
    write_rule,
)
from ia3_speech.routing.router import MAX_ADAPTERS, SURE, make_gates, softmax
from ia3_speech.scoring.alignment import align
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.significance import ratio, ratio_of_sums
from ia3_speech.scoring.table import Cell, Rate, markdown_table
from ia3_speech.session import Session, load

KINDS = ("accent", "orders", "telephone", "notes")
SETS = ("dev", "replay", "test", "unseen")
CHUNK, BATCH = 40, 8  # utterances that are read, and recognised, at a time
WAYS = ("gate", "confidence", "left out", "guard", "guard, calibrated", "guard, gate first")
BROAD = 1.0  # deviations, in units of 1 / the input's deviation, of the prior of the base's rule
SPREAD = 0.5  # the same for the prior of an adapter's rule


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the measurement."""

    data: Path
    """folder with the mixed sets"""
    home: Path
    """IA3_SPEECH_HOME with the adapters accent, orders, telephone and notes, each with its gate"""
    out: Path
    """folder to write"""
    base: str = "mini"
    """base of the adapters"""
    per_corpus: int = 0
    """utterances of each corpus of a set, evenly spaced (0: all)"""


def main(options: Options) -> None:
    """Recognise the sets, fit the rules, and write the tables."""
    os.environ["IA3_SPEECH_HOME"] = str(options.home.absolute())
    options.out.mkdir(parents=True, exist_ok=True)
    session, sets = load(options.base, search="greedy", precision="auto").session, {}
    base = session.base
    for name in [name for name in SETS if (options.data / name).is_dir()]:
        recognize(session, options, name)
        sets[name] = chosen_lines(options, name, base.scoring_mode("ctc"))
    write_rule(options.out, fit_base_rule(sets["dev"], KINDS), base.fingerprint)
    write_results(options.out, sets, None if options.base == "mini" else base_rule(base))


# ---- what base and adapters recognise


def recognize(session: Session, options: Options, name: str) -> None:
    """Append to OUT/SET.jsonl the utterances that it lacks. All systems share a batch, and what the front end
    computes. Utterances that would be cut are left out."""
    file = options.out / f"{name}.jsonl"
    known = {line["id"] for line in read_lines(file)}
    missing = [each for each in chosen_utterances(options, name) if each.id not in known]
    if not missing:
        return
    specs = {"base": BASE_ALONE} | {kind: parse_adapter(kind) for kind in KINDS}
    gates = {kind: make_gates(specs[kind], session.base).gate for kind in KINDS}
    systems = {name: replace(session.recognizer(spec), scaling=None) for name, spec in specs.items()}
    points: list[np.ndarray] = []

    def every_system(features: Sequence) -> list[Candidates]:
        points[:] = [utterance_point(session.base, each) for each in features]
        return [Candidates([*systems.values()], None) for _ in features]

    recognizer = replace(systems["base"], router=every_system)
    for first in range(0, len(missing), CHUNK):
        pairs = [*load_utterances(missing[first : first + CHUNK], on_error="skip", progress=None)]
        pairs = [pair for pair in pairs if len(pair[1]) <= recognizer.max_seconds * SAMPLE_RATE]
        pairs.sort(key=lambda pair: len(pair[1]))
        for start in range(0, len(pairs), BATCH):
            batch = pairs[start : start + BATCH]
            logits, _ = recognizer.candidates([wave for _, wave in batch])
            rows = {system: logits[n :: len(systems)] for n, system in enumerate(systems)}
            hypotheses = {system: search_rows(systems[system].search, rows[system]) for system in systems}
            log_odds = {kind: gate.log_odds(np.stack(points)) for kind, gate in gates.items()}
            chosen = {kind: gate.probabilities(np.stack(points)).argmax(1) for kind, gate in gates.items()}
            records = []
            for n, (utterance, wave) in enumerate(batch):
                record = {"id": utterance.id, "speaker": utterance.speaker, "text": utterance.text}
                record |= {"corpus": utterance.labels["corpus"], "seconds": len(wave) / SAMPLE_RATE}
                record["gate"] = {kind: round(float(log_odds[kind][n]), 4) for kind in KINDS}
                record["auto"] = {kind: int(chosen[kind][n]) for kind in KINDS}
                for system, each in systems.items():
                    recognition = each.recognition(rows[system][n], hypotheses[system][n], 0, wave, True)
                    confidences = [round(word.confidence, 5) for word in recognition.words]
                    record[system] = {"text": recognition.text, "confidences": confidences}
                records.append(json.dumps(record, ensure_ascii=False) + "\n")
            with file.open("a", encoding="utf-8") as lines:
                lines.writelines(records)
        print(f"{name}: {min(first + CHUNK, len(missing))} of {len(missing)}", flush=True)


def chosen_utterances(options: Options, name: str) -> list[Utterance]:
    """The utterances of a set, or so many of each corpus."""
    utterances = list(read_data_directory(options.data / name, spk_sort=False))
    corpora: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        corpora.setdefault(utterance.labels["corpus"], []).append(utterance)
    count = options.per_corpus or len(utterances)
    return [each for part in corpora.values() for each in evenly_spaced(part, count)]


def chosen_lines(options: Options, name: str, mode: Mode) -> list[dict]:
    """The lines of the utterances of a set, with normalised texts; an earlier run may have recognised
    others."""
    ids = {utterance.id for utterance in chosen_utterances(options, name)}
    lines = [line for line in read_lines(options.out / f"{name}.jsonl") if line["id"] in ids]
    for line in lines:
        for record in (line, *(line[system] for system in ("base", *KINDS))):
            record["text"] = normalize(record["text"], mode)
    return lines


def read_lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []


# ---- rules


Scalings = Mapping[str, Scaling]  # of the confidences of each system; without any they are raw


def observations(lines: Sequence[dict], kind: str, scalings: Scalings = {}) -> Observations:  # noqa: B006
    """The inputs of an adapter's rule, and the errors of the base and with the adapter."""
    inputs = []
    for line in lines:
        pair = [scalings.get(s, Scaling())(np.array(line[s]["confidences"])) for s in ("base", kind)]
        inputs.append(inputs_of(line["gate"][kind], *(each.tolist() for each in pair)))
    errors = [[text_errors(line["text"], line[s]["text"]).total for s in ("base", kind)] for line in lines]
    return Observations(np.array(inputs), np.array(errors))


def fit_scalings(dev: Sequence[dict]) -> Scalings:
    """The scaling of the base, fitted to all dev sets, and of each adapter, fitted to its own."""
    scalings = {}
    for system in ("base", *KINDS):
        lines = [line for line in dev if system in ("base", line["corpus"])]
        right = [is_right for line in lines for is_right in right_words(line["text"], line[system]["text"])]
        confidences = [number for line in lines for number in line[system]["confidences"]]
        scalings[system] = fit_scaling(np.array(confidences), np.array(right))
    return scalings


def right_words(text: str, hypothesis: str) -> list[bool]:
    pairs = align(normalize(text).split(), normalize(hypothesis).split())
    return [reference == word for reference, word in pairs if word]


def fit_base_rule(dev: Sequence[dict], kinds: Sequence[str], scalings: Scalings = {}) -> Rule:  # noqa: B006
    """The rule of the base, for any adapter: fitted to the dev sets of these adapters' kinds, and for each
    adapter to general speech and to the others' kinds."""
    sets = []
    for kind in kinds:
        others = {*kinds} - {kind}
        groups = [[line for line in dev if line["corpus"] == kind]]
        groups += [[line for line in dev if line["corpus"] not in KINDS]]
        groups += [[line for line in dev if line["corpus"] in others]]
        sets += [observations(group, kind, scalings) for group in groups if group]
    scale = np.array([1.0, *np.concatenate([each.inputs for each in sets]).std(0)])
    fitted = fit_rule(sets, Rule(np.zeros(1 + len(INPUTS)), BROAD / scale))
    return Rule(fitted.weights, SPREAD / scale)


def rules(sets: dict[str, list[dict]], given: Rule | None) -> dict[str, dict[str, tuple[Rule, Scalings]]]:
    """For each kind the rule "left out", which has seen nothing of it, and the rule of `train`, also with
    calibrated confidences. The prior is `given`, or fitted to the other kinds."""
    by_adapter, by_way = {}, {"guard": {}}
    if given is None:  # Whisper's normaliser joins words, so that confidences have no counterpart
        by_way["guard, calibrated"] = fit_scalings(sets["dev"])
    for kind in KINDS:
        by_adapter[kind] = {}
        speech = [line for line in sets["dev"] if line["corpus"] == kind]
        for name, scalings in by_way.items():
            others = [other for other in KINDS if other != kind]
            prior = given or fit_base_rule(sets["dev"], others, scalings)
            fitted = (lines[:: -(-len(lines) // MAX_UTTERANCES)] for lines in (speech, sets["replay"]))
            observed = [observations(lines, kind, scalings) for lines in fitted]
            by_adapter[kind][name] = fit_adapter_rule(observed, prior), scalings
            by_adapter[kind].setdefault("left out", (prior, scalings))
    return by_adapter


# ---- tables


def chosen(
    lines: Sequence[dict], kind: str, of_kind: dict[str, tuple[Rule, Scalings]]
) -> dict[str, np.ndarray]:
    """Way → whether each utterance gets the adapter's text."""
    inputs = observations(lines, kind).inputs
    ways = {"gate": np.array([line["auto"][kind] == 1 for line in lines])}
    ways["confidence"] = inputs[:, INPUTS.index("log_confidence")] > 0
    for name, (rule, scalings) in of_kind.items():
        ways[name] = rule.log_odds(observations(lines, kind, scalings).inputs) > 0
    ways["guard, gate first"] = of_kind["guard"][0].takes_adapter(inputs)
    return {name: ways[name] for name in WAYS if name in ways}


def recognitions(lines: Sequence[dict], kind: str, rule: Rule) -> np.ndarray:
    """How often each utterance is recognised: once where the gate is sure, else twice."""
    gate = np.array([line["gate"][kind] for line in lines])
    return 1 + ((gate >= rule.limits[0]) & (gate < rule.limits[1]))


def chosen_among_all(
    lines: Sequence[dict], rules_of_train: Mapping[str, Rule]
) -> tuple[np.ndarray, np.ndarray]:
    """What a guarded `auto` chooses for each utterance, the number of a kind from 1 on (0: the base), and how
    many recognitions that takes; (utterances,) each."""
    scores = [rules_of_train[kind].log_odds(observations(lines, kind).inputs) for kind in KINDS]
    gates = np.array([[line["gate"][kind] for kind in KINDS] for line in lines])
    low, high = np.transpose([rules_of_train[kind].limits for kind in KINDS])
    likeliest = (np.argsort(np.argsort(-gates, 1), 1) < MAX_ADAPTERS) & (gates >= low)
    scores = np.where(likeliest, np.stack(scores, 1), -np.inf)
    probabilities = np.stack([softmax(np.insert(row, 0, 0.0)) for row in gates])
    best = probabilities.argmax(1)
    sure = (best > 0) & (probabilities.max(1) >= SURE)
    sure &= np.insert(gates >= high, 0, False, axis=1)[np.arange(len(lines)), best]
    chosen = np.where(sure, best, np.insert(scores, 0, 0.0, axis=1).argmax(1))
    return chosen, np.where(sure, 1, 1 + likeliest.sum(1))


def write_results(out: Path, sets: dict[str, list[dict]], prior: Rule | None) -> None:
    """Write OUT/results.json and OUT/RESULTS.md. `prior`: as for `rules`."""
    of_kinds, lines = rules(sets, prior), sets["test"] + sets["unseen"]
    of_train = {kind: of_kind["guard"][0] for kind, of_kind in of_kinds.items()}
    trained = {line["speaker"] for line in sets["dev"] if line["corpus"] == "notes"}
    speakers = np.array([line["speaker"] for line in lines])
    corpora = np.array([line["corpus"] for line in lines])
    words = np.array([text_errors(line["text"], "").words for line in lines])
    unseen_voice = (corpora == "notes") & ~np.isin(speakers, [*trained])
    unseen = np.arange(len(lines)) >= len(sets["test"])
    groups = {name: corpora == name for name in dict.fromkeys(corpora.tolist())}
    groups["notes, unseen voices"] = unseen_voice
    shares, rates, records = [], [], []
    for kind in KINDS:
        errors = observations(lines, kind).errors
        ways = chosen(lines, kind, of_kinds[kind])
        counts = {"base": errors[:, 0], "adapter": errors[:, 1]}
        counts["oracle"] = np.where(corpora == kind, errors[:, 1], errors[:, 0])
        counts |= {way: np.where(use, errors[:, 1], errors[:, 0]) for way, use in ways.items()}
        for name, rows in groups.items():
            cells = [Rate(ratio(each[rows].sum(), words[rows].sum()).item()) for each in counts.values()]
            rates.append([kind, name, int(rows.sum()), *cells])
        general = ~np.isin(corpora, KINDS)
        parts = [general & ~unseen, unseen, ~general & (corpora != kind)]
        for way in ("adapter", *ways):
            row: list[Cell] = [kind, way, relative(counts, way, "oracle", corpora == kind, speakers)]
            row.append(relative(counts, way, "oracle", unseen_voice, speakers) if kind == "notes" else None)
            row += [relative(counts, way, "base", rows, speakers) for rows in parts]
            shares.append(row)
    everything = np.stack([counts["base"], *(observations(lines, k).errors[:, 1] for k in KINDS)], 1)
    right = np.array([KINDS.index(corpus) + 1 if corpus in KINDS else 0 for corpus in corpora])
    chosen_by_auto, of_auto = chosen_among_all(lines, of_train)
    columns = {"base": 0, "oracle": right, "guard": chosen_by_auto}
    counts = {name: everything[np.arange(len(lines)), column] for name, column in columns.items()}
    row = ["auto", "guard", relative(counts, "guard", "oracle", ~general, speakers), None]
    shares.append([*row, *(relative(counts, "guard", "base", rows, speakers) for rows in parts[:2]), None])
    head = ["adapter", "chosen by", "of the oracle's gain %", "… unseen voices %"]
    head += [f"change on {name} %" for name in ("general speech", "unseen corpora", "other kinds")]
    heads = [head, ["adapter", "speech", "utterances", "base", "adapter", "oracle", *ways]]
    tables = [markdown_table(*pair) for pair in zip(heads, (shares, rates), strict=True)]
    weights = [[kind, *(f"{w:+.2f}" for w in rule.weights)] for kind, rule in of_train.items()]
    weights.append(["base", *(f"{w:+.2f}" for w in fit_base_rule(sets["dev"], KINDS).weights)])
    tables.append(markdown_table(["rule", "constant", *INPUTS], weights))
    costs = {k: recognitions(lines, k, rule) for k, rule in of_train.items()} | {"auto": of_auto}
    parts = [{kind: corpora == kind for kind in KINDS} | {"auto": ~general}, dict.fromkeys(costs, general)]
    means = [[k, *(f"{cost[of[k]].mean():.2f}" for of in parts)] for k, cost in costs.items()]
    tables.append(markdown_table(["recognitions an utterance", "own speech", "general speech"], means))
    for head, table in zip(heads, (shares, rates), strict=True):
        records += [dict(zip(head, map(str, row), strict=True)) for row in table]
    record = provenance()
    line = f"`{record['command']}` (commit {record['commit']}{' with changes' * record['dirty']})\n"
    write_json(out / "results.json", {"schema": 1, "rows": records} | record)
    write_text(out / "RESULTS.md", text := "\n".join([*tables, line]))
    print(text, end="")


def relative(
    counts: dict[str, np.ndarray], way: str, to: str, rows: np.ndarray, speakers: np.ndarray
) -> Rate | None:
    """On these rows: of `to` "oracle" the share of its gain, of "base" the change of its errors, with an
    interval over speakers."""
    if not rows.any():
        return None
    signed = to == "base"
    whole = counts["base"] if signed else counts["base"] - counts["oracle"]
    change = counts[way] - counts["base"] if signed else counts["base"] - counts[way]
    return Rate(*ratio_of_sums(change[rows], whole[rows], speakers[rows]), signed=signed)


if __name__ == "__main__":
    command(main)
