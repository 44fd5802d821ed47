"""Find and read the contents of the report. In: a decode directory. Out: `ReportData`.

EXP/curve*.json, trade_off.json      learning curves; the scaled adapter
EXP/SYSTEM/metrics.jsonl, adapter/   training loss and dev WER; the adapter
EXP/SYSTEM/*/                        DECODE_DIR: score.json, decode.json, scored texts, words (hyp.ctm); the
                                     same system on out-of-domain speech, and searched otherwise
EXP/*/*/                             the baseline, as score.json names it; the base searched otherwise
"""

import logging
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from ia3_speech.adapters.record import read_summary
from ia3_speech.adapters.weights import Vector, read_weights, vectors_in
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.kaldi.table_file import read_kaldi_text
from ia3_speech.data.utterance import Utterance
from ia3_speech.report import curve_files
from ia3_speech.scoring.alignment import Pair, align
from ia3_speech.scoring.error_rates import Json
from ia3_speech.scoring.record import (
    BASE,
    GREEDY,
    HOTWORDS,
    LM,
    OUT_OF_DOMAIN,
    SEARCHES,
    Result,
    load_json,
    read_result,
)
from ia3_speech.scoring.term_errors import TermList, read_term_list

logger = logging.getLogger("ia3_speech.report")


@dataclass(frozen=True)
class DecodedSystem:
    """A scored decode directory."""

    result: Result
    decoding: Json  # decode.json; empty if another tool decoded
    references: dict[str, str]  # {utterance id: text}, normalised as in scoring
    hypotheses: dict[str, str]

    @property
    def name(self) -> str:
        return self.result.label

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
    training: list[Json] = field(default_factory=list)  # the lines of metrics.jsonl
    curve: curve_files.LearningCurve | None = None
    trade_off: curve_files.TradeOff | None = None  # in-domain against out-of-domain WER
    vectors: list[Vector] = field(default_factory=list)  # the adapter's
    adapter: Json = field(default_factory=dict)  # its record (ia3_speech.json)
    out_of_domain: Result | None = None  # result on out-of-domain speech
    terms: TermList | None = None  # the term list of the scores, if the file still exists
    files: dict[str, Path] = field(default_factory=dict)  # of the fields above, by their names

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


def read_report(
    data: Path, decode_dir: Path, training: Path | None = None, allow_pipes: bool = False
) -> ReportData:
    """Read a decode directory, its baseline, and the files beside it. `training`: metrics.jsonl, if it is not
    beside `decode_dir`; `allow_pipes`: run shell commands in wav.scp, for spectrograms and embedded audio.
    Raises UserError if a given path does not exist, `decode_dir` was not scored, a file is damaged, or the
    files do not belong together."""
    if training and not training.exists():
        raise UserError(f"{training}: there is no such file or folder")
    system, folder = read_decoded_system(decode_dir), decode_dir.absolute().parent
    beside = [read_result(file) for file in sorted(folder.parent.glob("*/*/score.json"))]
    against = read_baseline(system.result, beside)
    if against:
        check_comparable(system, against)
    shown = {side.folder.resolve() for side in (system, against) if side}
    others = []
    for other in beside:
        alike = other.set == system.result.set and (other.system == BASE or other.folder.parent == folder)
        if alike and other.folder.resolve() not in shown:
            decoded = read_decoded_system(other.folder)
            if decoded.references == system.references:
                others.append(decoded)
            else:
                logger.warning("%s: left out, its references differ (score it again)", other.folder)
    utterances = read_data_directory(data, wav=False, spk_sort=False, allow_pipes=allow_pipes)
    by_id = {utterance.id: utterance for utterance in utterances}
    if unknown := [name for name in system.references if name not in by_id]:
        hint = "is it the right set?"
        raise UserError(f"{data}: utterance {unknown[0]} of {system.folder} is not in it ({hint})")
    files = find_files(system.result, folder, beside) | ({"training": training} if training else {})
    files = {name: path for name, path in files.items() if path and path.exists()}
    if not system.result.terms:
        files.pop("terms", None)
    readers = {
        "training": curve_files.read_training_log,
        "curve": curve_files.read_learning_curve,
        "trade_off": curve_files.read_trade_off,
        "adapter": read_summary,
        "out_of_domain": read_result,
        "terms": partial(read_term_list, mode=system.result.record["normalize"]),
    }
    return ReportData(
        utterances=[by_id[name] for name in system.references],
        system=system,
        baseline=against,
        others=others,
        vectors=vectors_in(read_weights(files["adapter"])) if "adapter" in files else [],
        files=files,
        **{name: read(files[name]) for name, read in readers.items() if name in files},
    )


def read_baseline(result: Result, beside: list[Result]) -> DecodedSystem | None:
    """The baseline of a score: the recorded folder, or a result of the same name; None without a baseline."""
    if not result.has_baseline:
        return None
    recorded = Path(result.record["baseline_dir"])
    alike = [r.folder for r in beside if (r.set, r.label) == (result.set, result.baseline_label)]
    place = next((place for place in (recorded, *alike) if place.exists()), None)
    if not place:
        raise UserError(f"{recorded}: the baseline of {result.folder} is missing (score it again)")
    return read_decoded_system(place)


def find_files(result: Result, folder: Path, beside: list[Result]) -> dict[str, Path | None]:
    """The places of further files, by the field of `ReportData` that they fill."""
    exp, terms = folder.parent, Path(result.record.get("terms_file") or "none")
    out_of_domain = {
        other.search: other.folder / "score.json"
        for other in beside
        if other.folder.parent == folder and other.set == OUT_OF_DOMAIN != result.set
    }
    # Compared with the base, not with the same search without hot words
    search = LM if result.search == HOTWORDS else result.search
    curves = sorted(exp.glob("curve*.json"), key=lambda file: file.stem)
    curves = [file for file in curves if result.name in load_json(file).get("systems", [result.name])]
    return {
        "adapter": folder / "adapter",
        "training": folder / "metrics.jsonl",
        "curve": next(iter(curves), None),
        "trade_off": exp / "trade_off.json",
        "out_of_domain": out_of_domain.get(search, out_of_domain.get(GREEDY)),
        "terms": terms if terms.exists() else exp / terms.name,
    }


def read_decoded_system(folder: Path) -> DecodedSystem:
    """Read a decode directory. Raises UserError if it is not scored."""
    texts = folder / "scoring_kaldi"
    return DecodedSystem(
        result=read_result(folder / "score.json"),
        decoding=load_json(folder / "decode.json", None),
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
        hint = 'run "ia3-speech score" of the baseline and of the system again'
        raise UserError(
            f"{system.folder}: was scored before {baseline.folder} changed, or by other labels ({hint})"
        )
