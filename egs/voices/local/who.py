#!/usr/bin/env python3
"""Measure what it gains that `auto` recognises who speaks, in a mixed batch of many people.

    python local/who.py --data DATA/test --adapters EXP/from_base_k15_seed1 --out exp/who

In: the output of `ia3-speech speakers --folds 4` on people (recipe speaker_adaptation), an adapter for each
fold of a person. Out: OUT/foldN.jsonl, a line for each sentence: what the base, the person's own adapter
(without and with a guard) and `auto` make of it; results.json and RESULTS.md. In each fold a person is
enrolled with the sentences that the adapter was trained on, and the other sentences are recognised: with all
people enrolled, and with the half of them to whom the speaker does not belong ("unknown").
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ia3_speech.adapters import registry
from ia3_speech.adapters.record import read_json
from ia3_speech.adapters.spec import parse_adapter
from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import load_utterances
from ia3_speech.errors import UserError
from ia3_speech.inputs import provenance
from ia3_speech.routing.gate import add_gate
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.significance import ratio_of_sums, sums_by_cluster
from ia3_speech.scoring.table import Rate, markdown_table
from ia3_speech.session import load

BATCH = 40  # sentences of all people that are recognised at a time
SYSTEMS = ("base", "own", "own, guard", "auto", "unknown")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the measurement."""

    data: Path
    """the people's data directory"""
    adapters: Path
    """what `ia3-speech speakers --folds` wrote"""
    out: Path
    """folder to write"""
    people: int = 0
    """the first so many people (0: all)"""


def main(options: Options) -> None:
    """Recognise all sentences, and write the table."""
    people = sorted(file.parents[1].name for file in options.adapters.glob("*/fold1/task.json"))
    people = people[: options.people or None]
    if len(people) < 2:
        raise UserError(f"{options.adapters}: holds no folds of two people (ia3-speech speakers --folds 4)")
    folds = sorted(folder.name for folder in (options.adapters / people[0]).glob("fold*"))
    for fold in folds:
        file = options.out / f"{fold}.jsonl"
        if not file.is_file():
            lines = recognise(options, people, fold)
            write_text(file, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
    lines = [
        json.loads(line) for fold in folds for line in (options.out / f"{fold}.jsonl").open(encoding="utf-8")
    ]
    write_results(options.out, lines)


def recognise(options: Options, people: list[str], fold: str) -> list[dict]:
    """The lines of a fold: id, speaker, words, errors of each system, and whom `auto` recognised."""
    os.environ["IA3_SPEECH_HOME"] = str((options.out / f"home_{fold}").absolute())
    utterances = [u for u in read_data_directory(options.data, spk_sort=False) if u.speaker in people]
    session, held_out = load("mini", search="greedy", precision="auto").session, []
    for person in people:
        folder = registry.register(options.adapters / person / fold, person, force=True)
        task = read_json(options.adapters / person / fold / "task.json")
        spoken = [utterance for utterance in utterances if utterance.speaker == person]
        enrolled = [utterance for utterance in spoken if utterance.id in task["trained_on"]]
        add_gate(folder, session.base, enrolled, person, identify=True)
        held_out += [utterance for utterance in spoken if utterance.id in task["texts"]]
    held_out.sort(key=lambda utterance: utterance.id.rpartition("-")[2])  # people alternate
    lines = []
    for first in range(0, len(held_out), BATCH):
        chosen, waves = zip(*load_utterances(held_out[first : first + BATCH], progress=False), strict=True)
        lines += [
            {"id": u.id, "speaker": u.speaker, "words": text_errors(u.text, "").words, "errors": {}}
            for u in chosen
        ]
        terms = [parse_adapter(utterance.speaker).terms for utterance in chosen]
        recognitions = {"base": session.recognizer().recognize(waves)}
        recognitions["own"] = session.recognizer(parse_adapter(people[0])).recognize(waves, rows=terms)
        recognitions["auto"] = session.recognizer(parse_adapter(among(people))).recognize(waves)
        recognitions |= {"own, guard": [None] * len(chosen), "unknown": [None] * len(chosen)}
        requests = [
            ("own, guard", parse_adapter(person, guard=True), [person])
            for person in {utterance.speaker for utterance in chosen}
        ]
        halves = people[::2], people[1::2]
        requests += [("unknown", parse_adapter(among(halves[1 - n])), halves[n]) for n in range(2)]
        for system, spec, speakers in requests:
            rows = [row for row, utterance in enumerate(chosen) if utterance.speaker in speakers]
            recognised = session.recognizer(spec).recognize([waves[row] for row in rows])
            for row, recognition in zip(rows, recognised, strict=True):
                recognitions[system][row] = recognition
        for system, of_system in recognitions.items():
            for line, utterance, recognition in zip(lines[-len(chosen) :], chosen, of_system, strict=True):
                line["errors"][system] = text_errors(utterance.text, recognition.text).total
                if recognition.choices:
                    line[system] = recognition.choices[0].adapter
    return lines


def among(people: list[str]) -> str:
    return f"auto:{','.join(people)}"


def write_results(out: Path, lines: list[dict]) -> None:
    """The WER of each system, its share of what the own adapters gain, with intervals over people, and how
    many people it helps and harms."""
    columns = {name: np.array([line["errors"][name] for line in lines], float) for name in SYSTEMS}
    columns |= {"words": np.array([line["words"] for line in lines], float)}
    columns["gain"] = columns["base"] - columns["own"]
    of_people = sums_by_cluster(columns, np.array([line["speaker"] for line in lines]))
    rows = []
    for name in SYSTEMS:
        wer = Rate(*ratio_of_sums(of_people[name], of_people["words"]))
        changes = of_people[name] - of_people["base"]
        share = Rate(*ratio_of_sums(of_people["base"] - of_people[name], of_people["gain"]))
        outcome = [Rate(np.mean(changes < 0).item()), Rate(np.mean(changes > 0).item())]
        outcome += [Rate((changes / np.maximum(of_people["base"], 1)).max().item(), signed=True)]
        right = [line.get(name) == (line["speaker"] if name == "auto" else None) for line in lines]
        right = Rate(np.mean(right).item()) if name in ("auto", "unknown") else None
        rows.append([name, wer, *([None] * 4 if name == "base" else [share, *outcome]), right])
    head = ["system", "WER %", "of the own adapters' gain %", "better off %", "worse off %", "worst change %"]
    head += ["right person, or nobody %"]
    write_text(out / "RESULTS.md", markdown_table(head, rows))
    write_json(out / "results.json", {
        "systems": [dict(zip(head, map(str, row), strict=True)) for row in rows],
        "people": len(of_people["words"]), "sentences": len(lines), "versions": provenance(),
    })  # fmt: skip


if __name__ == "__main__":
    command(main)
