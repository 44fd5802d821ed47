"""Find and read the contents of the report. In: a decode directory. Out: `ReportData`.

EXP/curve*.json, trade_off.json      learning curves; the scaled adapter
EXP/SYSTEM/metrics.jsonl, adapter/   training loss and dev WER; the adapter
EXP/SYSTEM/*/                        DECODE_DIR: score.json, decode.json, scored texts, words (hyp.ctm); the
                                     same system on out-of-domain speech, and searched otherwise
EXP/*/*/                             the baseline, as score.json names it; the base searched otherwise
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ia3_speech.adapters.record import read_summary
from ia3_speech.adapters.weights import Vector, read_weights, vectors_in
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.utterance import Utterance
from ia3_speech.errors import UserError
from ia3_speech.results.curve_files import (
    Epoch,
    LearningCurve,
    TradeOff,
    read_learning_curve,
    read_trade_off,
    read_training_log,
)
from ia3_speech.results.systems import load_json
from ia3_speech.scoring.alignment import Pair, align
from ia3_speech.scoring.error_rates import Json
from ia3_speech.scoring.kaldi_files import read_kaldi_text
from ia3_speech.scoring.record import (
    BASE,
    GREEDY,
    OUT_OF_DOMAIN,
    SEARCHES,
    Result,
    read_if_there,
    read_result,
)
from ia3_speech.scoring.term_errors import TermList, read_term_list

logger = logging.getLogger("ia3_speech.report")


@dataclass(frozen=True)
class DecodedSystem:
    """A scored decode directory."""

    name: str  # of the system, for the page
    result: Result
    decoding: Json  # decode.json; empty if another tool decoded
    references: dict[str, str]  # {utterance id: text}, normalised as in scoring
    hypotheses: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.result.folder

    @cached_property
    def alignments(self) -> dict[str, list[Pair]]:
        """{utterance id: aligned words}, as Kaldi's per_utt shows them."""
        return {
            utterance: align(text.split(), self.hypotheses.get(utterance, "").split())
            for utterance, text in self.references.items()
        }

    def errors(self, utterance: str) -> int:
        """The word errors of an utterance."""
        return sum(reference != hypothesis for reference, hypothesis in self.alignments[utterance])


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """The contents of the page."""

    utterances: list[Utterance]  # the scored utterances, in the order of score.json
    system: DecodedSystem
    baseline: DecodedSystem | None = None  # of the comparison
    others: list[DecodedSystem] = field(default_factory=list)  # base and adapter with other searches
    training: list[Epoch] = field(default_factory=list)
    curve: LearningCurve | None = None
    trade_off: TradeOff | None = None  # in-domain against out-of-domain WER
    vectors: list[Vector] = field(default_factory=list)  # the adapter's
    adapter: Json = field(default_factory=dict)  # its record (ia3_speech.json)
    out_of_domain: Result | None = None  # result on out-of-domain speech
    terms: TermList | None = None  # the term list of the scores, if the file still exists

    @property
    def systems(self) -> list[DecodedSystem]:
        """The baseline, if there is one, and the system."""
        return [system for system in (self.baseline, self.system) if system]

    @property
    def all_systems(self) -> list[DecodedSystem]:
        """All systems: greedy search first, and for each search the base first."""
        order, systems = [*SEARCHES], [*self.systems, *self.others]
        return sorted(systems, key=lambda s: (order.index(s.result.search), s.result.system != BASE))

    @property
    def start(self) -> DecodedSystem | None:
        """The base alone, searched greedily, if the system is compared with another system; else None."""
        alone = [s for s in self.others if (s.result.system, s.result.search) == (BASE, GREEDY)]
        return alone[0] if alone and self.baseline else None

    @property
    def with_confidences(self) -> list[DecodedSystem]:
        """The compared systems whose word confidences were scored."""
        return [system for system in self.systems if system.result.confidences]


