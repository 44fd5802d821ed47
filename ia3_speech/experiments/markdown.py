"""Markdown tables of systems: what goes into RESULTS.md. Percent; intervals in brackets.

Of a system with several seeds the one with the median dev WER stands in the tables, and the range of all of
them beside it.
"""

from itertools import groupby
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ia3_speech.data.kaldi.overlap import training_in_words
from ia3_speech.experiments.by_speaker import Comparison, comparisons, is_speakers
from ia3_speech.experiments.notes import provenance_list
from ia3_speech.experiments.points import curve_by_minutes, trade_off_of
from ia3_speech.experiments.result_warnings import overlaps_of, warnings_of
from ia3_speech.experiments.systems import GREEDY, HOTWORDS, OUT_OF_DOMAIN, System, median_of
from ia3_speech.formatting import percent, with_interval
from ia3_speech.scoring.results import MARK, few_clusters_note, results_of

STANDARD = ("systems", "speakers", "terms", "labels", "forgetting", "confidences", "curve", "provenance")
PARTS = (*STANDARD, "training", "tuning")
MOST_VALUES = 6  # of a label, to be worth a table
MARKED = rf" \{MARK}"  # for Markdown

Groups = dict[str, list[System]]


def markdown(systems: list[System], parts: tuple[str, ...] | list[str] = STANDARD) -> str:
    """The parts wanted, in their order, with blank lines between them. The first system is the base."""
    groups = {name: list(group) for name, group in groupby(systems, key=lambda one: one.name)}
    shown = {name: median_of(group) if group[0].train else group[0] for name, group in groups.items()}
    texts = []
    sets = sorted(set(systems[0].scores) - {OUT_OF_DOMAIN})
    for set_name in sets:
        having = [system for system in shown.values() if set_name in system.scores]
        if "systems" in parts:
            texts.append(system_table(having, groups, set_name))
            texts.append(unseen_table(having, set_name))
            texts.append(warning_list(systems, set_name))
        for part, make in (("speakers", speaker_table), ("terms", term_table)):
            if part in parts and len(having) > 1:
                texts.append(make(having, set_name))
        if "labels" in parts and len(having) > 1:
            texts.append(label_table([one for one in having if one.search != HOTWORDS], set_name))
        if "tuning" in parts:
            texts.append(tuning_table(having, set_name))
    if "forgetting" in parts:
        texts.append(
            forgetting_table([system for system in shown.values() if OUT_OF_DOMAIN in system.scores])
        )
        texts.append(trade_off_table(systems[0].folder.parent))
        sets.append(OUT_OF_DOMAIN)
    if "confidences" in parts:
        texts.append(reliability_table(list(shown.values()), list(dict.fromkeys([*sets, OUT_OF_DOMAIN]))))
    if "curve" in parts:
        texts.append(curve_table(systems[0].folder.parent))
    if "training" in parts:
        texts.append(training_table(groups))
    if "provenance" in parts:
        texts.append(provenance_list(list(shown.values()), sets))
    return "\n".join(text for text in texts if text)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, the first column to the left and numbers to the right; nothing without rows."""
    if not rows:
        return ""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def change_cell(change: dict[str, Any] | None) -> str:
    return with_interval(change["relative"], change["relative_ci"], signed=True) if change else "–"


def spread(rates: list[float]) -> str:
    return f"{percent(min(rates))} to {percent(max(rates))}" if len(rates) > 1 else "–"


def system_table(systems: list[System], groups: Groups, set_name: str) -> str:
    """Rates and changes on one test set, a line a system; dev WER and what was trained follow.

    | test | WER % | change % | compared with | CER % | change % | term errors % | … |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | … |
    | base | 46.2 [43.3, 49.1] | – | – | 17.9 | – | 83.4 [79.8, 87.0] | … |
    | ia3 (seed 3 of 3) | 8.0 [6.5, 9.6] | -82.7 [-85.7, -79.6] | base | 2.5 | -86.2 [-88.7, -83.5] | … |
    """
    header = [set_name, "WER %", "change %", "CER %", "change %", "term errors %", "change %", "dev WER %"]
    header += ["trained"]
    several = any(len(groups[system.name]) > 1 for system in systems)
    searched = any(system.search != GREEDY for system in systems)
    rows = []
    for system in systems:
        score, seeds = system.scores[set_name], groups[system.name]
        changes, train = score.get("changes") or {}, system.train
        line = [
            shown_name(system, groups),
            with_interval(score["wer"], score["wer_ci"]),
            change_cell(changes.get("wer")),
            percent(score["cer"]),
            change_cell(changes.get("cer")),
            with_interval(score["term_error_rate"], score["term_error_rate_ci"]),
            change_cell(changes.get("term_error_rate")),
            percent(system.dev_wer if system.search == GREEDY else None),
            f"{train['trainable']:,} parameters, {train['seconds']:.0f} s"
            if train and system.search == GREEDY
            else "–",
        ]
        if searched:
            line.insert(3, system.baseline if changes else "–")
        if several:
            line.append(spread([one.scores[set_name]["wer"] for one in seeds if set_name in one.scores]))
        rows.append(line)
    if searched:
        header.insert(3, "compared with")
    return table(header + ["WER % of the seeds"] * several, rows)


def shown_name(system: System, groups: Groups) -> str:
    """With the seed, where there are others."""
    seeds = len(groups.get(system.greedy_name, ()))
    return f"{system.name} (seed {system.seed} of {seeds})" if system.seed and seeds > 1 else system.name


def compared_heads(systems: list[System]) -> list[str]:
    """`ia3 WER %` and `change %` of each system, and what the change is from where that is not the base."""
    heads = []
    for one in systems:
        against = "" if one.baseline == "base" else f" from {one.baseline}"
        heads += [f"{one.name} WER %", f"change{against} %"]
    return heads


def unseen_table(systems: list[System], set_name: str) -> str:
    """Rates of the utterances whose sentence is not in training; no row where it is all or none.

    | test, sentences not in training | utterances | words | compared with | WER % before | after | change % |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: |
    | ia3 | 361 | 5140 | base | 68.5 | 52.8 [50.5, 55.2] | -22.9 [-25.3, -20.5] |
    """
    header = [f"{set_name}, sentences not in training", "utterances", "words", "compared with"]
    header += ["WER % before", "after", "change %"]
    rows = []
    for system in systems:
        score = system.scores[set_name].get("unseen_sentences") or {}
        if change := score.get("changes", {}).get("wer"):
            line = [system.name, str(score["utterances"]), str(score["words"]), system.baseline]
            line += [percent(change["baseline"]), with_interval(score["wer"], score["wer_ci"])]
            rows.append([*line, change_cell(change)])
    return table(header, rows)


def warning_list(systems: list[System], set_name: str) -> str:
    """What must be known before a set's numbers; or that it has no sentence in common with training."""
    lines = [
        f"**Warning:** {one.system + ': ' if one.system else ''}{one.text}."
        for one in warnings_of(systems, [set_name])
    ]
    overlaps = [*overlaps_of(systems, set_name).values()]
    if overlaps and not any(one["common_sentences"] for one in overlaps):
        place = training_in_words(overlaps[0].get("by_speaker", False))
        lines.append(f"No sentence of {set_name} occurs in {place}.")
    return "".join(f"- {line}\n" for line in lines)


