"""RESULTS.md: its tables, and the notes of notes.py. In: systems, the base first. Out: Markdown, in percent.

Of a system with several seeds the one with the median dev WER stands in the tables, and the range of all of
them beside it.
"""

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean, median

from ia3_speech.results.curve_files import (
    learning_curve_table,
    read_learning_curve,
    read_trade_off,
    spread,
    trade_off_table,
)
from ia3_speech.results.notes import provenance_list, warning_list
from ia3_speech.results.systems import (
    GREEDY,
    HOTWORDS,
    OUT_OF_DOMAIN,
    Comparison,
    System,
    comparisons,
    median_of,
    test_sets,
)
from ia3_speech.scoring.results import MARK, ResultRow, change_rate, few_clusters_note, read_results
from ia3_speech.scoring.table import Cell, Rate, markdown_table, markdown_text

STANDARD = ("systems", "speakers", "terms", "labels", "forgetting", "confidences", "curve", "provenance")
PARTS = (*STANDARD, "training")
MOST_VALUES = 6  # of a label, to be worth a table

Groups = dict[str, list[System]]


def markdown(systems: Sequence[System], parts: Sequence[str] = STANDARD) -> str:
    """The parts wanted, in their order, with blank lines between them."""
    groups = {name: list(group) for name, group in groupby(systems, key=lambda one: one.name)}
    shown = [median_of(group) if group[0].train else group[0] for group in groups.values()]
    exp, sets, texts = systems[0].folder.parent, test_sets(systems), []
    for set_name in sets:
        scored = [system for system in shown if set_name in system.results]
        if "systems" in parts:
            texts += [system_table(scored, groups, set_name), unseen_table(scored, set_name)]
            texts.append(warning_list(systems, set_name))
        if "speakers" in parts:
            texts.append(speaker_table(scored, set_name))
        if "terms" in parts:
            texts.append(term_table(scored, set_name))
        if "labels" in parts:
            texts.append(label_table([one for one in scored if one.search != HOTWORDS], set_name))
    if "forgetting" in parts:
        texts.append(forgetting_table([system for system in shown if OUT_OF_DOMAIN in system.results]))
        texts.append(other_speech_table(shown))
        if (exp / "trade_off.json").is_file():
            texts.append(trade_off_table(read_trade_off(exp / "trade_off.json")).markdown)
        sets = [*sets, OUT_OF_DOMAIN]
    if "confidences" in parts:
        texts.append(reliability_table(shown, list(dict.fromkeys([*sets, OUT_OF_DOMAIN]))))
    if "curve" in parts and (exp / "curve.json").is_file():
        curve = read_learning_curve(exp / "curve.json")
        texts += [learning_curve_table(curve).markdown] if curve.unit == "minutes" else []
    if "training" in parts:
        texts.append(training_table(groups))
    if "provenance" in parts:
        texts.append(provenance_list(shown, sets))
    return "\n".join(text for text in texts if text)


def system_table(systems: Sequence[System], groups: Groups, set_name: str) -> str:
    """Rates and changes on one test set, a line a system; dev WER and what was trained follow.

    | test | WER % | change % | compared with | CER % | change % | term errors % | … |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | … |
    | base | 46.2 [43.3, 49.1] | – | – | 17.9 | – | 83.4 [79.8, 87.0] | … |
    | ia3_plus (seed 3 of 3) | 8.0 [6.5, 9.6] | -82.7 [-85.7, -79.6] | base | 2.5 | -86.2 [-88.7, -83.5] | … |
    """
    several = any(len(groups[system.name]) > 1 for system in systems)
    searched = any(system.search != GREEDY for system in systems)
    header = [set_name, "WER %", "change %", *["compared with"] * searched, "CER %", "change %"]
    header += ["term errors %", "change %", "dev WER %", "trained"]
    rows = []
    for system in systems:
        row, train = system.results[set_name].all, system.train if system.search == GREEDY else {}
        line: list[Cell] = [shown_name(system, groups), row.wer, row.change("wer")]
        line += [system.baseline if row.changes else None] * searched + [Rate(row.cer.value)]
        line += [row.change("cer"), row.term_error_rate, row.change("term_error_rate")]
        line.append(Rate(system.dev_wer if system.search == GREEDY else None))
        line.append(f"{train['trainable']:,} parameters, {train['seconds']:.0f} s" if train else None)
        if several:
            seeds = [one.results[set_name] for one in groups[system.name] if set_name in one.results]
            line.append(spread([results.all.wer.value for results in seeds]))
        rows.append(line)
    return markdown_table(header + ["WER % of the seeds"] * several, rows)