def find_report_files(
    decode_dir: Path, baseline: Path | None = None, training: Path | None = None, curve: Path | None = None
) -> dict[str, Path | list[Path]]:
    """The decode directories ("decode_dir", "baseline", the list "others") and files of a report, by the
    field of `ReportData` that they fill: the given paths, and other files beside `decode_dir`. Raises
    UserError if a given path does not exist, or decode_dir was not scored, or not against the baseline."""
    result, folder = read_result(decode_dir / "score.json"), decode_dir.absolute().parent
    for path in filter(None, (baseline, training, curve)):
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder")
    if baseline and not result.has_baseline:
        raise UserError(
            f"{decode_dir}: was scored without a baseline "
            f'(run "ia3-speech score {result.record["data"]} {decode_dir} --baseline {baseline}")'
        )
    beside = [read_result(file) for file in sorted(folder.parent.glob("*/*/score.json"))]
    same_set = [other for other in beside if other.set == result.set]
    if result.has_baseline and not baseline:
        recorded = Path(result.record["baseline_dir"])
        alike = [other.folder for other in same_set if other.label == result.baseline_label]
        baseline = next((place for place in (recorded, *alike) if place.exists()), None)
        if not baseline:
            raise UserError(f"{recorded}: the baseline of {decode_dir} is missing (give `baseline`)")
    shown = {place.resolve() for place in (decode_dir, baseline) if place}
    out_of_domain = {
        other.search: other.folder / "score.json"
        for other in beside
        if other.folder.parent == folder and other.set == OUT_OF_DOMAIN != result.set
    }
    curves = sorted(folder.parent.glob("curve*.json"), key=lambda file: file.stem)
    curves = [file for file in curves if result.name in load_json(file).get("systems", [result.name])]
    terms = Path(result.record.get("terms_file") or "none")
    files = {
        "decode_dir": decode_dir,
        "baseline": baseline,
        "adapter": folder / "adapter",
        "training": training or folder / "metrics.jsonl",
        "curve": curve or next(iter(curves), None),
        "trade_off": folder.parent / "trade_off.json",
        "out_of_domain": out_of_domain.get(result.search, out_of_domain.get(GREEDY)),
        "terms": terms if terms.exists() else folder.parent / terms.name,
    }
    others = [
        other.folder
        for other in same_set
        if (other.system == BASE or other.folder.parent == folder) and other.folder.resolve() not in shown
    ]
    return {name: path for name, path in files.items() if path and path.exists()} | {"others": others}


def read_report_data(data: Path, files: Mapping[str, Any]) -> ReportData:
    """Read the files that `find_report_files` returned. Raises UserError if a file is damaged, or the files
    do not belong together."""
    system, *others = map(read_decoded_system, [files["decode_dir"], *files["others"]])
    baseline = read_decoded_system(files["baseline"]) if "baseline" in files else None
    if baseline:
        check_comparable(system, baseline)
    for other in [other for other in others if other.references != system.references]:
        logger.warning("%s: left out, its references differ (score it again)", other.folder)
        others.remove(other)
    by_id = {utterance.id: utterance for utterance in read_data_directory(data, wav=False, spk_sort=False)}
    if unknown := [name for name in system.references if name not in by_id]:
        raise UserError(
            f"{data}: utterance {unknown[0]} of {system.folder} is not in it (is it the right set?)"
        )
    readers = {
        "training": read_training_log,
        "curve": read_learning_curve,
        "trade_off": read_trade_off,
        "adapter": read_summary,
        "out_of_domain": read_result,
    }
    with_terms = system.result.terms and "terms" in files
    return ReportData(
        utterances=[by_id[name] for name in system.references],
        system=system,
        baseline=baseline,
        others=others,
        vectors=vectors_in(read_weights(files["adapter"])) if "adapter" in files else [],
        terms=read_term_list(files["terms"], system.result.record["normalize"]) if with_terms else None,
        **{name: read(files[name]) for name, read in readers.items() if name in files},
    )


def read_decoded_system(folder: Path) -> DecodedSystem:
    """Read a decode directory. Raises UserError if it is not scored."""
    texts, result = folder / "scoring_kaldi", read_result(folder / "score.json")
    return DecodedSystem(
        name=result.label,
        result=result,
        decoding=read_if_there(folder / "decode.json"),
        references=read_kaldi_text(texts / "test_filt.txt"),
        hypotheses=read_kaldi_text(texts / "penalty_0.0/1.txt"),
    )


def check_comparable(system: DecodedSystem, baseline: DecodedSystem) -> None:
    """Raises UserError unless the system was scored against this baseline, and both by the same labels."""
    ours, theirs = (
        {label: [*values] for label, values in side.result.record["by_label"].items()}
        for side in (system, baseline)
    )
    if ours != theirs or not system.result.is_against(baseline.result):
        raise UserError(
            f"{system.folder}: was scored before {baseline.folder} changed, or by other labels "
            f'(run "ia3-speech score" of the baseline and of the system again)'
        )
