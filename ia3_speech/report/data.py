"""Find and read all that the report shows. In: a decode directory. Out: `ReportData`.

EXP/curve.json, trade_off.json                    learning curve; the scaled adapter
EXP/SYSTEM/metrics.jsonl, adapter/                training loss and dev WER; the adapter
EXP/SYSTEM/decode_greedy_SET/                     DECODE_DIR: score.json, decode.json, scored texts
EXP/SYSTEM/decode_greedy_out_of_domain/           score.json of out-of-domain speech, searched as DECODE_DIR,
                                                  or else greedily
EXP/base/decode_greedy_SET/                       the baseline, as score.json names it
EXP/{base,SYSTEM}/decode_{greedy,lm,hotwords}_SET further systems, whose utterances can be shown
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

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
from ia3_speech.results.systems import OUT_OF_DOMAIN, load_json
from ia3_speech.scoring.alignment import Pair, align
from ia3_speech.scoring.kaldi_files import read_kaldi_text
from ia3_speech.scoring.results import ADDED, Json, Results, read_results, search_of, system_name
from ia3_speech.scoring.term_errors import TermList, read_term_list

logger = logging.getLogger("ia3_speech.report")


@dataclass(frozen=True)
class DecodedSystem:
    """One scored decode directory."""

    name: str  # of the system, as the page shows it
    folder: Path  # the decode directory
    results: Results  # those of score.json
    decoding: Json  # decode.json; empty where another tool decoded
    references: dict[str, str]  # {utterance id: text}, normalised as they were scored
    hypotheses: dict[str, str]

    @cached_property
    def alignments(self) -> dict[str, list[Pair]]:
        """{utterance id: aligned words}, as Kaldi's per_utt shows them."""
        return {
            utterance: align(text.split(), self.hypotheses.get(utterance, "").split())
            for utterance, text in self.references.items()
        }


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All that the page shows."""

    utterances: list[Utterance]  # those that were scored, in the order of score.json
    system: DecodedSystem
    baseline: DecodedSystem | None = None  # what it is compared with
    others: list[DecodedSystem] = field(default_factory=list)  # base and adapter, with other searches
    training: list[Epoch] = field(default_factory=list)
    curve: LearningCurve | None = None
    trade_off: TradeOff | None = None  # in-domain against out-of-domain WER
    vectors: list[Vector] = field(default_factory=list)  # the adapter's
    adapter: Json = field(default_factory=dict)  # its record (ia3_speech.json)
    out_of_domain: Results | None = None  # results on out-of-domain speech
    terms: TermList | None = None  # that the systems were scored with, if it is still there

    @property
    def systems(self) -> list[DecodedSystem]:
        """The baseline, if there is one, and the system."""
        return [system for system in (self.baseline, self.system) if system]

    @property
    def all_systems(self) -> list[DecodedSystem]:
        """These and the others: greedy search first, and with each search the base."""

        def order(system: DecodedSystem) -> tuple[int, bool]:
            return [*ADDED].index(search_of(system.folder)), system.folder.absolute().parent.name != "base"

        return sorted([*self.systems, *self.others], key=order)

    @property
    def start(self) -> DecodedSystem | None:
        """The base alone, greedy, where the system is compared with another one; else None."""
        greedy = [one for one in self.others if one.name == "base"]
        return greedy[0] if greedy and self.baseline else None

    @property
    def with_confidences(self) -> list[DecodedSystem]:
        """Those whose word confidences were scored."""
        return [system for system in self.systems if system.results.confidences]


def find_report_paths(
    decode_dir: Path, baseline: Path | None = None, training: Path | None = None, curve: Path | None = None
) -> dict[str, Path]:
    """The decode directories ("decode_dir", "baseline") and files that a report is made from, by the field of
    `ReportData` that they fill: those that were given, and what else exists beside `decode_dir`. Raises
    UserError where a given path does not exist, or decode_dir was not scored, or not against the baseline."""
    record = read_results(decode_dir / "score.json").record
    folder = decode_dir.absolute().parent
    searches = () if decode_dir.name.endswith(OUT_OF_DOMAIN) else (search_of(decode_dir), "greedy")
    out_of_domain = [folder / f"decode_{search}_{OUT_OF_DOMAIN}/score.json" for search in searches]
    for path in filter(None, (baseline, training, curve)):
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder")
    beside = {
        "adapter": folder / "adapter",
        "training": training or folder / "metrics.jsonl",
        "curve": curve or folder.parent / "curve.json",
        "trade_off": folder.parent / "trade_off.json",
        "out_of_domain": next((file for file in out_of_domain if file.exists()), None),
        "terms": recorded_path(decode_dir, record.get("terms_file"), parts=1),
    }
    if record.get("baseline") and not baseline:
        baseline = recorded_path(decode_dir, record["baseline_dir"], parts=2)
        if not baseline:
            raise UserError(
                f"{record['baseline_dir']}: the baseline of {decode_dir} is not there (give --baseline)"
            )
    if baseline and not record.get("baseline"):
        raise UserError(
            f"{decode_dir}: was scored without a baseline "
            f'(run "ia3-speech score {record["data"]} {decode_dir} --baseline {baseline}")'
        )
    beside |= {"decode_dir": decode_dir, "baseline": baseline}
    return {name: path for name, path in beside.items() if path and path.exists()}


def find_others(decode_dir: Path, baseline: Path | None) -> list[Path]:
    """The decode directories of further systems: the base and this adapter, searched otherwise."""
    folder, set_name = decode_dir.absolute().parent, decode_dir.name.removeprefix("decode_").partition("_")[2]
    systems = dict.fromkeys((folder.parent / "base", folder))
    places = [system / f"decode_{search}_{set_name}" for search in ADDED for system in systems]
    shown = {place.resolve() for place in (decode_dir, baseline) if place}
    return [one for one in places if (one / "score.json").is_file() and one.resolve() not in shown]


def recorded_path(decode_dir: Path, recorded: str | None, parts: int) -> Path | None:
    """What score.json names: at its recorded path, else in EXP by its last parts; None if it is nowhere."""
    path = Path(recorded or "")
    places = (path, decode_dir.absolute().parents[1] / Path(*path.parts[-parts:])) if recorded else ()
    return next((place for place in places if place.exists()), None)


def read_report_data(data: Path, paths: Mapping[str, Path]) -> ReportData:
    """Read all files, as `find_report_paths` names them. Raises UserError where one is damaged, or where they
    do not belong together."""
    folders = [paths[name] for name in ("decode_dir", "baseline") if name in paths]
    folders += find_others(paths["decode_dir"], paths.get("baseline"))
    decoded = [*map(read_decoded_system, folders, system_names(folders))]
    system, others = decoded[0], decoded[1:]
    baseline = others.pop(0) if "baseline" in paths else None
    if baseline:
        check_comparable(system, baseline)
    for other in [other for other in others if other.references != system.references]:
        logger.warning("%s: left out, its references differ (score it again)", other.folder)
        others.remove(other)
    directory = read_data_directory(data, wav=False, spk_sort=False)
    by_id = {utterance.id: utterance for utterance in directory}
    if unknown := [name for name in system.references if name not in by_id]:
        raise UserError(
            f"{data}: utterance {unknown[0]} of {system.folder} is not in it (is it the right set?)"
        )
    readers = {
        "training": read_training_log,
        "curve": read_learning_curve,
        "trade_off": read_trade_off,
        "adapter": read_summary,
        "out_of_domain": read_results,
    }
    with_terms = system.results.terms and "terms" in paths
    return ReportData(
        utterances=[by_id[name] for name in system.references],
        system=system,
        baseline=baseline,
        others=others,
        vectors=vectors_in(read_weights(paths["adapter"])) if "adapter" in paths else [],
        terms=read_term_list(paths["terms"], system.results.record["normalize"]) if with_terms else None,
        **{name: read(paths[name]) for name, read in readers.items() if name in paths},
    )


def system_names(folders: Sequence[Path]) -> list[str]:
    """Names of the systems by their decode directories: `exp/medical/base/decode_lm_test` is base + LM; their
    whole paths where the names would be the same."""
    absolute = [folder.absolute() for folder in folders]
    names = [*map(system_name, absolute)]
    return names if len(set(names)) == len(names) else [str(path) for path in absolute]


def read_decoded_system(folder: Path, name: str) -> DecodedSystem:
    """Read a scored decode directory. Raises UserError where it is not scored."""
    texts, decoding = folder / "scoring_kaldi", folder / "decode.json"
    return DecodedSystem(
        name=name,
        folder=folder,
        results=read_results(folder / "score.json"),
        decoding=load_json(decoding) if decoding.exists() else {},
        references=read_kaldi_text(texts / "test_filt.txt"),
        hypotheses=read_kaldi_text(texts / "penalty_0.0/1.txt"),
    )


def check_comparable(system: DecodedSystem, baseline: DecodedSystem) -> None:
    """Raise UserError unless the system was scored against this baseline, and both by the same labels."""
    if not system.results.is_against(baseline.results):
        raise UserError(
            f"{system.folder}: was scored against another baseline than what {baseline.folder} holds now "
            f'(run "ia3-speech score … --baseline {baseline.folder}" again)'
        )
    for label, values in system.results.by_label.items():
        if baseline.results.by_label.get(label, {}).keys() != values.keys():
            raise UserError(
                f"{baseline.folder}: was scored before the labels of {label} that {system.folder} has "
                f'(run "ia3-speech score" of it again)'
            )
