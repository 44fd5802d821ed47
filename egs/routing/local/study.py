#!/usr/bin/env python3
"""Measure a gate that chooses an adapter by the audio, on four kinds of speech and on general speech.

    1-6  the recipes of the four kinds: their data, and where no adapters are given, their adapters
    7    mix dev and test sets; the adapters, each with its gate, in a registry of their own
    8    decode each set with the base, with each adapter, and with both ways of choosing
    9    harder: general speech of --unseen corpora, and over a telephone line; a gate for each accent of the
         telephone's corpus
    10   compare: results.json and RESULTS.md in exp/real, and of the accents in exp/real/accents
    11   the guard: whose text is used, by the gate, by confidence, and by both; see guard.py

The label `corpus` of an utterance is its kind, or a corpus of general speech. The oracle decodes each kind
with its adapter, and general speech with the base.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile
import soxr
from out_of_domain import read_corpus, with_corpus_label
from stages import KINDS, SHIPPED, KindsOptions, Study, located, median_seed, python

from ia3_speech.adapters.record import read_json
from ia3_speech.adapters.registry import check_name
from ia3_speech.adapters.spec import parse_sum
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.corpora.preparation import Size, evenly_spaced
from ia3_speech.data.kaldi.directory import read_data_directory, summarize, write_data_directory
from ia3_speech.data.kaldi.table_file import read_kaldi_text
from ia3_speech.data.utterance import Utterance, load_utterance
from ia3_speech.report.results_tables import bullets
from ia3_speech.scoring.error_rates import text_errors
from ia3_speech.scoring.significance import ratio, ratio_of_sums
from ia3_speech.scoring.table import Cell, Rate, markdown_table
from ia3_speech.training.config import replay_folder

WAYS = ("auto",)
LINE, LINE_RATE = "line_", 8000
SMALL = 12  # utterances of each kind with --size small


@dataclass(frozen=True, kw_only=True)
class Options(KindsOptions):
    """Options of the study."""

    general_dev: Path | None = None
    """other speech for dev; the shipped clips in it are left out"""
    unseen: str = ""
    """folders of general speech of corpora that the base's gate does not know"""
    unseen_step: int = 1
    """take every Nth utterance of these"""
    adapters: str = ""
    """adapters of accent, orders, telephone and notes, in this order, by name or folder (default: their
    recipes train them)"""


def main(options: Options) -> None:
    """Measure what choosing an adapter by the audio gains and costs."""
    if missing := [f"`{kind}_corpus`" for kind in KINDS if kind not in options.corpora]:
        raise UserError(f"{missing[0]} is required")
    given = [parse_sum(located(name)).terms[0].folder for name in options.adapters.split()]
    if given and len(given) != len(KINDS):
        raise UserError(f"`adapters` takes four, of {', '.join(KINDS)}")
    study = Study(__file__, "real", options)
    last = min(options.stop_stage, 1 if given else 6)
    for kind, (recipe, corpus_name, _) in KINDS.items():
        if options.stage <= last:
            corpus = options.corpora[kind]
            study.recipe(recipe, corpus, last, corpus_name=corpus_name, out_of_domain="none")
    if options.stop_stage < 7:
        return
    places = {kind: study.of_recipe(*where) for kind, (*where, _) in KINDS.items()}
    data = {kind: folder for kind, (folder, _) in places.items()}
    adapters = dict(zip(KINDS, given, strict=True)) if given else {
        kind: exp / f"ia3_plus_seed{median_seed(exp, 'ia3_plus', options.seeds)}/adapter"
        for kind, (_, exp) in places.items()
    }  # fmt: skip
    os.environ["IA3_SPEECH_HOME"] = str(study.exp / "home")  # holds these four adapters alone
    if study.runs(7):
        for kind, adapter in adapters.items():
            study.command(python("adapters", "register", adapter, kind, "--force"))
            if not (study.exp / f"home/adapters/{kind}/gate.safetensors").is_file():
                study.command(python("adapters", "gate", kind, "--data", data[kind] / "train"))
        dev = {kind: data[kind] / "dev" for kind in KINDS}
        dev |= {"general": options.general_dev.absolute()} if options.general_dev else {}
        test = {kind: data[kind] / name for kind, (_, _, name) in KINDS.items()}
        mixed(study, study.data / "dev", dev, without=SHIPPED)
        mixed(study, study.data / "replay", {"replay": replay_folder("shipped")})
        mixed(study, study.data / "test", test | {"shipped": SHIPPED} | named(options.general))
    if study.runs(8):
        for name in ("dev", "test"):
            decode(study, study.exp, study.data / name, ("base", *KINDS, *WAYS))
    if study.runs(9):
        general = {"shipped": SHIPPED} | named(options.general)
        lines = {f"{LINE}{name}": folder for name, folder in general.items()}
        mixed(study, study.data / "harder", lines)
        if options.unseen:
            unseen = study.data / "unseen"
            mixed(study, unseen, named(options.unseen), step=options.unseen_step, label="source")
        for name in ("harder", "unseen") if options.unseen else ("harder",):
            decode(study, study.exp, study.data / name, ("base", *KINDS, *WAYS))
        accents(study, adapters["telephone"], data["telephone"])
    if study.runs(10):
        compare(study, study.exp, study.data, [*KINDS])
    if study.runs(11):
        script, home = Path(__file__).with_name("guard.py"), os.environ["IA3_SPEECH_HOME"]
        words = ["python", script, "--data", study.data, "--home", home, "--out", study.exp / "guard"]
        study.command(words)


