#!/usr/bin/env python3
"""The end of a recipe: which seed and which search are the best, registration of the adapter, the last lines.

    conclude.py select exp/medical ia3_plus             # the seed with the median dev WER
    conclude.py stale exp/medical data/medical          # systems trained on older data
    conclude.py best exp/medical/ia3_plus_seed1 test    # the decode directory of the best of its searches
    conclude.py register exp/medical/ia3_plus_seed1/adapter medical --score SCORE_JSON
    conclude.py summary exp/medical                     # in a few sentences

An adapter is registered if it makes fewer errors than the base, greedy and with the language model, and is
better in at least 80 % of the draws of Kaldi's bootstrap over utterances (Bisani and Ney 2004). For a
speaker's adapter, only the speaker's utterances count, and the probability is computed from the interval of
the change, with a normal distribution. EXP/registered.json has the decisions, for the last lines:

    {"clinic": {"system": "ia3_plus_seed1", "speaker": "", "set": "test", "refused": null,
                "search": "hotwords", "chosen_on": "dev", "measured": 3}}
"""

import math
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import yaml

from ia3_speech.adapters import registry
from ia3_speech.adapters.card import update_card
from ia3_speech.adapters.record import read_summary
from ia3_speech.adapters.weights import read_weights, weights_sha256
from ia3_speech.common.atomic import write_json
from ia3_speech.common.cli import command
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import percent, plural, shorten
from ia3_speech.common.inputs import RECORD, digest_of, read_inputs
from ia3_speech.decoding.search import SearchOptions
from ia3_speech.report.curve_files import gain_of_others
from ia3_speech.report.results_tables import warnings_of
from ia3_speech.report.systems import System, find_systems, median_of, test_sets, trained_systems
from ia3_speech.scoring.error_rates import ErrorRates, Json
from ia3_speech.scoring.record import (
    BEAM,
    DEV,
    GREEDY,
    HOTWORDS,
    LM,
    OUT_OF_DOMAIN,
    SEARCHES,
    Result,
    load_json,
    read_result,
)
from ia3_speech.scoring.sentences import NOT_IMPROVED, gain, out_of_domain_sentence

REGISTERED = "registered.json"  # in an experiment's folder
MIN_PROBABILITY = 0.8  # that an adapter is better than the base, for it to be registered
LITTLE_SPEECH = 30 * 60  # seconds of training speech, below which more speech is the most likely remedy
MAX_NAMED = 5  # utterances or adapters in a sentence
MAX_SETS = 3  # test sets in the last lines


class Best(NamedTuple):
    """The best search of an adapter."""

    search: str  # a key of SEARCHES
    chosen_on: str | None  # dev; None if dev was not decoded with every search: then nothing was chosen
    measured: int  # the number of searches to choose from


def select(exp: Path, names: str, seeds: int = 0) -> None:
    """Print the folder of the seed with the median dev WER (of an even number, the lower of the middle two).

    Args:
        exp: folder of the experiment
        names: names of systems without the seed, separated by spaces; of several, the system with the lowest
            mean dev WER is selected
        seeds: the highest seed to consider; 0: all seeds
    """
    trained: list[list[System]] = []
    for name in names.split():
        systems = trained_systems(exp.glob(f"{name}_seed*/train.json"))
        systems = [s for s in systems if s.name == name and (s.seed <= seeds or not seeds)]
        if not systems:
            raise UserError(f"{exp}/{name}_seed1: not trained yet (run the earlier stages)")
        trained.append(systems)
    lowest = min(trained, key=lambda systems: fmean(seed.train.get("dev_wer", 0.0) for seed in systems))
    print(median_of(lowest).folder.name)


def stale(exp: Path, data: Path) -> None:
    """Print the folders of systems whose training data have changed since.

    Args:
        exp: folder of the experiment
        data: folder of its data directories
    """
    sources = {"train": data / "train", "dev": data / "dev", "data": data / "test"}  # data: of speakers
    for folder in sorted(exp.glob("*_seed*")):
        trained_on = read_inputs(folder).get("inputs", {})
        if any(trained_on[name] != digest_of(path) for name, path in sources.items() if name in trained_on):
            print(folder)


def best(system: Path, set_name: str) -> None:
    """Print the decode directory of an adapter's best search, such as decode_lm_test.

    Args:
        system: EXP/SYSTEM, the folder of an adapter
        set_name: the test set
    """
    print(best_result(system, set_name).folder.name)


