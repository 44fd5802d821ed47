"""What a recipe concludes: which measured system is the best, whether its adapter takes a name, and the lines
at its end: what was gained, what it costs, how to use it (`register` and `summary` of `__main__`).

In: an adapter, and the scores of its test set, greedy and beside them perhaps those with a language model and
with hot words; of dev the same. Out: the adapter in the registry, with the search that is the best on dev;
or one sentence that says why not, and what may help. EXP/registered.json keeps both, for the last lines:

    {"clinic": {"system": "ia3_plus_seed1", "speaker": "", "set": "test", "refused": null,
                "search": "hotwords", "chosen_on": "dev", "measured": 3}}

An adapter takes its name where it makes fewer errors than the base, greedy and with the language model, and
Kaldi's bootstrap over utterances (Bisani and Ney 2004) gives it at least 80 % to be the better one. Of a
speaker's adapter the speaker's own utterances count, and the probability is that of the normal distribution
which the interval of the change belongs to.

At the end, at most twelve lines:

    test: WER 2.1 [1.3, 3.0] % with ia3_plus + LM, base 46.3 %, base + LM 18.2 %; the adapter makes 88.4 % fewer
    errors (95 % interval 84.1 to 91.0) than base + LM. Of the adapter's 3 searches this is the best on dev.
      Other speech: 25.2 % of base + LM become 51.9 %. Name it for its own kind of speech only.
    Training took 3 minutes, all 9 minutes. Tables: exp/clinic/RESULTS.md. Reports: exp/clinic/report_test…
    Next: ia3-speech transcribe --adapter clinic audio.wav
"""  # noqa: E501

import math
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import yaml

from ia3_speech.adapters import registry
from ia3_speech.adapters.card import update_card
from ia3_speech.adapters.record import read_summary
from ia3_speech.adapters.weights import read_weights, weights_sha256
from ia3_speech.atomic import write_json
from ia3_speech.errors import UserError
from ia3_speech.formatting import percent, plural, shorten, with_interval
from ia3_speech.inputs import RECORD
from ia3_speech.results.curve_files import gain_of_others
from ia3_speech.results.notes import warnings_of
from ia3_speech.results.systems import (
    DEV,
    GREEDY,
    HOTWORDS,
    LM,
    OUT_OF_DOMAIN,
    Json,
    System,
    find_systems,
    load_json,
    median_of,
    test_sets,
)
from ia3_speech.scoring.results import ADDED, NOT_IMPROVED, ResultRow, Results, read_results
from ia3_speech.scoring.table import Rate
from ia3_speech.search import SearchOptions

REGISTERED = "registered.json"  # in an experiment's folder
BETTER = 0.8  # the probability to be better than the base that a name takes
LITTLE_SPEECH = 30 * 60  # seconds of training, below which more of it is the likeliest cure
SUBJECTS = {GREEDY: ("it", "the base"), LM: ("with the language model it", "the base with it")}
MOST_NAMED = 5  # utterances, or adapters, that a sentence names
MOST_SETS = 3  # test sets that are spoken of


class Best(NamedTuple):
    """The best of an adapter's systems."""

    search: str  # greedy, lm or hotwords
    chosen_on: str | None  # dev; None where dev was not decoded with each, so that nothing was chosen
    measured: int  # how many systems it was chosen from


def register(adapter: Path, name: str, *, score: list[Path], anyway: bool = False) -> None:
    """Register an adapter with the search that is the best on dev; if it does not help, say so instead.

    Args:
        adapter: its folder, EXP/SYSTEM/adapter, or, for one of many speakers, EXP/SYSTEM/SPEAKER/FOLD/adapter
        name: the name by which --adapter finds it
        score: score.json of its test set in EXP/SYSTEM/decode_greedy_SET, which says whether it helps; then
            further score.json files that its model card shows
        anyway: register it even if it does not help
    """
    system = score[0].absolute().parents[1]
    set_name = score[0].parent.name.removeprefix(f"decode_{GREEDY}_")
    speaker = adapter.absolute().parents[1].name if adapter.absolute().parent != system else ""
    measured = measured_systems(system, set_name, adapter)
    chosen = best_search(system, adapter, measured)
    fault = find_fault(measured, set_name, speaker)
    refused = None
    if fault and not anyway:
        hint = find_hint(adapter, system)
        refused = f"{name} is not registered: {fault} ({hint}; --register-anyway true registers it)"
    else:
        shown = f"/decode_{chosen.search}_"
        searched = [Path(str(file).replace(f"/decode_{GREEDY}_", shown)) for file in score]
        files = [*score, *(file for file in searched if file not in score and file.is_file())]
        update_card(adapter, registry.check_name(name), files)
        source = registry.registration_of(registry.adapters_dir() / name).get("source", "")
        stored = search_options(system, chosen).stored()
        keep = corpus_of(Path(source)) == corpus_of(adapter.absolute())
        if "corrections" in read_summary(registry.adapters_dir() / name).get("training", {}):
            command = shlex.join(["ia3-speech", "adapters", "register", "--keep", str(adapter), name])
            print(
                f"{name}: stays, since it has learnt from corrections ({command} puts this one in its place)"
            )
        else:
            registry.register(adapter, name, keep=keep, search_files=stored)
            print(f"{name}: registered with {', '.join(stored) or 'no search of its own'}")
    record = system.parent / REGISTERED
    before = load_json(record) if record.is_file() else {}
    entry = {"system": system.name, "speaker": speaker, "set": set_name, "refused": refused}
    entries = {other: before[other] for other in before if other != name} | {name: entry | chosen._asdict()}
    if [*entries.items()] != [*before.items()]:  # the newest is the last
        write_json(record, entries)
    if refused and not speaker:
        print(f"note: {refused}")


