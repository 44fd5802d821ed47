"""RESULTS.md: its tables, warnings and provenance. In: systems, the base first. Out: Markdown, in percent.

Of a system with several seeds, the tables show the seed with the median dev WER, and the range of all seeds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from statistics import fmean, median

import yaml

from ia3_speech.common.atomic import write_text
from ia3_speech.report import curve_files
from ia3_speech.report.curve_files import spread
from ia3_speech.report.systems import System, comparisons, median_of, test_sets
from ia3_speech.scoring import sentences
from ia3_speech.scoring.error_rates import ErrorRates, Json, change_rate, compared_rows, rates_table
from ia3_speech.scoring.record import (
    BASE,
    GREEDY,
    HOTWORDS,
    LM,
    OUT_OF_DOMAIN,
    Result,
    load_json,
    read_result,
)
from ia3_speech.scoring.sentences import MARK, NOT_IMPROVED
from ia3_speech.scoring.table import Cell, Rate, Table, markdown_table, markdown_text

STANDARD = ("systems", "speakers", "terms", "labels", "forgetting", "confidences", "curve", "provenance")
PARTS = (*STANDARD, "training")
MAX_CATEGORIES = 10  # of terms in a page
SUMMARY = ("all", "only in test")  # the categories of terms that a page always has
MAX_VALUES = 6  # of a label; a label with more values gets a single line, the median


def markdown(systems: Sequence[System], parts: Sequence[str] = STANDARD, page_dir: Path | None = None) -> str:
    """The chosen parts, in their order, with blank lines between them. Into `page_dir`, the folder of their
    page, long tables of terms are written as CSV."""
    groups = {name: list(group) for name, group in groupby(systems, key=lambda system: system.name)}
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
            texts.append(term_table(scored, set_name, page_dir))
        if "labels" in parts:
            texts.append(label_table([s for s in scored if s.search != HOTWORDS], set_name))
    if "forgetting" in parts:
        texts.append(forgetting_table([system for system in shown if OUT_OF_DOMAIN in system.results]))
        texts.append(speakers_forgetting_table(shown))
        if (file := exp / "trade_off.json").is_file():
            texts.append(curve_files.trade_off_table(curve_files.read_trade_off(file)).markdown)
        sets = [*sets, OUT_OF_DOMAIN]
    if "confidences" in parts:
        texts.append(reliability_table(shown, list(dict.fromkeys([*sets, OUT_OF_DOMAIN]))))
    if "curve" in parts and (exp / "curve.json").is_file():
        curve = curve_files.read_learning_curve(exp / "curve.json")
        texts += [curve_files.learning_curve_table(curve).markdown] if curve.unit == "minutes" else []
    if "training" in parts:
        texts.append(training_table(groups))
    if "provenance" in parts:
        texts.append(provenance_list(shown, sets))
    return "\n".join(text for text in texts if text)


def system_table(systems: Sequence[System], groups: Mapping[str, list[System]], set_name: str) -> str:
    """Rates and changes on a test set, a line for each system, with dev WER and trained parameters."""
    several = any(len(groups[system.name]) > 1 for system in systems)
    searched = any(system.search != GREEDY for system in systems)
    head = [set_name, "WER %", "change %", *(["compared with"] if searched else []), "CER %", "CER change %"]
    head += ["term errors %", "term errors change %", "dev WER %", "trained"]
    head += ["WER % of the seeds"] if several else []
    rows = []
    for system in systems:
        greedy, train = system.search == GREEDY, system.train
        trained = f"{train['trainable']:,} parameters, {train['seconds']:.0f} s" if train and greedy else None
        if trained and (memory := train.get("peak_memory_bytes")):
            trained += f", {memory / 1e9:.1f} GB"
        results = [seed.results[set_name] for seed in groups[system.name] if set_name in seed.results]
        seeds = [result.all.wer for result in results]
        more: dict[str, Cell] = {"compared with": system.results[set_name].baseline_name, "trained": trained}
        more |= {"dev WER %": Rate(system.dev_wer if greedy else None), "WER % of the seeds": spread(seeds)}
        trained_seeds = next(len(group) for group in groups.values() if group[0].system == system.system)
        of_seeds = f" (seed {system.seed} of {trained_seeds})" if system.seed and trained_seeds > 1 else ""
        rows.append((system.name + of_seeds, system.results[set_name].all, more))
    return rates_table(set_name, "", head, rows).markdown


def unseen_table(systems: Sequence[System], set_name: str) -> str:
    """Rates of the utterances whose sentence is not in training; no row if these are all or none."""
    head = [f"{set_name}, sentences not in training", "utterances", "words", "compared with"]
    rows = [
        (system.name, rates, {"compared with": system.baseline})
        for system in systems
        if (rates := system.results[set_name].unseen) and "wer" in rates.changes
    ]
    return rates_table("unseen", "", [*head, "before %", "WER %", "change %"], rows).markdown


def compared_table(
    first: str,
    systems: Sequence[System],
    set_name: str,
    rows: Sequence[tuple[str, Sequence[ErrorRates]]],
    with_intervals: bool,
) -> str:
    """A row for each part of a set: the base beside the other systems, and an explanation of marks."""
    head = [first, "utterances", "words", "base WER %", *compared_heads(systems[1:])]
    table = markdown_table(head, compared_rows(rows, with_intervals))
    if any(name.endswith(MARK) for name, _ in rows):
        unit = systems[0].results[set_name].all.ci_unit
        table += f"\n{markdown_text(sentences.few_clusters_sentence(unit))}\n"
    return table


def compared_heads(systems: Sequence[System], rate: str = "WER ") -> list[str]:
    """`ia3_plus WER %` and `change %` of each system, and the baseline of the change if not the base."""
    heads = []
    for system in systems:
        against = "" if system.baseline == BASE else f" from {system.baseline}"
        heads += [f"{system.name} {rate}%", f"change{against} %"]
    return heads


def term_table(systems: Sequence[System], set_name: str, page_dir: Path | None) -> str:
    """Term errors by category: the base beside each adapter. In the page, a table of more than MAX_CATEGORIES
    keeps the rows of SUMMARY, with a link to all rows in page_dir/terms_EXP_SET.csv."""
    by_category = [system.results[set_name].terms for system in systems]
    lines = []
    for category, base in by_category[0].items() if len(systems) > 1 else ():
        line: list[Cell] = [category or "all", base.reference, Rate(base.term_error_rate)]
        for rows in by_category[1:]:
            line += [Rate(rows[category].term_error_rate), change_rate(rows[category].change)]
        lines.append(line)
    first, link = ["terms", "occurrences", "base %"], ""
    if page_dir and len(lines) > MAX_CATEGORIES:
        heads = [f"{s.name} {part}" for s in systems[1:] for part in ("%", f"change from {s.baseline} %")]
        table = Table(f"terms_{systems[0].folder.parent.name}_{set_name}", "", [*first, *heads], lines)
        write_text(page_dir / f"{table.name}.csv", table.csv())
        link = f"\n[All categories of terms]({table.name}.csv), {len(lines)} rows.\n"
        lines = [line for line in lines if line[0] in SUMMARY]
    return markdown_table([*first, *compared_heads(systems[1:], "")], lines) + link


def label_rows(
    results: Sequence[Result], label: str, prefix: str = ""
) -> Iterator[tuple[str, list[ErrorRates]]]:
    """The values of a label, with marks, and their rates in each result."""
    for value, rates in results[0].by_label.get(label, {}).items():
        mark = f" {MARK}" if results[0].is_marked(label, rates) else ""
        yield f"{prefix}{value}{mark}", [result.by_label[label][value] for result in results]


def label_table(systems: Sequence[System], set_name: str) -> str:
    """WER by label; for a label with many values, the median."""
    if len(systems) < 2:
        return ""
    results = [system.results[set_name] for system in systems]
    rows: list[tuple[str, list[ErrorRates]]] = []
    for label, values in results[0].by_label.items():
        if len(values) > MAX_VALUES:
            rows += median_row(label, [result.by_label[label] for result in results])
        elif len(values) > 1:
            rows += label_rows(results, label, f"{label}: ")
    return compared_table("by label", systems, set_name, rows, with_intervals=False)


def median_row(label: str, columns: Sequence[Mapping[str, ErrorRates]]) -> list[tuple[str, list[ErrorRates]]]:
    """The median WER of the values of a label; no row if each value has a single utterance."""
    spoken = [value for value, rates in columns[0].items() if rates.words]
    names = ("utterances", "words")
    counts = {name: sum(getattr(columns[0][value], name) for value in spoken) for name in names}
    if counts["utterances"] <= len(spoken):
        return []
    first = replace(columns[0][spoken[0]], **counts, changes={})
    medians = [replace(first, wer=median(rates[value].wer for value in spoken)) for rates in columns]
    return [(f"{label}: median of {len(spoken)}", medians)]


def forgetting_table(systems: Sequence[System]) -> str:
    """WER on out-of-domain speech, all of it and by corpus: the base beside each adapter."""
    if len(systems) < 2:
        return ""
    results = [system.results[OUT_OF_DOMAIN] for system in systems]
    rows = [("all", [result.all for result in results]), *label_rows(results, "corpus")]
    return compared_table("out-of-domain speech", systems, OUT_OF_DOMAIN, rows, with_intervals=True)


def training_table(groups: Mapping[str, list[System]]) -> str:
    """The trainings with their options and dev WER (the mean of the seeds), the best first."""
    head = ["trained", "placements", "learning rate", "epochs", "seeds", "dev WER %", "of the seeds"]
    head += ["parameters", "s a seed", "peak memory, GB"]
    lines = []
    for name, seeds in groups.items():
        if "dev_wer" in seeds[0].train and seeds[0].search == GREEDY:
            options, rates = seeds[0].options, [seed.train["dev_wer"] for seed in seeds]
            line: list[Cell] = [name, ", ".join(options["placements"]), f"{options['learning_rate']:g}"]
            line += [str(options["epochs"]), str(len(seeds)), Rate(fmean(rates)), spread(rates)]
            line += [seeds[0].train["trainable"], f"{fmean(seed.train['seconds'] for seed in seeds):.0f}"]
            memory = max(seed.train.get("peak_memory_bytes", 0) for seed in seeds)
            line.append(f"{memory / 1e9:.1f}" if memory else None)
            lines.append((fmean(rates), name, line))
    lines.sort(key=lambda entry: entry[:2])
    return markdown_table(head, [line for _, _, line in lines])


def speaker_table(systems: Sequence[System], set_name: str) -> str:
    """The effect of adapters on each of many speakers, against the base and against their start."""
    head = ["speakers", "compared with", "before %", "WER %", "change %", "median speaker, points"]
    head += ["better %", "equal %", "worse %", "speakers", "words each", "no epoch improved"]
    lines = []
    for compared in comparisons(systems, set_name):
        words, train = compared.words.sum(), compared.system.train
        changes = (compared.after - compared.before) / compared.words  # of each speaker's WER
        unchanged = train["not_improved"]
        speakers = len({name.partition("/")[0] for name in unchanged})  # SPEAKER/FOLD
        line: list[Cell] = [compared.system.name, compared.against.name]
        line += [Rate(errors.sum() / words) for errors in (compared.before, compared.after)]
        line += [compared.relative, Rate(median(changes), signed=True)]
        line += [Rate(share.mean(), digits=0) for share in (changes < 0, changes == 0, changes > 0)]
        line += [str(len(compared.speakers)), f"{median(compared.words):.0f}"]
        lines.append([*line, f"{len(unchanged)} of {train['adapters']} folds, {speakers} speakers"])
    return markdown_table(head, lines)


def speakers_forgetting_table(systems: Sequence[System]) -> str:
    """WER on out-of-domain speech of speakers' adapters, as far as they decoded it."""
    head = ["adapters of speakers, on out-of-domain speech", "how many", "base WER %", "median WER %"]
    lines = []
    for system in [s for s in systems if s.of_speakers and OUT_OF_DOMAIN in systems[0].results]:
        results = map(read_result, sorted(system.folder.glob("*/fold1/*/score.json")))
        rates = [result.all.wer for result in results if result.set == OUT_OF_DOMAIN]
        if rates:
            base = Rate(systems[0].results[OUT_OF_DOMAIN].all.wer)
            lines.append([system.name, str(len(rates)), base, Rate(median(rates)), spread(rates)])
    return markdown_table([*head, "of all"], lines)