def register(adapter: Path, name: str, *, score: list[Path], anyway: bool = False) -> None:
    """Register an adapter with the search that is the best on dev; if the adapter does not help, print why.

    Args:
        adapter: its folder, EXP/SYSTEM/adapter, or, for a speaker's adapter, EXP/SYSTEM/SPEAKER/FOLD/adapter
        name: the name by which --adapter finds it
        score: score.json of its test set, decoded greedily, which decides whether it helps; then further
            score.json files for its model card
        anyway: register it even if it does not help
    """
    first = read_result(score[0])
    system = first.folder.absolute().parent
    of_speaker = adapter.absolute().parent != system
    summary = read_summary(adapter)
    speaker = summary.get("labels", {}).get("speaker", "") if of_speaker else ""
    measured = measured_searches(system, first.set, adapter)
    chosen = best_search(system, adapter, measured)
    fault = find_fault(measured, first.set, speaker)
    refused = None
    if fault and not anyway:
        hint = find_hint(adapter, system, of_speaker)
        refused = f"{name} is not registered: {fault} ({hint}; --register-anyway true registers it)"
    else:
        sets = {read_result(file).set for file in score}
        files = [
            result.folder / "score.json"
            for result in map(read_result, sorted(system.glob("*/score.json")))
            if result.search == chosen.search != first.search and result.set in sets
        ]
        update_card(adapter, registry.check_name(name), [*score, *files])
        registered = read_summary(registry.adapters_dir() / name)
        stored = search_options(system, chosen).stored()
        if "corrections" in registered.get("training", {}):
            command = shlex.join(["ia3-speech", "adapters", "register", "--keep", str(adapter), name])
            corrected = "the registered adapter includes corrections"
            print(f"{name}: not replaced: {corrected} ({command} replaces it)")
        else:
            corpora = {score.get("corpus") for score in registered.get("scores") or ()} - {None}
            registry.register(adapter, name, keep=first.record["corpus"] in corpora, search_files=stored)
            print(f"{name}: registered with {', '.join(stored) or 'no search of its own'}")
    record = system.parent / REGISTERED
    before = load_json(record, None)
    entry = {"system": system.name, "speaker": speaker, "set": first.set, "refused": refused}
    entries = {other: before[other] for other in before if other != name} | {name: entry | chosen._asdict()}
    if [*entries.items()] != [*before.items()]:  # the newest is the last
        write_json(record, entries)
    if refused and not of_speaker:
        print(f"note: {refused}")


def best_result(system: Path, set_name: str) -> Result:
    """The result of an adapter's best search; `system`: EXP/SYSTEM, the folder of the adapter."""
    measured = measured_searches(system, set_name, system / "adapter")
    return measured[best_search(system, system / "adapter", measured).search]


# ---- the best


def measured_searches(system: Path, set_name: str, adapter: Path) -> dict[str, Result]:
    """Search → result on a set, of the adapter as it is now, or of the adapters of its training's folds."""
    measured, sha256 = {}, weights_sha256(adapter)
    for result in map(read_result, sorted(system.glob("*/score.json"))):
        if result.set != set_name:
            continue
        used = result.record["adapter"] or {}
        by_folds = used.get("path") == str(system.absolute())
        if result.search == GREEDY or used.get("sha256") == sha256 or by_folds:
            measured[result.search] = result
    if GREEDY not in measured and set_name != DEV:
        raise UserError(f"{system}: not decoded greedily and scored on {set_name} (run the earlier stages)")
    return {search: measured[search] for search in SEARCHES if search in measured}


def best_search(system: Path, adapter: Path, measured: Collection[str]) -> Best:
    """The search with the lowest WER on dev, the simplest among equals. Test sets choose nothing: if dev was
    not decoded with every search, the choice is the language model, as without an adapter."""
    on_dev = measured_searches(system, DEV, adapter)
    if not on_dev.keys() >= set(measured):
        without_dev = next(search for search in (LM, BEAM, GREEDY) if search in measured)
        return Best(without_dev, None, len(measured))
    rates = {search: on_dev[search].all.wer or 0.0 for search in measured}
    return Best(min(rates, key=rates.__getitem__), DEV, len(measured))


def search_options(system: Path, chosen: Best) -> SearchOptions:
    """The options to register; none if only greedy search was measured."""
    if chosen.search == GREEDY:
        return SearchOptions(GREEDY) if chosen.measured > 1 else SearchOptions()
    tuned = yaml.safe_load((system / "lm_search.yaml").read_text("utf-8"))
    if "lm" not in tuned:  # the base's own language model, which is used with any adapter
        return SearchOptions()
    hotwords = system / "hotwords.txt" if chosen.search == HOTWORDS else None
    return SearchOptions(**(tuned | {"lm": Path(tuned["lm"]), "hotwords": hotwords}))