def best(system: Path, set_name: str) -> None:
    """Print the decode directory of an adapter's best search, such as decode_lm_test.

    Args:
        system: EXP/SYSTEM, which holds an adapter
        set_name: the test set
    """
    measured = measured_systems(system, set_name, system / "adapter")
    print(f"decode_{best_search(system, system / 'adapter', measured).search}_{set_name}")


def corpus_of(path: Path) -> str:
    """`espeak` of `…/exp/espeak/ia3_plus_seed1/adapter`: what a recipe calls its corpus; empty without exp."""  # noqa: E501
    return path.as_posix().rpartition("/exp/")[2].partition("/")[0]


# ---- the best


def measured_systems(system: Path, set_name: str, adapter: Path) -> dict[str, Results]:
    """Search → results on a set, of this adapter as it is now, or of those of its training's folds."""
    measured, sha256 = {}, weights_sha256(adapter)
    for search in ADDED:
        folder = system / f"decode_{search}_{set_name}"
        if not (folder / "score.json").is_file():
            continue
        decoded = load_json(folder / "decode.json") if (folder / "decode.json").is_file() else {}
        used = decoded.get("adapter") or {}
        by_folds = used.get("path") == str(system.absolute())
        if search == GREEDY or used.get("sha256") == sha256 or by_folds:
            measured[search] = read_results(folder / "score.json")
    if GREEDY not in measured and set_name != DEV:
        raise UserError(f"{system}/decode_{GREEDY}_{set_name}: not scored yet (run the earlier stages)")
    return measured


def best_search(system: Path, adapter: Path, measured: Collection[str]) -> Best:
    """The search with the lowest WER on dev, of equals the simplest. Test sets choose nothing: where dev was
    not decoded with each, it is the language model, as without an adapter."""
    on_dev = measured_systems(system, DEV, adapter)
    if not on_dev.keys() >= set(measured):
        return Best(LM if LM in measured else GREEDY, None, len(measured))
    rates = {search: on_dev[search].all.wer.value or 0.0 for search in measured}
    return Best(min(rates, key=rates.__getitem__), DEV, len(measured))


def search_options(system: Path, chosen: Best) -> SearchOptions:
    """What is registered of the search; nothing where no other was measured than greedy search."""
    if chosen.search == GREEDY:
        return SearchOptions(GREEDY) if chosen.measured > 1 else SearchOptions()
    tuned = yaml.safe_load((system / "lm_search.yaml").read_text("utf-8"))
    if "lm" not in tuned:  # the base's own, which is used with any adapter
        return SearchOptions()
    hotwords = system / "hotwords.txt" if chosen.search == HOTWORDS else None
    options = SearchOptions(**(tuned | {"lm": Path(tuned["lm"]), "hotwords": hotwords}))
    options.check()
    return options


# ---- whether it helps


def find_fault(measured: dict[str, Results], set_name: str, speaker: str = "") -> str:
    """Why an adapter is not known to help, as a sentence without its full stop; empty where it is.

    The system with hot words is compared with the adapter without them, which says nothing of the base.
    """
    for search in (LM, GREEDY):
        if search not in measured:
            continue
        results = measured[search]
        row = results.by_label["speaker"][speaker] if speaker else results.all
        change = row.changes.get("wer")
        if change is None:
            raise UserError(f"{set_name}: was scored without a baseline (run the earlier stages)")
        before = round((change.baseline or 0.0) * row.words)
        better = probability_better(row) if speaker else results.bootstrap.improvement
        it, base = SUBJECTS[search]
        on = f"on {set_name}" + (f" of {speaker}" if speaker else "")
        if row.errors >= before:
            how = "is worse than" if row.errors > before else "is no better than"
            return f"{it} {how} {base} {on}, with {row.errors} errors where that makes {before}"
        if not better >= BETTER:
            return (
                f"{it} makes {row.errors} errors {on} and {base} {before}, which may be chance: it is the "
                f"better one in {percent(better, 0)} % of the draws, and {percent(BETTER, 0)} % are needed"
            )
    return ""