def reliability_table(systems: Sequence[System], sets: Sequence[str]) -> str:
    """Whether word confidences are probabilities, and how many errors are among the least certain words."""
    head = ["word confidences", "set", "words", "wrong %", "calibration error %"]
    head += ["errors in the least certain 10 %, % of all", "area under ROC %", "calibrated"]
    lines = []
    for set_name in sets:
        scored = [system for system in systems if set_name in system.results]
        for system in [system for system in scored if system.results[set_name].confidences]:
            measured = system.results[set_name].confidences
            line: list[Cell] = [system.name, set_name, measured["words"]]
            line += [Rate(measured["errors"] / measured["words"]), Rate(measured["calibration_error"])]
            line += [Rate(measured["found"], measured["found_ci"], digits=0), Rate(measured["area"])]
            lines.append([*line, "yes" if measured["scaling"] else "no"])
    return markdown_table(head, lines)


def warnings_of(systems: Sequence[System], sets: Iterable[str]) -> list[Json]:
    """The warnings of results.json: the set, the system's folder (None: all systems), and a sentence.

    The overlap of a test set with training comes first. It differs between systems with an adapter for each
    speaker, since these were trained on different numbers of utterances.
    """
    warnings: list[tuple[str | None, str | None, str]] = []
    for name in sets:
        results = {system.folder.name: system.results[name] for system in systems if name in system.results}
        overlaps = {folder: result.warnings for folder, result in results.items() if result.overlap}
        for text in dict.fromkeys(text for texts in overlaps.values() for text in texts):
            folders = [folder for folder, texts in overlaps.items() if text in texts]
            of_all = len(folders) == len(overlaps)
            warnings += [(name, folder, text) for folder in ([None] if of_all else folders)]
    unchanged = [system.folder.name for system in systems if system.train.get("selected_epoch") == 0]
    for folder in dict.fromkeys(unchanged):
        warnings.append((None, folder, f"{NOT_IMPROVED} (try a lower --learning-rate)"))
    return [dict(zip(("set", "system", "text"), warning, strict=True)) for warning in warnings]