def term_table(systems: list[System], set_name: str) -> str:
    """Term errors by category: the base beside each adapter.

    | terms | occurrences | base % | ia3 % | change % |
    | --- | ---: | ---: | ---: | ---: |
    | all | 476 | 83.4 | 16.0 | -80.9 [-84.8, -76.8] |
    | drink | 151 | 92.7 | 21.2 | -77.1 [-83.9, -70.0] |
    """
    scores = [system.scores[set_name] for system in systems]
    header = ["terms", "occurrences", "base %"]
    header += [text.replace(" WER", "") for text in compared_heads(systems[1:])]
    rows = []
    for category in ["all", *(scores[0].get("terms_by_category") or {})]:
        found = [one["terms"] if category == "all" else one["terms_by_category"][category] for one in scores]
        if found[0]:
            line = [category, str(found[0]["reference"]), percent(found[0]["term_error_rate"])]
            for one in found[1:]:
                line += [percent(one["term_error_rate"]), change_cell(one.get("change"))]
            rows.append(line)
    return table(header, rows)


def label_table(systems: list[System], set_name: str) -> str:
    """WER by the labels; of one with many values the median.

    | by label | utterances | words | base WER % | ia3 WER % | change % |
    | --- | ---: | ---: | ---: | ---: | ---: |
    | speaker: median of 42 | 840 | 5983 | 59.7 | 46.9 | – |
    | gender: f | 440 | 3155 | 67.1 | 49.2 | -26.7 [-33.3, -19.6] |
    """
    scores = [system.scores[set_name]["by_label"] for system in systems]
    header = ["by label", "utterances", "words", "base WER %", *compared_heads(systems[1:])]
    rows = []
    for label, values in scores[0].items():
        if len(values) > MOST_VALUES:
            rows += median_row(label, scores)
            continue
        for value, rates in values.items() if len(values) > 1 else ():
            line = [f"{label}: {value}" + marked(label, rates, systems[0].scores[set_name])]
            line += [str(rates["utterances"]), str(rates["words"]), percent(rates["wer"])]
            for score in scores[1:]:
                found = score[label][value]
                line += [percent(found["wer"]), change_cell(found["changes"].get("wer"))]
            rows.append(line)
    return table(header, rows) + note_of_marks(rows, systems[0].scores[set_name])