def named(words: str) -> dict[str, Path]:
    return {Path(word).name: Path(word).absolute() for word in words.split()}


def decode(study: Study, exp: Path, data: Path, systems: tuple[str, ...]) -> None:
    """Decode a set into EXP/SYSTEM/decode_greedy_SET with the base, with adapters, and with ways of
    choosing."""
    for system in systems:
        adapter = ["--adapter", system] if system != "base" else []
        study.decode(exp / system / f"decode_greedy_{data.name}", data, *adapter)


def accents(study: Study, adapter: Path, data: Path) -> None:
    """A gate for each accent of the telephone's corpus; the adapter itself is the telephone's."""
    mixes, exp = study.data / "accents", study.exp / "accents"
    names = sorted({utterance.labels["accent"] for utterance in read_data_directory(data / "train")})
    home, os.environ["IA3_SPEECH_HOME"] = os.environ["IA3_SPEECH_HOME"], str(exp / "home")
    for accent in map(check_name, names):
        mixed(study, mixes / f"train_{accent}", {accent: data / "train"}, by="accent")
        study.command(python("adapters", "register", adapter, accent, "--force"))
        study.command(python("adapters", "gate", accent, "--data", mixes / f"train_{accent}"))
    mixed(study, mixes / "test", dict.fromkeys(names, data / "test"), by="accent")
    decode(study, exp, mixes / "test", ("base", "auto"))
    compare(study, exp, mixes, names)
    os.environ["IA3_SPEECH_HOME"] = home


# ---- mixed sets


def mixed(study: Study, out: Path, parts: Mapping[str, Path], **options: Path | str) -> None:
    """Write OUT of these parts, unless that is done."""
    make = partial(mix, parts={**parts}, size=study.options.size)
    study.once(f"mix {out.name} of {', '.join(parts)}", out, [*parts.values()], make, **options)


def mix(
    out: Path, parts: Mapping[str, Path], without: Path | None = None, by: str | None = None,
    step: int = 1, label: str | None = None,
    size: Size = "full",
) -> None:  # fmt: skip
    """Write one data directory of several kinds of speech (kind → Kaldi directory, or folder in LibriSpeech's
    layout), without the utterances of another; of each kind every `step`th utterance, only those whose
    label `by` is the kind. An utterance's `label`, if it has one, is its kind.

    The label `corpus` is the kind, as is the prefix of ids. The audio of a kind that begins with line_ is
    written again, as over a telephone line of 8 kHz with G.711's µ-law, into a folder OUT_audio.
    """
    left_out = read_data_directory(without, wav=False, spk_sort=False) if without else ()
    left_out, utterances = {utterance.id for utterance in left_out}, []
    for kind, folder in parts.items():
        part = [
            utterance for utterance in read_corpus(folder, False)
            if utterance.id not in left_out and (by is None or utterance.labels.get(by) == kind)
        ][::step]  # fmt: skip
        for utterance in evenly_spaced(part, SMALL if size == "small" else len(part)):
            labelled = with_corpus_label(utterance, utterance.labels.get(label, kind))
            utterances.append(over_line(labelled, out) if kind.startswith(LINE) else labelled)
    write_data_directory(out, sorted(utterances, key=lambda utterance: utterance.id))
    print(f"{out}: {summarize(utterances)}")