# ---- whether it helps


def find_fault(measured: dict[str, Result], set_name: str, speaker: str = "") -> str:
    """Why an adapter is not known to help, as a sentence without its full stop; empty if it helps.

    The search with hot words is ignored: it is compared with the adapter without them, not with the base.
    """
    for search in (LM, BEAM, GREEDY):
        if search not in measured:
            continue
        result = measured[search]
        rates = result.by_label["speaker"][speaker] if speaker else result.all
        if "wer" not in rates.changes:
            raise UserError(f"{set_name}: was scored without a baseline (run the earlier stages)")
        better = probability_better(rates) if speaker else result.record["wer_bootci"]["improvement"]
        place = set_name + (f" of {speaker}" if speaker else "")
        if fault := no_help(rates, search != GREEDY, place, better):
            return fault
    return ""


def no_help(rates: ErrorRates, with_lm: bool, place: str, probability: float) -> str:
    """Why an adapter is not known to help; empty if it helps.

    Args:
        rates: of the adapter, with their change from the base.
        with_lm: both were decoded with a language model.
        place: `test`, or `test of ann`.
        probability: of the adapter being better than the base.
    """
    subject, base = ("with the language model it", "the base with it") if with_lm else ("it", "the base")
    before = round((rates.before().value or 0.0) * rates.words)
    counts = f"{rates.errors} errors on {place}, {base} {before}"
    if rates.errors >= before:
        how = "worse" if rates.errors > before else "no better"
        return f"{subject} is {how} than the base: it makes {counts}"
    if not probability >= MIN_PROBABILITY:
        draws = f"{percent(probability, 0)} % of the draws, and {percent(MIN_PROBABILITY, 0)} % are needed"
        return f"{subject} makes {counts}, which may be chance: it is better in {draws}"
    return ""


def probability_better(rates: ErrorRates) -> float:
    """The probability that a system is better than its baseline; nan without an interval of the change."""
    change = rates.changes["wer"]
    if not change.relative_ci:
        return math.nan
    low, high = change.relative_ci
    deviation = (high - low) / (2 * 1.96)
    if not deviation:
        return float(change.relative < 0)
    return 0.5 * math.erfc(change.relative / deviation / math.sqrt(2))


def find_hint(adapter: Path, system: Path, of_speaker: bool) -> str:
    """The most likely remedy: another learning rate, other texts, more recordings."""
    folders = [system, *System(system.name, system.name, None, GREEDY, system).averaged_seeds]
    train, *of_seeds = [load_json(folder / "train.json", None) for folder in folders]
    if train.get("selected_epoch") == 0 or all((t == 1).all() for t in read_weights(adapter).values()):
        options = system / "config.yaml"
        rate = yaml.safe_load(options.read_text("utf-8"))["learning_rate"] if options.is_file() else None
        flag = "--adapt-opts" if of_speaker else "--train-opts"  # of speakers.sh, of adapt.sh
        lower = f"such as {flag} '--learning-rate {rate / 4:g}'" if rate else f"with {flag}"
        return f"{NOT_IMPROVED}: try a lower learning rate, {lower}"
    if suspicious := next(filter(None, (record.get("suspicious") for record in (train, *of_seeds))), {}):
        named = shorten([f"{name} ({place})" for name, place in suspicious.items()], most=MAX_NAMED)
        return f"hypothesis and transcript of these recordings disagree; check the transcripts: {named}"
    seconds = train.get("audio_seconds", LITTLE_SPEECH)
    if seconds < LITTLE_SPEECH:
        return f"it is trained on {seconds / 60:.1f} minutes: the most likely remedy is more training data"
    return "more recordings, to adapt to and to test on, or a lower learning rate may help"


# ---- the last lines


def summary(*exps: str, transcribe: str = "ia3-speech transcribe", sample: str = "audio.wav") -> None:
    """Print the gain, the cost, the report, and the commands that use the adapter and remove it.

    Args:
        exps: folders of experiments, of which the last is the most specific
        transcribe: the transcribe command to print
        sample: the recording to print in that command
    """
    print(*last_lines([*map(Path, exps)], f"{transcribe} ", sample), sep="\n")