def median_row(label: str, scores: list[dict[str, Any]]) -> list[list[str]]:
    """The median of the values of a label that has many; no row where each has a single utterance."""
    spoken = [value for value, rates in scores[0][label].items() if rates["words"]]
    counts = [sum(scores[0][label][one][name] for one in spoken) for name in ("utterances", "words")]
    if counts[0] <= len(spoken):
        return []
    first, *others = (percent(median(score[label][one]["wer"] for one in spoken)) for score in scores)
    changes = [cell for one in others for cell in (one, "–")]
    return [[f"{label}: median of {len(spoken)}", *map(str, counts), first, *changes]]


def marked(label: str, rates: dict[str, Any], score: dict[str, Any]) -> str:
    """The mark of a label's value with too few speakers for its interval."""
    return MARKED if results_of(score).row(label, "", rates).few_clusters else ""


def note_of_marks(rows: list[list[str]], score: dict[str, Any]) -> str:
    return (
        f"\n\\{few_clusters_note(score['ci_unit'])}\n" if any(row[0].endswith(MARKED) for row in rows) else ""
    )


def training_table(groups: Groups) -> str:
    """What was trained, how, and how well it does on dev (the mean of its seeds), the best first.

    | trained | placements | learning rate | epochs | seeds | dev WER % | of the seeds | parameters | … |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | … |
    | ia3 | key, value, ffn, … | 0.02 | 6 | 3 | 51.3 | 50.4 to 51.9 | 24,576 | … |
    """
    header = ["trained", "placements", "learning rate", "epochs", "seeds", "dev WER %", "of the seeds"]
    header += ["parameters", "s a seed"]
    rows = []
    for name, seeds in groups.items():
        if "dev_wer" in seeds[0].train and seeds[0].search == GREEDY:
            options, rates = seeds[0].options(), [one.train["dev_wer"] for one in seeds]
            line = [name, ", ".join(options["placements"]), f"{options['learning_rate']:g}"]
            line += [str(options["epochs"]), str(len(seeds)), percent(fmean(rates)), spread(rates)]
            line += [
                f"{seeds[0].train['trainable']:,}",
                f"{fmean(one.train['seconds'] for one in seeds):.0f}",
            ]
            rows.append((fmean(rates), line))
    return table(header, [line for _, line in sorted(rows)])


def speaker_table(systems: list[System], set_name: str) -> str:
    """What adapters did to each of many speakers, against the base and against what they started from.

    | speakers | compared with | WER % before | after | change % | median speaker, points | better % | … |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | … |
    | from_base_k15 | base | 67.6 | 58.3 | -13.8 [-16.3, -11.2] | -7.4 | 88 | … |
    """
    header = ["speakers", "compared with", "WER % before", "after", "change %", "median speaker, points"]
    header += ["better %", "equal %", "worse %", "speakers", "words each", "no epoch improved"]
    return table(header, [speaker_line(one) for one in comparisons(systems, set_name)])


def speaker_line(one: Comparison) -> list[str]:
    words = one.words.sum()
    shares = [sum(one.changes < 0), sum(one.changes == 0), sum(one.changes > 0)]
    not_improved = one.system.train["not_improved"]  # SPEAKER/FOLD
    speakers = len({name.partition("/")[0] for name in not_improved})
    return [
        one.system.name,
        one.against.name,
        percent(one.before.sum() / words),
        percent(one.after.sum() / words),
        with_interval(one.relative, one.relative_ci, signed=True),
        percent(median(one.changes), signed=True),
        *(percent(share / len(one.speakers), 0) for share in shares),
        str(len(one.speakers)),
        f"{median(one.words):.0f}",
        f"{len(not_improved)} of {one.system.train['adapters']} folds, {speakers} speakers",
    ]


def tuning_table(systems: list[System], set_name: str) -> str:
    """Learning rates and epochs of adaptation to speakers, the best first.

    | tuned | learning rate | epochs | WER % | change % | no epoch improved | s |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: |
    | from_base_k15_rate2e-2_epochs6 | 0.02 | 6 | 74.5 | -12.2 [-16.3, -7.8] | 0 of 76 | 304 |
    """
    rows = []
    for system in filter(is_speakers, systems):
        options, score = system.options(), system.scores[set_name]
        line = [system.name, f"{options['learning_rate']:g}", str(options["epochs"])]
        line += [percent(score["wer"]), change_cell(score["changes"].get("wer"))]
        not_improved = f"{len(system.train['not_improved'])} of {system.train['adapters']}"
        rows.append((score["wer"], [*line, not_improved, f"{system.train['seconds']:.0f}"]))
    header = ["tuned", "learning rate", "epochs", "WER %", "change %", "no epoch improved", "s"]
    base = ["base", "–", "–", percent(systems[0].scores[set_name]["wer"]), "–", "–", "–"]
    return table(header, [base, *(line for _, line in sorted(rows))] if rows else [])