def over_line(utterance: Utterance, out: Path) -> Utterance:
    """The utterance, whose audio is written as a telephone line carries it."""
    file = out.absolute().with_name(f"{out.name}_audio") / f"{quote(utterance.id, safe='')}.wav"
    file.parent.mkdir(parents=True, exist_ok=True)
    wave = soxr.resample(load_utterance(utterance), SAMPLE_RATE, LINE_RATE)
    soundfile.write(file, wave, LINE_RATE, "ULAW")
    of_segment = {} if utterance.end is None else {"start": 0.0, "end": len(wave) / LINE_RATE}
    return replace(utterance, recording=utterance.id, source=str(file), **of_segment)


# ---- comparison


def compare(study: Study, exp: Path, data: Path, kinds: list[str]) -> None:
    """Write EXP/results.json and EXP/RESULTS.md: three tables a set, and the speed."""
    texts, results = [], {}
    for name in ("dev", "test", "harder", "unseen"):
        if (exp / f"auto/decode_greedy_{name}").is_dir():
            tables, note = tables_of(exp, data / name, kinds)
            texts += [*(markdown_table(*each) for each in tables), bullets([f"{name}: {note}"])]
            results[name] = [
                dict(zip(head, map(str, row), strict=True)) for head, rows in tables for row in rows
            ]
    study.write_results(texts, {"sets": results}, exp)


def tables_of(
    exp: Path, data: Path, kinds: list[str]
) -> tuple[list[tuple[list[str], list[list[Cell]]]], str]:
    """Heads and rows of the tables of one set, and a sentence on it: the WER of each system, a line a corpus;
    the share of each way of choosing, and what it changes on general speech; which adapters auto chose."""
    utterances = list(read_data_directory(data, wav=False, spk_sort=False))
    errors, speeds, name = {}, [], data.name
    for system in ("base", *kinds, *WAYS):
        if (folder := exp / system / f"decode_greedy_{name}").is_dir():
            texts = read_kaldi_text(folder / "text")
            counts = [text_errors(utterance.text, texts[utterance.id]) for utterance in utterances]
            errors[system] = np.array([count.total for count in counts])
            speeds.append(f"{system} {read_json(folder / 'decode.json')['real_time_factor']:.3f}")
    words = np.array([count.words for count in counts])
    corpora = np.array([utterance.labels["corpus"] for utterance in utterances])
    speakers = np.array([utterance.speaker for utterance in utterances])
    oracle = errors["base"].copy()
    for kind in errors.keys() & {*kinds}:
        oracle = np.where(corpora == kind, errors[kind], oracle)

    def relative(way: str, to: np.ndarray, rows: np.ndarray, signed: bool) -> Rate | None:
        """(way − base) / `to`, in errors on these rows, with an interval over speakers."""
        if not rows.any():
            return None
        change = (errors[way] - errors["base"])[rows]
        return Rate(*ratio_of_sums(change, to[rows], speakers[rows]), signed=signed)

    lines = (exp / f"auto/decode_greedy_{name}/gate").read_text("utf-8").splitlines()
    by_utterance = dict(line.split("\t")[:2] for line in lines)  # of a long recording its last piece's
    chosen = np.array([by_utterance[utterance.id] for utterance in utterances])
    columns, rates, confusion = errors | {"oracle": oracle}, [], []
    for corpus in map(str, dict.fromkeys(corpora)):
        rows = corpora == corpus
        cells = [Rate(ratio(counts[rows].sum(), words[rows].sum()).item()) for counts in columns.values()]
        rates.append([corpus, int(rows.sum()), *cells])
        counted = Counter(chosen[rows])
        confusion.append([corpus, *(counted[adapter] for adapter in ("base", *kinds))])
    adapted, gain = np.isin(corpora, kinds), oracle - errors["base"]
    shares = [
        [way, relative(way, gain, adapted, False), relative(way, errors["base"], ~adapted, True)]
        for way in WAYS if way in errors
    ]  # fmt: skip
    note = (
        f"{len(utterances)} utterances, {words.sum():,} words, {len(set(speakers))} speakers, over whom the "
        f"intervals are drawn. Seconds a second of audio: {', '.join(speeds)}."
    )
    return [
        ([f"{name}, WER %", "utterances", *columns], rates),
        ([name, "of the oracle's gain %", "change on general speech %"], shares),
        ([f"{name}, auto chose", "base", *kinds], confusion),
    ], note


if __name__ == "__main__":
    command(main)
