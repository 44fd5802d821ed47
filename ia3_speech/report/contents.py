"""What the page is made of: finds what a recipe left beside a decode directory, and reads it.

EXP/results.json, curve.json, trade_off.json      all systems; how much audio; the adapter scaled
EXP/SYSTEM/metrics.jsonl, adapter/                the training curve, the vectors
EXP/SYSTEM/decode_greedy_SET/                     DECODE_DIR: score.json, decode.json, the scored texts
EXP/base/decode_greedy_SET/                       the baseline, as score.json names it
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ia3_speech.adapters.record import Vector, read_tensors, vectors_in
from ia3_speech.cli import UserError
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.report.points import (
    Curve,
    Json,
    TradeOff,
    read_curve,
    read_json,
    read_trade_off,
    read_training,
)
from ia3_speech.scoring import kaldi_files as scoring_kaldi

SCHEMA = 1  # of score.json and results.json


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things lie; None (or nothing) where there is none."""

    decode_dir: Path
    baseline: Path | None = None
    adapter: Path | None = None
    training: Path | None = None
    results: Sequence[Path] = ()
    curve: Path | None = None
    trade_off: Path | None = None


@dataclass(frozen=True)
class Decoded:
    """One decode directory, decoded and scored: `record` is decode.json, texts are as they were scored."""

    name: str
    folder: Path
    score: Json
    record: Json
    references: dict[str, str]
    hypotheses: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that the page shows."""

    utterances: list[Utterance]  # those that were scored
    system: Decoded
    baseline: Decoded | None = None
    results: dict[str, Json] = field(default_factory=dict)  # file → results.json
    training: list[Json] = field(default_factory=list)  # an epoch each
    curve: Curve | None = None
    trade_off: TradeOff | None = None
    vectors: list[Vector] = field(default_factory=list)


def find(decode_dir: Path, **given: Any) -> Places:
    """What was `given` (fields of Places, None where it wasn't), and what lies beside `decode_dir`.

    Raises:
        UserError: something given is not there, or decode_dir is not scored, or not against the baseline.
    """
    score = read_score(decode_dir)
    folder = decode_dir.absolute().parent
    for place in [given.get(name) for name in ("baseline", "adapter", "training", "curve", "trade_off")]:
        if place and not place.exists():
            raise UserError(f"{place}: there is no such file or folder")
    beside = {
        "adapter": folder / "adapter",
        "training": folder / "metrics.jsonl",
        "curve": folder.parent / "curve.json",
        "trade_off": folder.parent / "trade_off.json",
    }
    found = {name: given.get(name) or (place if place.exists() else None) for name, place in beside.items()}
    results = given.get("results") or [p for p in [folder.parent / "results.json"] if p.exists()]
    baseline = given.get("baseline") or recorded_baseline(decode_dir, score)
    if baseline and not score.get("baseline"):
        raise UserError(
            f"{decode_dir}: was scored without a baseline "
            f'(run "python -m ia3_speech.score {score["data"]} {decode_dir} --baseline {baseline}")'
        )
    return Places(decode_dir=decode_dir, baseline=baseline, results=results, **found)


def recorded_baseline(decode_dir: Path, score: Json) -> Path | None:
    """What score.json names: as it stands there, or else the folder of that name in the same EXP."""
    if not score.get("baseline"):
        return None
    recorded = Path(score["baseline_dir"])
    places = [recorded, decode_dir.absolute().parents[1] / Path(*recorded.parts[-2:])]
    for place in places:
        if (place / "score.json").is_file():
            return place
    raise UserError(f"{recorded}: the baseline of {decode_dir} is not there, or not scored (give --baseline)")


def gather(data: Path, places: Places) -> Contents:
    """Read everything. Raises UserError where files are damaged or don't belong together."""
    folders = [places.decode_dir, *([places.baseline] if places.baseline else [])]
    system, *others = [
        read_decoded(folder, name) for folder, name in zip(folders, names(folders), strict=True)
    ]
    for baseline in others:
        check_pair(system, baseline)
    known = {utterance.id: utterance for utterance in read_data_directory(data, wav=False, spk_sort=False)}
    if strange := [name for name in system.references if name not in known]:
        raise UserError(
            f"{data}: utterance {strange[0]} of {system.folder} is not in it (is it the right set?)"
        )
    return Contents(
        utterances=[known[name] for name in system.references],
        system=system,
        baseline=others[0] if others else None,
        results={"/".join(path.parts[-2:]): read_results(path) for path in places.results},
        training=read_training(places.training) if places.training else [],
        curve=read_curve(places.curve) if places.curve else None,
        trade_off=read_trade_off(places.trade_off) if places.trade_off else None,
        vectors=read_vectors(places.adapter) if places.adapter else [],
    )


def names(folders: Sequence[Path]) -> list[str]:
    """What to call decode directories: `exp/medical/base/decode_greedy_test` is base."""
    absolute = [folder.absolute() for folder in folders]
    by_parent = [p.parent.name if p.name.startswith("decode") else p.name for p in absolute]
    for found in (by_parent, [p.name for p in absolute], [f"{p.parent.name}/{p.name}" for p in absolute]):
        if len(set(found)) == len(found):
            return found
    return [str(p) for p in absolute]


def read_decoded(folder: Path, name: str) -> Decoded:
    kaldi, record = folder / "scoring_kaldi", folder / "decode.json"
    return Decoded(
        name=name,
        folder=folder,
        score=read_score(folder),
        record=read_json(record) if record.exists() else {},  # other tools decode too
        references=scoring_kaldi.read_text(kaldi / "test_filt.txt"),
        hypotheses=scoring_kaldi.read_text(kaldi / "penalty_0.0/1.txt"),
    )


def check_pair(system: Decoded, baseline: Decoded) -> None:
    """The numbers that stand side by side must be of the same words, and of these very files."""
    counted = ("utterances", "words", "errors", "wer")
    scored = system.score["baseline"] or {}
    if any(scored.get(name) != baseline.score.get(name) for name in counted):
        raise UserError(
            f"{system.folder}: was scored against another baseline than what {baseline.folder} holds now "
            f'(run "python -m ia3_speech.score … --baseline {baseline.folder}" again)'
        )
    labels, before = ({k: set(v) for k, v in one.score["by_label"].items()} for one in (system, baseline))
    if lacking := next((label for label, values in labels.items() if before.get(label) != values), None):
        raise UserError(
            f"{baseline.folder}: was scored before the labels of {lacking} that {system.folder} has "
            f'(run "python -m ia3_speech.score" of it again)'
        )
    if system.references != baseline.references:
        raise UserError(f"{baseline.folder}: its references differ from {system.folder}'s (score both again)")


def read_vectors(folder: Path) -> list[Vector]:
    vectors = vectors_in(read_tensors(folder))
    if broken := [vector.module for vector in vectors if not np.isfinite(vector.values).all()]:
        raise UserError(f"{folder}: {broken[0]} holds NaN or infinite numbers (train it again)")
    return vectors


def read_score(folder: Path) -> Json:
    file = folder / "score.json"
    if not file.exists():
        raise UserError(f'{file}: is not there (run "python -m ia3_speech.score DATA {folder}" first)')
    return with_schema(file, read_json(file))


def read_results(file: Path) -> Json:
    found = with_schema(file, read_json(file))
    if not all(isinstance(found.get(name), list) for name in ("systems", "pairs")):
        raise UserError(f"{file}: has no systems and pairs (is it a recipe's results.json?)")
    return found


def with_schema(file: Path, found: Json) -> Json:
    if found.get("schema") != SCHEMA:
        raise UserError(f'{file}: "schema" is not {SCHEMA} (written by another version: make it again)')
    return found
