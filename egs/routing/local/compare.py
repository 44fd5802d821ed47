#!/usr/bin/env python3
"""What choosing by the audio gains and costs, against the base and against who knows each recording's kind.

    local/compare.py exp/real data/real 'accent orders telephone notes'

In: EXP/SYSTEM/decode_greedy_SET/{text,decode.json,gate} of the base, of each kind's adapter, of auto and
auto-sum, for the sets dev, test and harder, whose label `corpus` is the kind, or another corpus of general
speech. Out: EXP/results.json and EXP/RESULTS.md, which is also printed.

The oracle hears a kind's recordings with its adapter, and general speech with the base. A way of choosing has
the share (base − way) / (base − oracle) of its gain, in errors on the four kinds together.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ia3_speech.atomic import write_json, write_text
from ia3_speech.cli import command
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.inputs import provenance
from ia3_speech.results.notes import bullets
from ia3_speech.results.systems import load_json
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.kaldi_files import read_kaldi_text
from ia3_speech.scoring.significance import bootstrap_sums, percentile_interval, ratio, sums_by_cluster
from ia3_speech.scoring.table import Cell, Rate, markdown_table

SETS = ("dev", "test", "harder")
WAYS = ("auto", "auto-sum")


@dataclass
class DecodedSet:
    """A mixed set, as all systems heard it; arrays have one number an utterance.

    Attributes:
        kinds: of the adapters.
        words: of the references.
        errors: by system.
        chosen: by auto: an adapter, or base.
        speeds: by system, seconds a second of audio.
    """

    kinds: list[str]
    utterances: list[Utterance]
    words: np.ndarray
    errors: dict[str, np.ndarray]
    chosen: np.ndarray
    speeds: dict[str, float]

    @property
    def corpora(self) -> np.ndarray:
        return np.array([one.labels["corpus"] for one in self.utterances])

    @property
    def oracle(self) -> np.ndarray:
        """(utterances,): the errors of who knows the kind; of general speech the base's."""
        errors = self.errors["base"].copy()
        for kind in self.errors.keys() & {*self.kinds}:
            errors = np.where(self.corpora == kind, self.errors[kind], errors)
        return errors

    def relative(self, way: str, to: np.ndarray, rows: np.ndarray) -> Rate:
        """(way − base) / `to`, in errors on these rows, with an interval over speakers."""
        counts = {"change": (self.errors[way] - self.errors["base"])[rows], "to": to[rows]}
        speakers = [one.speaker for one, is_in in zip(self.utterances, rows, strict=True) if is_in]
        value = ratio(counts["change"].sum(), counts["to"].sum()).item()
        draws = bootstrap_sums(sums_by_cluster(counts, speakers))
        return Rate(value, percentile_interval(ratio(draws["change"], draws["to"]) + 0.0), signed=True)


def main(exp: Path, data: Path, kinds: str) -> None:
    """Write EXP/results.json and EXP/RESULTS.md, and print the latter."""
    texts, results = [], {}
    for name in SETS:
        if (data / name).is_dir() and (exp / f"auto/decode_greedy_{name}").is_dir():
            decoded = read_set(exp, data / name, kinds.split())
            tables = [rates(name, decoded), shares(name, decoded), confusion(name, decoded)]
            texts += [markdown_table(head, rows) for head, rows in tables if rows]
            results[name] = [
                dict(zip(head, map(str, row), strict=True)) for head, rows in tables for row in rows
            ]
            texts.append(bullets([f"{name}: {speed_note(decoded)}"]))
    write_json(exp / "results.json", {"schema": 1, "sets": results} | provenance())
    text = "\n".join(texts)
    write_text(exp / "RESULTS.md", text)
    print(text, end="")


def read_set(exp: Path, data: Path, kinds: list[str]) -> DecodedSet:
    utterances = list(read_data_directory(data, wav=False, spk_sort=False))
    errors, speeds = {}, {}
    for system in ("base", *kinds, *WAYS):
        folder = exp / system / f"decode_greedy_{data.name}"
        if not folder.is_dir():
            continue
        texts = read_kaldi_text(folder / "text")
        counted = [text_errors(one.text, texts[one.id]) for one in utterances]
        errors[system] = np.array([count.total for count in counted])
        speeds[system] = load_json(folder / "decode.json")["real_time_factor"]
    lines = (exp / f"auto/decode_greedy_{data.name}/gate").read_text("utf-8").splitlines()
    chosen = {line.split("\t")[0]: line.split("\t")[1] for line in lines}  # of a long one its last piece's
    words = np.array([count.words for count in counted])
    chosen = np.array([chosen[one.id] for one in utterances])
    return DecodedSet(kinds, utterances, words, errors, chosen, speeds)


def rates(name: str, decoded: DecodedSet) -> tuple[list[str], list[list[Cell]]]:
    """WER of each system, a line a kind or corpus."""
    columns = decoded.errors | {"oracle": decoded.oracle}
    groups = {str(corpus): decoded.corpora == corpus for corpus in dict.fromkeys(decoded.corpora)}
    rows = [
        [corpus, int(rows.sum()), *(Rate(ratio(errors[rows].sum(), decoded.words[rows].sum()).item())
         for errors in columns.values())]
        for corpus, rows in groups.items()
    ]  # fmt: skip
    return [f"{name}, WER %", "utterances", *columns], rows


def shares(name: str, decoded: DecodedSet) -> tuple[list[str], list[list[Cell]]]:
    """What each way has of the oracle's gain, and what it changes on general speech."""
    adapted = np.isin(decoded.corpora, decoded.kinds)
    gain, rows = decoded.oracle - decoded.errors["base"], []
    for way in (way for way in WAYS if way in decoded.errors):
        row: list[Cell] = [way]
        share = decoded.relative(way, gain, adapted) if adapted.any() else None
        row.append(share and replace(share, signed=False))
        row.append(decoded.relative(way, decoded.errors["base"], ~adapted) if not adapted.all() else None)
        rows.append(row)
    return [name, "of the oracle's gain %", "change on general speech %"], rows


def confusion(name: str, decoded: DecodedSet) -> tuple[list[str], list[list[Cell]]]:
    """How many utterances of each corpus auto gave to which adapter."""
    columns = ["base", *decoded.kinds]
    counts = {corpus: Counter(decoded.chosen[decoded.corpora == corpus]) for corpus in decoded.corpora}
    rows: list[list[Cell]] = [
        [str(corpus), *(count[column] for column in columns)] for corpus, count in counts.items()
    ]
    return [f"{name}, auto chose", *columns], rows


def speed_note(decoded: DecodedSet) -> str:
    speeds = ", ".join(f"{system} {speed:.3f}" for system, speed in decoded.speeds.items())
    people = len({one.speaker for one in decoded.utterances})
    return (
        f"{len(decoded.utterances)} utterances, {decoded.words.sum():,} words, {people} speakers, over whom "
        f"the intervals are drawn. Seconds a second of audio: {speeds}."
    )


if __name__ == "__main__":
    command(main)