def shown_name(system: System, groups: Groups) -> str:
    """With the seed, where there are others."""
    seeds = len(groups.get(system.greedy_name, ()))
    return f"{system.name} (seed {system.seed} of {seeds})" if system.seed and seeds > 1 else system.name


def compared_heads(systems: Sequence[System]) -> list[str]:
    """`ia3_plus WER %` and `change %` of each system, and what the change is from where that is not the base."""  # noqa: E501
    heads = []
    for system in systems:
        against = "" if system.baseline == "base" else f" from {system.baseline}"
        heads += [f"{system.name} WER %", f"change{against} %"]
    return heads


def unseen_table(systems: Sequence[System], set_name: str) -> str:
    """Rates of the utterances whose sentence is not in training; no row where it is all or none.

    | test, sentences not in training | utterances | words | compared with | WER % before | after | change % |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: |
    | ia3_plus | 361 | 5140 | base | 68.5 | 52.8 [50.5, 55.2] | -22.9 [-25.3, -20.5] |
    """
    header = [f"{set_name}, sentences not in training", "utterances", "words", "compared with"]
    header += ["WER % before", "after", "change %"]
    rows = []
    for system in systems:
        row = system.results[set_name].unseen
        if row and "wer" in row.changes:
            line = [system.name, str(row.utterances), str(row.words), system.baseline]
            rows.append([*line, Rate(row.changes["wer"].baseline), row.wer, row.change("wer")])
    return markdown_table(header, rows)


def term_table(systems: Sequence[System], set_name: str) -> str:
    """Term errors by category: the base beside each adapter.

    | terms | occurrences | base % | ia3_plus % | change % |
    | --- | ---: | ---: | ---: | ---: |
    | all | 476 | 83.4 | 16.0 | -80.9 [-84.8, -76.8] |
    | drink | 151 | 92.7 | 21.2 | -77.1 [-83.9, -70.0] |
    """
    by_category = [system.results[set_name].terms for system in systems]
    header = ["terms", "occurrences", "base %"]
    header += [text.replace(" WER", "") for text in compared_heads(systems[1:])]
    lines = []
    for category, base in by_category[0].items() if len(systems) > 1 else ():
        line: list[Cell] = [category or "all", str(base.reference), Rate(base.term_error_rate)]
        for rows in by_category[1:]:
            line += [Rate(rows[category].term_error_rate), change_rate(rows[category].change)]
        lines.append(line)
    return markdown_table(header, lines)


def label_table(systems: Sequence[System], set_name: str) -> str:
    """WER by the labels; of one with many values the median.

    | by label | utterances | words | base WER % | ia3_plus WER % | change % |
    | --- | ---: | ---: | ---: | ---: | ---: |
    | speaker: median of 42 | 840 | 5983 | 59.7 | 46.9 | – |
    | gender: f | 440 | 3155 | 67.1 | 49.2 | -26.7 [-33.3, -19.6] |
    """
    if len(systems) < 2:
        return ""
    by_label = [system.results[set_name].by_label for system in systems]
    header = ["by label", "utterances", "words", "base WER %", *compared_heads(systems[1:])]
    lines: list[list[Cell]] = []
    marked = False
    for label, rows in by_label[0].items():
        if len(rows) > MOST_VALUES:
            lines += median_line(label, [one[label] for one in by_label])
            continue
        for value, base in rows.items() if len(rows) > 1 else ():
            marked |= base.few_clusters
            others = [one[label][value] for one in by_label[1:]]
            lines.append(compared_cells(f"{label}: {value}", base, others, with_intervals=False))
    return markdown_table(header, lines) + note_of_marks(marked, systems[0], set_name)