def forgetting_table(systems: list[System]) -> str:
    """WER on out-of-domain speech, all of it and by corpus: the base beside each adapter.

    | out-of-domain speech | utterances | words | base WER % | ia3 WER % | change % |
    | --- | ---: | ---: | ---: | ---: | ---: |
    | all | 30 | 507 | 25.2 [21.1, 30.2] | 51.9 [46.6, 56.9] | +105.5 [+66.0, +162.5] |
    """
    scores = [system.scores[OUT_OF_DOMAIN] for system in systems]
    header = ["out-of-domain speech", "utterances", "words", "base WER %", *compared_heads(systems[1:])]
    rows = []
    for name in ["all", *scores[0]["by_label"].get("corpus", {})] if len(systems) > 1 else ():
        base, *others = [score if name == "all" else score["by_label"]["corpus"][name] for score in scores]
        line = [name + ("" if name == "all" else marked("corpus", base, scores[0]))]
        line += [str(base["utterances"]), str(base["words"]), with_interval(base["wer"], base["wer_ci"])]
        for one in others:
            line += [with_interval(one["wer"], one["wer_ci"]), change_cell(one["changes"].get("wer"))]
        rows.append(line)
    return table(header, rows) + (note_of_marks(rows, scores[0]) if rows else "")


def trade_off_table(exp: Path) -> str:
    """The adapter from off to on, and with a decay: its own speech against out-of-domain speech.

    | adapter | test_adults WER % | out-of-domain speech WER % |
    | --- | ---: | ---: |
    | scale 0 | 65.0 [58.4, 71.5] | 25.2 [21.1, 30.2] |
    | scale 0.5 | 50.7 [45.8, 55.7] | 30.8 [28.3, 32.7] |
    """
    if (found := trade_off_of(exp)) is None:
        return ""
    rows = [
        [one.name, *(with_interval(side.wer, side.interval) for side in (one.own, one.out_of_domain))]
        for one in found.points
    ]
    return table(["adapter", f"{found.own} WER %", f"{found.out_of_domain} WER %"], rows)


def reliability_table(systems: list[System], sets: list[str]) -> str:
    """Whether word confidences are probabilities, and what a reviewer of the least certain words finds.

    | word confidences | set | words | wrong % | calibration error % | errors in the least certain … | … |
    | --- | ---: | ---: | ---: | ---: | ---: | … |
    | base | test_adults | 6167 | 59.3 | 15.0 | 16 [15, 18] | … |
    | ia3 | test_adults | 5787 | 45.6 | 3.3 | 20 [19, 22] | … |
    """
    header = ["word confidences", "set", "words", "wrong %", "calibration error %"]
    header += ["errors in the least certain 10 %, % of all", "area under ROC %", "calibrated"]
    rows = []
    for set_name in sets:
        for system in systems:
            if found := system.scores.get(set_name, {}).get("confidences"):
                line = [system.name, set_name, str(found["words"]), percent(found["errors"] / found["words"])]
                line += [percent(found["calibration_error"])]
                line += [with_interval(found["found"], found["found_ci"], digits=0), percent(found["area"])]
                rows.append([*line, "yes" if found["scaling"] else "no"])
    return table(header, rows)


def curve_table(exp: Path) -> str:
    """WER by minutes of train; the last row is all of it.

    | minutes to adapt on | seeds | test_adults WER %, median | change % | WER % of the seeds |
    | --- | ---: | ---: | ---: | ---: |
    | 0 (the base) | – | 64.8 | – | – |
    | 1 | 1 | 61.6 | -4.9 | – |
    """
    curve, groups = curve_by_minutes(exp)
    if curve is None:
        return ""
    base = curve.base.wer if curve.base else None
    header = ["minutes to adapt on", "seeds", f"{curve.set} WER %, median", "change %", "WER % of the seeds"]
    rows = [["0 (the base)", "–", percent(base), "–", "–"]]
    for minutes, rates in groups:
        change = percent(median(rates) / base - 1, signed=True) if base else "–"
        rows.append([f"{minutes:g}", str(len(rates)), percent(median(rates)), change, spread(rates)])
    return table(header, rows)