def probability_better(row: ResultRow) -> float:
    """That a row is better than its baseline; nan without an interval of the change."""
    change = row.changes["wer"]
    if not change.relative_ci:
        return math.nan
    low, high = change.relative_ci
    deviation = (high - low) / (2 * 1.96)
    if not deviation:
        return float(change.relative < 0)
    return 0.5 * math.erfc(change.relative / deviation / math.sqrt(2))


def find_hint(adapter: Path, system: Path) -> str:
    """What may help: another learning rate, other texts, more recordings."""
    train = load_json(system / "train.json") if (system / "train.json").is_file() else {}
    if train.get("selected_epoch") == 0 or all((t == 1).all() for t in read_weights(adapter).values()):
        options = system / "config.yaml"
        rate = yaml.safe_load(options.read_text("utf-8"))["learning_rate"] if options.is_file() else None
        flag = "--train-opts" if adapter.absolute().parent == system else "--adapt-opts"  # of speakers.sh
        lower = f"such as {flag} '--learning-rate {rate / 4:g}'" if rate else f"with {flag}"
        return f"{NOT_IMPROVED}: try a lower learning rate, {lower}"
    if suspicious := suspicious_texts(system):
        return f"check the texts of these recordings, in which the base hears something else: {suspicious}"
    seconds = train.get("audio_seconds", LITTLE_SPEECH)
    if seconds < LITTLE_SPEECH:
        return f"it is trained on {seconds / 60:.1f} minutes: more recordings are the likeliest cure"
    return "more recordings, to adapt to and to test on, or a lower learning rate may help"


def suspicious_texts(system: Path) -> str:
    """The utterances that training by folds found suspicious, with their files and lines; perhaps none."""
    seeds = sorted(system.parent.glob(f"{system.name.removesuffix('_average')}_seed*/train.json"))
    named = (load_json(file).get("suspicious") for file in (system / "train.json", *seeds) if file.is_file())
    suspicious = next(filter(None, named), {})
    return shorten([f"{name} ({place})" for name, place in suspicious.items()], most=MOST_NAMED)


# ---- what is said at the end


def summary(*exps: str, transcribe: str = "ia3-speech transcribe", sample: str = "audio.wav") -> None:
    """Print what was gained, what it costs, and the command that uses the best measured system.

    Args:
        exps: folders of experiments, of which the last is the most specific
        transcribe: the transcribe command to print
        sample: the recording to print in that command
    """
    options = ""
    for exp in map(Path, exps):
        systems = find_systems(exp)
        entries = load_json(exp / REGISTERED) if (exp / REGISTERED).is_file() else {}
        if entries and not next(reversed(entries.values()))["speaker"]:
            entries = dict([entries.popitem()])  # the newest name
        names = [name for name, entry in entries.items() if not entry["refused"]]
        print("\n".join(lines_of(systems, entries)))
        if names:
            options = f"--adapter {shlex.quote(names[-1])} "
        elif not options and any(one.name == f"base{ADDED[LM]}" for one in systems):
            options = f"--config {shlex.quote(str((exp / 'base/lm_search.yaml').absolute()))} "
    for file in (Path(exp) / "transcripts" for exp in exps):
        print(file.read_text("utf-8") if file.is_file() else "", end="")
    reports = [str(file) for exp in exps for file in sorted(Path(exp).glob("report_*.html"))]
    tables = " ".join(f"{exp}/RESULTS.md" for exp in exps)
    print(f"{time_taken(Path(exps[0]))} Tables: {tables}. Reports: {' '.join(reports)}")
    print(f"Next: {transcribe} {options}{shlex.quote(sample)}")