def median_line(label: str, columns: Sequence[dict[str, ResultRow]]) -> list[list[Cell]]:
    """The median of the values of a label that has many; no row where each has a single utterance."""
    spoken = [value for value, row in columns[0].items() if row.words]
    utterances, words = (
        sum(getattr(columns[0][one], name) for one in spoken) for name in ("utterances", "words")
    )
    if utterances <= len(spoken):
        return []
    first, *others = (Rate(median(rows[value].wer.value for value in spoken)) for rows in columns)
    changes = [cell for rate in others for cell in (rate, None)]
    return [[f"{label}: median of {len(spoken)}", str(utterances), str(words), first, *changes]]


def compared_cells(
    name: str, base: ResultRow, others: Sequence[ResultRow], with_intervals: bool = True
) -> list[Cell]:
    """A line of the base and the systems beside it; the name is marked of too few speakers for intervals."""
    marked = f"{name} {MARK}" if base.few_clusters else name
    line: list[Cell] = [marked, str(base.utterances), str(base.words)]
    for row in (base, *others):
        line += [row.wer if with_intervals else Rate(row.wer.value), row.change("wer")]
    del line[4]  # the base's own change
    return line


def note_of_marks(marked: bool, base: System, set_name: str) -> str:
    note = markdown_text(few_clusters_note(base.results[set_name].record["ci_unit"]))
    return f"\n{note}\n" if marked else ""


def training_table(groups: Groups) -> str:
    """What was trained, how, and how well it does on dev (the mean of its seeds), the best first.

    | trained | placements | learning rate | epochs | seeds | dev WER % | of the seeds | parameters | … |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | … |
    | ia3_plus | key, value, ffn, … | 0.02 | 6 | 3 | 51.3 | 50.4 to 51.9 | 24,576 | … |
    """
    header = ["trained", "placements", "learning rate", "epochs", "seeds", "dev WER %", "of the seeds"]
    header += ["parameters", "s a seed"]
    lines = []
    for name, seeds in groups.items():
        if "dev_wer" in seeds[0].train and seeds[0].search == GREEDY:
            options, rates = seeds[0].options, [one.train["dev_wer"] for one in seeds]
            line: list[Cell] = [name, ", ".join(options["placements"]), f"{options['learning_rate']:g}"]
            line += [str(options["epochs"]), str(len(seeds)), Rate(fmean(rates)), spread(rates)]
            line += [seeds[0].train["trainable"], f"{fmean(one.train['seconds'] for one in seeds):.0f}"]
            lines.append((fmean(rates), name, line))
    return markdown_table(header, [line for _, _, line in sorted(lines, key=lambda entry: entry[:2])])


def speaker_table(systems: Sequence[System], set_name: str) -> str:
    """What adapters did to each of many speakers, against the base and against what they started from.

    | speakers | compared with | WER % before | after | change % | median speaker, points | better % | … |
    | --- | ---: | ---: | ---: | ---: | ---: | ---: | … |
    | from_base_k15 | base | 67.6 | 58.3 | -13.8 [-16.3, -11.2] | -7.4 | 88 | … |
    """
    header = ["speakers", "compared with", "WER % before", "after", "change %", "median speaker, points"]
    header += ["better %", "equal %", "worse %", "speakers", "words each", "no epoch improved"]
    return markdown_table(header, [speaker_line(one) for one in comparisons(systems, set_name)])