def warning_list(systems: Sequence[System], set_name: str) -> str:
    """The warnings about a set, or the sentence that it shares no sentence with training."""
    lines = [
        f"**Warning:** {warning['system'] + ': ' if warning['system'] else ''}{warning['text']}."
        for warning in warnings_of(systems, [set_name])
    ]
    scored = [system.results[set_name] for system in systems if set_name in system.results]
    without_overlap = [sentences.no_overlap_sentence(result) for result in scored if result.overlap]
    if without_overlap and all(without_overlap):
        lines.append(without_overlap[0].replace("the test set", set_name))
    return bullets(lines)


def bullets(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def provenance_list(systems: Sequence[System], sets: Sequence[str]) -> str:
    """How the intervals were computed, and the commands that made the systems."""
    lines = []
    for set_name in sets:
        scored = [system for system in systems if set_name in system.results]
        if not scored:
            continue
        result = scored[0].results[set_name]
        only_base = {system.results[set_name].baseline_name for system in scored} <= {None, BASE}
        against = "the base" if only_base else "what each is compared with"
        record = result.record
        lines.append(
            f"{set_name}: {record['utterances']} utterances, {record['words']} words. In brackets 95 % "
            f"intervals of a bootstrap over {record['ci_clusters']} {record['ci_unit']}s; changes are "
            f"relative to {against} on the same draws, negative is better."
            + (" With so few the intervals are too narrow." if result.few_clusters else "")
        )
        for system in scored:
            baseline = "the base" if system.baseline == BASE else system.baseline or ""
            sentence = sentences.significance_sentence(system.results[set_name], system.name, baseline)
            lines += [sentence] if sentence else []
    if note := language_model_note(systems):
        lines.append(note)
    return bullets(lines + commands(systems))


def commands(systems: Iterable[System]) -> list[str]:
    """A line for each command: the systems that it made, and the commit."""
    systems_of: dict[str, list[str]] = {}
    for system in systems:
        record = system.record
        commit = f"commit {record['commit']}" if record.get("commit") else "no commit"
        changed = " with changes" if record.get("commit") and record.get("dirty") else ""
        command = f"`{record.get('command', '')}` ({commit}{changed})"
        systems_of.setdefault(command, []).append(system.name)
    return [f"{', '.join(names)}: {command}." for command, names in systems_of.items()]


def language_model_note(systems: Sequence[System]) -> str:
    """The weights of its parts, and of each system's search; empty if no language model was built."""
    with_lm = [system for system in systems if system.search == LM]
    file = with_lm[0].folder.parent / "lm.json" if with_lm else None
    if file is None or not file.is_file():
        return ""
    summary = load_json(file)
    weights = {"/".join(Path(name).parts[-2:]): weight for name, weight in summary["weights"].items()}
    text = " and ".join(f"{weight:.2f} of {name}" for name, weight in weights.items())
    text = f"Language model: {summary['order']}-grams, {text}"
    if dev := summary["dev"]:
        unknown = f"{dev['unknown_words']} of {dev['words']} words unknown"
        text += f", weights chosen on dev (perplexity {dev['perplexity']:.1f}; {unknown})"
    searches = []
    for system in with_lm:
        chosen = yaml.safe_load((system.folder / "lm_search.yaml").read_text("utf-8"))
        searches.append(f"{system.name} {chosen['lm_weight']:g} and {chosen['word_score']:g} a word")
    return f"{text}. Search weights chosen on dev: {', '.join(searches)}."