def lines_of(systems: list[System], entries: dict[str, Json]) -> list[str]:
    """What is said of one experiment: the gain on each test set, the cost on other speech, a warning, what
    was not registered."""
    adapted = [one for one in systems if one.search == GREEDY and one.name != "base" and one.results]
    if not adapted:
        raise UserError(f"{systems[0].folder.parent}: no adapter is scored (run the earlier stages)")
    last = adapted[-1].name
    shown = next((one for one in adapted if one.name == f"{last}_average"), None)
    shown = shown or median_of([one for one in adapted if one.name == last])
    newest = next(reversed(entries.values()), None)
    if newest and (named := [one for one in adapted if one.folder.name == newest["system"]]):
        shown = named[0]
    search = newest["search"] if newest else GREEDY
    by_search = {one.search: one for one in systems if one.folder == shown.folder}
    bases = {one.search: one for one in systems if one.greedy_name == "base"}
    best = by_search.get(search, shown)
    sets = [name for name in test_sets(systems) if name in shown.results]
    lines = [gain(best, by_search, bases, name) for name in sets[:MOST_SETS]]
    if newest and not newest["refused"]:
        if newest["measured"] == 1:
            lines[0] += " Only greedy search was measured; transcribe adds the base's language model, if any."
        elif newest["chosen_on"]:
            lines[0] += f" Of the adapter's {newest['measured']} searches this is the best on dev."
        else:
            lines[0] += " No dev set chose the search: the language model is used, as without an adapter."
    if start := shown.train.get("init_adapter"):
        lines[0] += f" It started from {start}."
    if shown.options.get("dev") is None and (sentence := gain_of_others(shown.options.get("base", "mini"))):
        lines.append(f"  {sentence}")
    other, base = (best, bases.get(LM)) if best.search != GREEDY else (shown, systems[0])
    if OUT_OF_DOMAIN not in other.results:
        other, base = shown, systems[0]
    if OUT_OF_DOMAIN in other.results:
        before, after = (one.results[OUT_OF_DOMAIN].all.wer.value for one in (base, other))
        costs = " Name it for its own kind of speech only." if (after or 0) > (before or 0) else ""
        lines.append(f"  Other speech: {percent(before)} % of {base.name} become {percent(after)} %.{costs}")
    refused = [name for name, entry in entries.items() if entry["refused"]]
    if refused and newest["speaker"]:
        lines.append(
            f"  {len(refused)} of {len(entries)} adapters are not known to be better than the base, and not "
            f"registered: {shorten(refused, most=MOST_NAMED)} ({REGISTERED} says why)."
        )
    elif refused:
        lines.append(f"  {entries[refused[0]]['refused']}.")
    elif warnings := warnings_of([systems[0], shown], test_sets(systems)):
        lines.append(f"  Warning: {warnings[0]['text']}.")
    return lines


def gain(best: System, by_search: dict[str, System], bases: dict[str, System], set_name: str) -> str:
    """WER before and after on a test set, and what the adapter has of it, compared with the same search."""
    if set_name not in best.results:
        best = by_search[GREEDY]
    row = best.results[set_name].all
    compared = by_search[LM] if best.search == HOTWORDS and LM in by_search else best
    others = [*bases.values()] if best.search != GREEDY else [bases[GREEDY]]
    others += [compared] if compared is not best else []
    before = [
        f"{system.name} {percent(system.results[set_name].all.wer.value)} %"
        for system in others
        if set_name in system.results
    ]
    text = f"{set_name}: WER {with_interval(row.wer.value, row.wer.bounds)} % with {best.name}, "
    change = compared.results[set_name].all.change("wer")
    doubt = f"the adapter makes {errors_in_words(change)} than {compared.baseline}"
    if best is not compared:
        doubt += f"; the hot words, {errors_in_words(row.change('wer'))} than without them"
    terms = row.term_error_rate.value
    if terms is not None:
        base = bases[GREEDY].results[set_name].all.term_error_rate.value
        count = plural(best.results[set_name].terms[""].reference, "occurrence")
        doubt += f"; term errors {percent(base)} % → {percent(terms)} % (base → {best.name}, of {count})"
    return f"{text}{', '.join(before)}; {doubt}."


def errors_in_words(change: Rate) -> str:
    """`88.4 % fewer errors (95 % interval 84.1 to 91.0)`."""
    sign = -1 if (change.value or 0) <= 0 else 1
    bounds = change.bounds and sorted(100 * sign * bound + 0.0 for bound in change.bounds)
    between = f" (95 % interval {bounds[0]:.1f} to {bounds[1]:.1f})" if bounds else ""
    return f"{percent(abs(change.value or 0))} % {'fewer' if sign < 0 else 'more'} errors{between}"


def time_taken(exp: Path) -> str:
    """`Training took 3 minutes, all 9 minutes.`, as the records of inputs.json have it; of a training that
    was resumed, or done in parts, train.json has more."""
    training = rest = 0.0
    for file in exp.rglob("*inputs.json"):
        took = load_json(file).get("seconds") or 0.0
        if file.name == RECORD and (trained := file.with_name("train.json")).is_file():
            training += max(took, load_json(trained).get("seconds") or 0.0)
        else:
            rest += took
    return f"Training took {in_minutes(training)}, all {in_minutes(training + rest)}."


def in_minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