def speaker_line(one: Comparison) -> list[Cell]:
    words, train = one.words.sum(), one.system.train
    shares = [sum(one.changes < 0), sum(one.changes == 0), sum(one.changes > 0)]
    speakers = len({name.partition("/")[0] for name in train["not_improved"]})  # SPEAKER/FOLD
    return [
        one.system.name,
        one.against.name,
        Rate(one.before.sum() / words),
        Rate(one.after.sum() / words),
        one.relative,
        Rate(median(one.changes), signed=True),
        *(Rate(share / len(one.speakers), digits=0) for share in shares),
        str(len(one.speakers)),
        f"{median(one.words):.0f}",
        f"{len(train['not_improved'])} of {train['adapters']} folds, {speakers} speakers",
    ]


def forgetting_table(systems: Sequence[System]) -> str:
    """WER on out-of-domain speech, all of it and by corpus: the base beside each adapter.

    | out-of-domain speech | utterances | words | base WER % | ia3_plus WER % | change % |
    | --- | ---: | ---: | ---: | ---: | ---: |
    | all | 30 | 507 | 25.2 [21.1, 30.2] | 51.9 [46.6, 56.9] | +105.5 [+66.0, +162.5] |
    """
    if len(systems) < 2:
        return ""
    results = [system.results[OUT_OF_DOMAIN] for system in systems]
    header = ["out-of-domain speech", "utterances", "words", "base WER %", *compared_heads(systems[1:])]
    columns = [{"all": one.all} | one.by_label.get("corpus", {}) for one in results]
    lines = [
        compared_cells(name, base, [rows[name] for rows in columns[1:]]) for name, base in columns[0].items()
    ]
    marked = any(row.few_clusters for row in columns[0].values())
    return markdown_table(header, lines) + note_of_marks(marked, systems[0], OUT_OF_DOMAIN)


def other_speech_table(systems: Sequence[System]) -> str:
    """What adapters of single speakers cost on out-of-domain speech: those that decoded it, one by one.

    | adapters of speakers, on out-of-domain speech | how many | base WER % | median WER % | of all |
    | --- | ---: | ---: | ---: | ---: |
    | from_base_k15 | 17 | 24.9 | 29.7 | 26.2 to 35.1 |
    """
    header = ["adapters of speakers, on out-of-domain speech", "how many", "base WER %"]
    header += ["median WER %", "of all"]
    lines = []
    for system in [one for one in systems if one.of_speakers and OUT_OF_DOMAIN in systems[0].results]:
        files = sorted(system.folder.glob(f"*/fold1/decode_{GREEDY}_{OUT_OF_DOMAIN}/score.json"))
        rates = [read_results(file).all.wer.value for file in files]
        if rates:
            base = Rate(systems[0].results[OUT_OF_DOMAIN].all.wer.value)
            lines.append([system.name, str(len(rates)), base, Rate(median(rates)), spread(rates)])
    return markdown_table(header, lines)


def reliability_table(systems: Sequence[System], sets: Sequence[str]) -> str:
    """Whether word confidences are probabilities, and what a reviewer of the least certain words finds.

    | word confidences | set | words | wrong % | calibration error % | errors in the least certain … | … |
    | --- | ---: | ---: | ---: | ---: | ---: | … |
    | ia3_plus | test_adults | 5787 | 45.6 | 3.3 | 20 [19, 22] | … |
    """
    header = ["word confidences", "set", "words", "wrong %", "calibration error %"]
    header += ["errors in the least certain 10 %, % of all", "area under ROC %", "calibrated"]
    lines = []
    for set_name in sets:
        for system in systems:
            found = system.results[set_name].confidences if set_name in system.results else None
            if found:
                line = [system.name, set_name, str(found["words"]), Rate(found["errors"] / found["words"])]
                line += [Rate(found["calibration_error"]), Rate(found["found"], found["found_ci"], digits=0)]
                lines.append([*line, Rate(found["area"]), "yes" if found["scaling"] else "no"])
    return markdown_table(header, lines)