def last_lines(exps: list[Path], transcribe: str, sample: str) -> Iterator[str]:
    """The gain, the cost, the report, and the commands that use the adapter and remove it.

    Args:
        exps: folders of experiments, of which the last is the most specific
        transcribe: the beginning of the command that uses the adapter
        sample: the recording in that command
    """
    options, registered, notes = "", [], []
    for exp in exps:
        systems = find_systems(exp)
        entries = load_json(exp / REGISTERED, None)
        if entries and not next(reversed(entries.values()))["speaker"]:
            entries = dict([entries.popitem()])  # the newest name
        names = [name for name, entry in entries.items() if not entry["refused"]]
        gains, cost, noted = outcome(systems, entries)
        yield from (f"Gain:   {gain}" for gain in gains)
        yield f"Cost:   {cost}"
        notes += noted
        if names:
            options = f"--adapter {shlex.quote(names[-1])} "
            registered += names
        elif not options and any(system.is_base and system.search == LM for system in systems):
            options = f"--config {shlex.quote(str((exp / 'base/lm_search.yaml').absolute()))} "
    yield from (f"Note:   {note}." for note in notes)
    for file in (exp / "transcripts" for exp in exps):
        if file.is_file():
            yield file.read_text("utf-8").removesuffix("\n")
    reports = [str(file) for exp in exps for file in sorted(exp.glob("report_*.html"))]
    tables = [f"{exp}/RESULTS.md" for exp in exps]
    yield f"Report: {' '.join([*reports, *tables])} ({time_taken(exps[0])})"
    yield f"Use:    {transcribe}{options}{shlex.quote(sample)}"
    undo = [shlex.join(["ia3-speech", "adapters", "remove", name]) for name in registered[-MAX_NAMED:]]
    yield f"Undo:   {'; '.join(undo) or 'nothing was registered'}"


def outcome(systems: list[System], entries: dict[str, Json]) -> tuple[list[str], str, list[str]]:
    """The gain on each test set, the cost on other speech, and notes: a refusal or a warning, and what more
    speech gave others."""
    adapted = [s for s in systems if s.search == GREEDY and s.results and not s.is_base]
    if not adapted:
        raise UserError(f"{systems[0].folder.parent}: no adapter is scored (run the earlier stages)")
    newest = next(reversed(entries.values()), None)
    named = [system for system in adapted if newest and system.folder.name == newest["system"]]
    means = [system for system in adapted if system.averaged_seeds]
    seeds = [system for system in adapted if system.name == adapted[-1].name]
    shown = (named or means or [median_of(seeds)])[0]
    by_search = {system.search: system for system in systems if system.folder == shown.folder}
    best = by_search.get(newest["search"] if newest else GREEDY, shown)
    gains, notes = [], []
    for set_name in [name for name in test_sets(systems) if name in shown.results][:MAX_SETS]:
        system = best if set_name in best.results else shown
        without_hotwords = by_search.get(LM, shown).results.get(set_name)
        gained = gain(system.results[set_name], systems[0].results[set_name], without_hotwords)
        gains.append(f"{set_name}: {gained}")
    if start := shown.train.get("init_adapter"):
        gains[0] += f"; it started from {start}"
    compared = (
        by_search.get(LM, best) if best.search == HOTWORDS else best
    )  # with the base, not without hot words
    out_of_domain = compared.results.get(OUT_OF_DOMAIN) or by_search[GREEDY].results.get(OUT_OF_DOMAIN)
    cost = out_of_domain_sentence(out_of_domain, best.search)
    refused = [name for name, entry in entries.items() if entry["refused"]]
    if refused and newest["speaker"]:
        notes.append(
            f"{len(refused)} of {plural(len(entries), 'adapter')} are not known to be better than the base, "
            f"and not registered: {shorten(refused, most=MAX_NAMED)} ({REGISTERED} says why)"
        )
    elif refused:
        notes.append(entries[refused[0]]["refused"])
    elif warnings := warnings_of([systems[0], shown], test_sets(systems)):
        notes.append(f"warning: {warnings[0]['text']}")
    if shown.options.get("dev") is None and (sentence := gain_of_others(shown.options.get("base", "mini"))):
        notes.append(sentence.removesuffix("."))
    return gains, cost, notes


def time_taken(exp: Path) -> str:
    """`training took 3 minutes, all 9 minutes`; train.json has the time of all parts of a training."""
    training = rest = 0.0
    for file in exp.rglob("*inputs.json"):
        seconds = load_json(file).get("seconds") or 0.0
        if file.name == RECORD and (trained := load_json(file.with_name("train.json"), None)):
            training += max(seconds, trained.get("seconds") or 0.0)
        else:
            rest += seconds
    times = (f"{s:.0f} seconds" if s < 90 else f"{s / 60:.0f} minutes" for s in (training, training + rest))
    return "training took {}, all {}".format(*times)


if __name__ == "__main__":
    command({run.__name__: run for run in (select, stale, best, register, summary)})
