"""What a recipe says at its end, in at most twelve lines: what was gained, what it costs, how to use it.

    python -m ia3_speech.experiments summary exp/clinic

In: an experiment's folder with results.json and registered.json. Out: such lines:

    test: WER 2.1 [1.3, 3.0] % with ia3 + LM, base 46.3 %, base + LM 18.2 %; the adapter makes 88.4 % fewer
    errors (95 % interval 84.1 to 91.0) than base + LM. It is the best of 3 systems on test itself.
      Other speech: 25.2 % of base + LM become 51.9 %. Name it for its own kind of speech only.
    Training took 3 minutes, all 9 minutes. Tables: exp/clinic/RESULTS.md. Reports: exp/clinic/report_test…
    Next: ia3-speech transcribe --adapter clinic audio.wav
"""

import shlex
from pathlib import Path

from ia3_speech.experiments.conclusion import REGISTERED
from ia3_speech.experiments.curve_files import gain_of_others
from ia3_speech.experiments.notes import warnings_of
from ia3_speech.experiments.systems import (
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
from ia3_speech.formatting import percent, shorten, with_interval
from ia3_speech.scoring.results import ADDED
from ia3_speech.scoring.table import Rate

MOST_SETS = 3  # test sets that are spoken of
MOST_NAMED = 5  # adapters that are not registered


def summary(*exps: str, transcribe: str = "ia3-speech transcribe", sample: str = "audio.wav") -> None:
    """Print what was gained, what it costs, and the command that uses the best measured system.

    Args:
        exps: folders of experiments, of which the last is the most specific
        transcribe: how transcribe is called here
        sample: a recording to try it on
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
            options = f"--adapter {names[-1]} "
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
    lines = [gain(best, by_search, bases, name) for name in test_sets(systems)[:MOST_SETS]]
    if newest and not newest["refused"]:
        where = DEV if newest["chosen_on"] == DEV else f"{newest['set']} itself"
        only = " Only greedy search was measured; transcribe adds the base's language model, if any."
        best_of = f" It is the best of {newest['measured']} systems on {where}."
        lines[0] += best_of if newest["measured"] > 1 else only
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
    before = [
        f"{base.name} {percent(base.results[set_name].all.wer.value)} %"
        for search, base in bases.items()
        if set_name in base.results and (search == GREEDY or best.search != GREEDY)
    ]
    text = f"{set_name}: WER {with_interval(row.wer.value, row.wer.bounds)} % with {best.name}, "
    compared = by_search[LM] if best.search == HOTWORDS and LM in by_search else best
    change = compared.results[set_name].all.change("wer")
    doubt = f"the adapter makes {errors_in_words(change)} than {compared.baseline}"
    if best is not compared:
        doubt += f"; the hot words, {errors_in_words(row.change('wer'))} than without them"
    terms = row.term_error_rate.value
    if terms is not None:
        base = bases[GREEDY].results[set_name].all.term_error_rate.value
        doubt += f"; term errors {percent(base)} % → {percent(terms)} %"
    return f"{text}{', '.join(before)}; {doubt}."


def errors_in_words(change: Rate) -> str:
    """`88.4 % fewer errors (95 % interval 84.1 to 91.0)`."""
    sign = -1 if (change.value or 0) <= 0 else 1
    bounds = change.bounds and sorted(100 * sign * bound + 0.0 for bound in change.bounds)
    between = f" (95 % interval {bounds[0]:.1f} to {bounds[1]:.1f})" if bounds else ""
    return f"{percent(abs(change.value or 0))} % {'fewer' if sign < 0 else 'more'} errors{between}"


def time_taken(exp: Path) -> str:
    """`Training took 3 minutes, all 9 minutes.`, as the records of inputs.json have it."""
    seconds = {file: load_json(file).get("seconds") or 0 for file in exp.rglob("*inputs.json")}
    training = sum(took for file, took in seconds.items() if (file.parent / "train.json").is_file())
    return f"Training took {in_minutes(training)}, all {in_minutes(sum(seconds.values()))}."


def in_minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"
