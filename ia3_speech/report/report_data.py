"""Find and read all that the report shows. In: a decode directory and the paths given. Out: `ReportData`.

EXP/results.json, curve.json, trade_off.json      all systems; learning curve; the scaled adapter
EXP/SYSTEM/metrics.jsonl, config.yaml, adapter/   training loss and dev WER; its options; the adapter
EXP/SYSTEM/decode_greedy_SET/                     DECODE_DIR: score.json, decode.json, hyp.ctm, scored texts
EXP/SYSTEM/decode_greedy_out_of_domain/           score.json of out-of-domain speech
EXP/base/decode_greedy_SET/                       the baseline, as score.json names it
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ia3_speech.adapters.record import read_summary
from ia3_speech.adapters.weights import Vector, read_weights, vectors_in
from ia3_speech.cli import UserError
from ia3_speech.confidence.reliability import Calibration, measure_decode_directory
from ia3_speech.data.kaldi import DataDirectory, read_data_directory
from ia3_speech.data.kaldi.overlap import sentences_of
from ia3_speech.data.kaldi.table_file import DataError
from ia3_speech.data.utterance import Utterance
from ia3_speech.experiments.curve_files import (
    Epoch,
    Json,
    LearningCurve,
    TradeOff,
    read_json_object,
    read_learning_curve,
    read_trade_off,
    read_training_log,
)
from ia3_speech.formatting import plural
from ia3_speech.scoring.alignment import Pair, align
from ia3_speech.scoring.error_rates import label_value
from ia3_speech.scoring.kaldi_files import read_kaldi_text
from ia3_speech.scoring.score_file import read_score
from ia3_speech.scoring.term_errors import TermList, read_term_list
from ia3_speech.training.records import read_training_options

logger = logging.getLogger(__name__)

SCHEMA = 1  # of results.json
OUT_OF_DOMAIN = "decode_greedy_out_of_domain"  # folder of the out-of-domain set, as recipes call it


@dataclass(frozen=True, kw_only=True)
class ReportPaths:
    """The files and folders that a report is made from; None, or no results, where there are none.

    Attributes:
        decode_dir: the scored decode directory of the system.
        baseline: that of the baseline.
        adapter: the adapter's folder.
        training: metrics.jsonl.
        results: results.json of any number of recipes.
        curve: curve.json.
        trade_off: trade_off.json.
        out_of_domain: score.json of out-of-domain speech, decoded with the system.
        terms: the term list that decode_dir was scored with.
        trained_on: text and utt2spk of the data directory that the adapter was trained on.
    """

    decode_dir: Path
    baseline: Path | None = None
    adapter: Path | None = None
    training: Path | None = None
    results: Sequence[Path] = ()
    curve: Path | None = None
    trade_off: Path | None = None
    out_of_domain: Path | None = None
    terms: Path | None = None
    trained_on: Sequence[Path] = ()


@dataclass(frozen=True)
class DecodedSystem:
    """One scored decode directory.

    Attributes:
        name: of the system, as the page shows it.
        folder: the decode directory.
        score: score.json.
        decoding: decode.json; empty where another tool decoded.
        references, hypotheses: {utterance id: text}, normalised as they were scored.
    """

    name: str
    folder: Path
    score: Json
    decoding: Json
    references: dict[str, str]
    hypotheses: dict[str, str]

    @cached_property
    def alignments(self) -> dict[str, list[Pair]]:
        """{utterance id: aligned words}, as Kaldi's per_utt shows them."""
        return {
            name: align(text.split(), self.hypotheses.get(name, "").split())
            for name, text in self.references.items()
        }


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All that the page shows.

    Attributes:
        utterances: the scored utterances, in the order of score.json.
        system, baseline: the two systems that are compared; baseline is None without one.
        results: path → results.json.
        training: the epochs of the training.
        curve: the learning curve.
        trade_off: in-domain against out-of-domain WER.
        vectors: the adapter's vectors.
        adapter: its record (ia3_speech.json); empty without one.
        out_of_domain: score.json of out-of-domain speech; empty without one.
        terms: the term list that the systems were scored with; None where there is none any more.
        overlap: warnings of what the test set has in common with training; None where that is not known.
    """

    utterances: list[Utterance]
    system: DecodedSystem
    baseline: DecodedSystem | None = None
    results: dict[str, Json] = field(default_factory=dict)
    training: list[Epoch] = field(default_factory=list)
    curve: LearningCurve | None = None
    trade_off: TradeOff | None = None
    vectors: list[Vector] = field(default_factory=list)
    adapter: Json = field(default_factory=dict)
    out_of_domain: Json = field(default_factory=dict)
    terms: TermList | None = None
    overlap: list[str] | None = None

    @property
    def systems(self) -> list[DecodedSystem]:
        """The baseline, if there is one, and the system."""
        return [one for one in (self.baseline, self.system) if one]

    @cached_property
    def calibrations(self) -> list[tuple[DecodedSystem, Calibration]]:
        """Each system whose confidences are known and that wrote a word, with its calibration; the page and
        its tables show it, and its bootstrap takes a second."""
        by_id, found = {utterance.id: utterance for utterance in self.utterances}, []
        for system in self.systems:
            score = system.score
            clusters = {name: label_value(by_id[name], score["ci_unit"]) for name in system.alignments}
            measured = measure_decode_directory(
                system.folder, system.alignments, clusters,
                normalize=score["normalize"], replications=score["replications"], seed=score["seed"],
            )  # fmt: skip
            if measured:
                found.append((system, measured))
        return found


def find_report_paths(decode_dir: Path, **given: Any) -> ReportPaths:
    """The paths that were `given` (fields of ReportPaths; None: not given), completed by those that exist
    beside `decode_dir`.

    Raises:
        UserError: a given path does not exist, or decode_dir was not scored, or not against the baseline.
    """
    score = read_score(decode_dir / "score.json")
    folder = decode_dir.absolute().parent
    named = ("baseline", "adapter", "training", "curve", "trade_off", "out_of_domain")
    for path in map(given.get, named):
        if path and not path.exists():
            raise UserError(f"{path}: there is no such file or folder")
    beside = {
        "adapter": folder / "adapter",
        "training": folder / "metrics.jsonl",
        "curve": folder.parent / "curve.json",
        "trade_off": folder.parent / "trade_off.json",
        "out_of_domain": folder / OUT_OF_DOMAIN / "score.json",
    }
    found = {name: given.get(name) or (path if path.exists() else None) for name, path in beside.items()}
    results = given.get("results") or [p for p in [folder.parent / "results.json"] if p.exists()]
    baseline = given.get("baseline") or recorded_baseline(decode_dir, score)
    if baseline and not score.get("baseline"):
        raise UserError(
            f"{decode_dir}: was scored without a baseline "
            f'(run "ia3-speech score {score["data"]} {decode_dir} --baseline {baseline}")'
        )
    if decode_dir.name == OUT_OF_DOMAIN:
        found["out_of_domain"] = None
    return ReportPaths(
        decode_dir=decode_dir,
        baseline=baseline,
        results=results,
        terms=recorded_terms(decode_dir, score),
        trained_on=training_tables(folder / "config.yaml"),
        **found,
    )


def recorded_baseline(decode_dir: Path, score: Json) -> Path | None:
    """The baseline that score.json names: at its recorded path, else the folder of that name in EXP."""
    if not score.get("baseline"):
        return None
    recorded = Path(score["baseline_dir"])
    for folder in (recorded, decode_dir.absolute().parents[1] / Path(*recorded.parts[-2:])):
        if (folder / "score.json").is_file():
            return folder
    raise UserError(f"{recorded}: the baseline of {decode_dir} is not there, or not scored (give --baseline)")


def recorded_terms(decode_dir: Path, score: Json) -> Path | None:
    """The term list that score.json names: at its recorded path, else the file of that name in EXP."""
    recorded = Path(score.get("terms_file") or "")
    places = (recorded, decode_dir.absolute().parents[1] / recorded.name)
    return next((path for path in places if path.is_file()), None)


def training_tables(config: Path) -> list[Path]:
    """text and utt2spk of the data directory that config.yaml names; none where they are not there."""
    if not config.is_file():
        return []
    trained_on = read_training_options(config).get("train")
    tables = [Path(trained_on) / name for name in ("text", "utt2spk")] if trained_on else []
    return tables if all(path.is_file() for path in tables) else []


def read_report_data(data: Path, paths: ReportPaths) -> ReportData:
    """Read all files. Raises UserError where one is damaged, or where they do not belong together."""
    folders = [paths.decode_dir, *([paths.baseline] if paths.baseline else [])]
    names = system_names(folders)
    system, *others = map(read_decoded_system, folders, names)
    for baseline in others:
        check_comparable(system, baseline)
    directory = read_data_directory(data, wav=False, spk_sort=False)
    by_id = {utterance.id: utterance for utterance in directory}
    if unknown := [name for name in system.references if name not in by_id]:
        raise UserError(
            f"{data}: utterance {unknown[0]} of {system.folder} is not in it (is it the right set?)"
        )
    return ReportData(
        utterances=[by_id[name] for name in system.references],
        system=system,
        baseline=others[0] if others else None,
        results={"/".join(path.parts[-2:]): read_results(path) for path in paths.results},
        training=read_training_log(paths.training) if paths.training else [],
        curve=read_learning_curve(paths.curve) if paths.curve else None,
        trade_off=read_trade_off(paths.trade_off) if paths.trade_off else None,
        vectors=read_vectors(paths.adapter) if paths.adapter else [],
        adapter=read_summary(paths.adapter) if paths.adapter else {},
        out_of_domain=read_score(paths.out_of_domain) if paths.out_of_domain else {},
        terms=read_terms(paths.terms, system) if paths.terms and system.score["terms"] else None,
        overlap=read_overlap(directory, system.score, paths.trained_on),
    )


def system_names(folders: Sequence[Path]) -> list[str]:
    """Names of the systems by their decode directories: `exp/medical/base/decode_greedy_test` is base.

    More of the path is used where the names would be the same.
    """
    absolute = [folder.absolute() for folder in folders]
    by_parent = [p.parent.name if p.name.startswith("decode") else p.name for p in absolute]
    for names in (by_parent, [p.name for p in absolute], [f"{p.parent.name}/{p.name}" for p in absolute]):
        if len(set(names)) == len(names):
            return names
    return [str(p) for p in absolute]


def read_decoded_system(folder: Path, name: str) -> DecodedSystem:
    """Read a scored decode directory. Raises UserError where it is not scored."""
    texts, decoding = folder / "scoring_kaldi", folder / "decode.json"
    return DecodedSystem(
        name=name,
        folder=folder,
        score=read_score(folder / "score.json"),
        decoding=read_json_object(decoding) if decoding.exists() else {},
        references=read_kaldi_text(texts / "test_filt.txt"),
        hypotheses=read_kaldi_text(texts / "penalty_0.0/1.txt"),
    )


def check_comparable(system: DecodedSystem, baseline: DecodedSystem) -> None:
    """Raise UserError unless both were scored on the same words, and the system against this baseline."""
    compared = ("utterances", "words", "errors", "wer")
    recorded = system.score["baseline"] or {}
    if any(recorded.get(name) != baseline.score.get(name) for name in compared):
        raise UserError(
            f"{system.folder}: was scored against another baseline than what {baseline.folder} holds now "
            f'(run "ia3-speech score … --baseline {baseline.folder}" again)'
        )
    own, other = ({k: set(v) for k, v in one.score["by_label"].items()} for one in (system, baseline))
    if lacking := next((label for label, values in own.items() if other.get(label) != values), None):
        raise UserError(
            f"{baseline.folder}: was scored before the labels of {lacking} that {system.folder} has "
            f'(run "ia3-speech score" of it again)'
        )
    if system.references != baseline.references:
        raise UserError(f"{baseline.folder}: its references differ from {system.folder}'s (score both again)")


def read_terms(file: Path, system: DecodedSystem) -> TermList:
    """The term list, normalised as the texts were."""
    return read_term_list(file, system.score["normalize"])


def read_overlap(test: DataDirectory, score: Json, trained_on: Sequence[Path]) -> list[str] | None:
    """Warnings of sentences and speakers of the test set that training has: those of score.json, else from
    the training data, if that is still there."""
    if score.get("overlap"):
        return list(score["overlap"]["warnings"])
    if not trained_on:
        return None
    try:
        train = read_data_directory(trained_on[0].parent, wav=False, spk_sort=False)
    except DataError as error:
        logger.warning("what the test set has in common with training is not known: %s", error)
        return None
    counts = {
        "speaker": (set(test.speakers), set(train.speakers)),
        "sentence": (sentences_of(test), sentences_of(train)),
    }
    return [
        f"{len(own & other)} of {plural(len(own), noun)} of the test set occur in training"
        for noun, (own, other) in counts.items()
        if own & other
    ]


def read_vectors(folder: Path) -> list[Vector]:
    """The vectors of an adapter. Raises UserError where one holds NaN or infinite values."""
    vectors = vectors_in(read_weights(folder))
    if broken := [vector.module for vector in vectors if not np.isfinite(vector.values).all()]:
        raise UserError(f"{folder}: {broken[0]} holds NaN or infinite numbers (train it again)")
    return vectors


def read_results(file: Path) -> Json:
    """A recipe's results.json. Raises UserError where it is none, or of another schema."""
    found = read_json_object(file)
    if found.get("schema") != SCHEMA:
        raise UserError(f'{file}: "schema" is not {SCHEMA} (written by another version: make it again)')
    if not all(isinstance(found.get(name), list) for name in ("systems", "pairs")):
        raise UserError(f"{file}: has no systems and pairs (is it a recipe's results.json?)")
    return found
