"""The tables of the report: as files TABLE.csv, in the page, and the two that page.js draws, with players.

In: report data. Out: `Table`s; report/error_rates.csv, report/words.csv … beside report.html; and the JSON
values of two tables that page.js sorts and filters. Of utterances:

    {"systems": ["base", "ia3_plus"], "compared": [0, 1], "labels": ["accent"],
     "rows": [{"id", "speaker", "labels", "seconds", "audio", "alignments": [[…], […]]}, …]}

`compared` are the systems that are shown at first. A system's alignment is a list of: a word (correct),
[reference, hypothesis] (substitution), [reference, null] (deletion) and [null, hypothesis] (insertion). Of
words:

    {"systems": ["base", "ia3_plus"],
     "rows": [{"word": "metformin", "count": 9, "correct": [2, 8], "gain": 6, "term": "drug",
               "instead": ["met 5, met for 2", "met 1"]}]}

`correct` and `instead` have a value for each system, the baseline first. `term` is null for a word that is in
no term, else its categories, or `term`. A term of several words has a row too: it is correct if all its words
are, with nothing between them. Insertions are not counted.
"""

import base64
import io
import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ia3_speech.common.atomic import replacing, unexpected_file
from ia3_speech.common.errors import UserError
from ia3_speech.common.formatting import numeric_order, plural
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.utterance import Utterance, load_utterances
from ia3_speech.report.curve_files import learning_curve_table, trade_off_table
from ia3_speech.report.data import ReportData
from ia3_speech.scoring.error_rates import compared_rows, rates_table, terms_table
from ia3_speech.scoring.sentences import direction, true_minus
from ia3_speech.scoring.table import INTERVAL, Cell, Rate, Table, cell_text
from ia3_speech.scoring.term_errors import find_terms, match_terms

logger = logging.getLogger("ia3_speech.report")

PLAYABLE = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac"}  # by current browsers
MAX_CHOICES = 500  # a label with more values gets no selection list
MAX_INSTEAD = 3  # different words that were recognised instead of a word


def report_tables(report: ReportData) -> dict[str, Table]:
    """Each table of the report by its name, which is safe as a file name; in the page's order."""
    terms = report.system.result.terms
    tables = [systems_table(report)]
    tables += [terms_table(terms, bool(report.baseline))] if terms else []
    tables += [words_table(report), *tables_by_label(report), utterances_table(report)]
    tables += [learning_curve_table(report.curve)] if report.curve else []
    tables += [trade_off_table(report.trade_off)] if report.trade_off else []
    return {re.sub(r"[^\w.-]", "_", table.name): table for table in tables}


def systems_table(report: ReportData) -> Table:
    """Error rates of all systems, and the changes of the WER from the systems that they are compared with."""
    head = ["system", "WER %", "CER %"]
    head += ["term errors %"] if report.system.result.terms else []
    head += ["substitutions", "deletions", "insertions"]
    systems = [(system.name, system.result) for system in report.all_systems]
    if any(result.has_baseline for _, result in systems):
        head += ["change %", "compared with"]
    rows = [
        (name, result.all, {"compared with": result.baseline_label, "CER %": result.all.rate("cer")})
        for name, result in systems
    ]
    rates = report.system.result.all
    size = f"{plural(rates.utterances, 'utterance')}, {plural(rates.words, 'word')}"
    return rates_table("error_rates", f"{size} {INTERVAL}", head, rows)


def tables_by_label(report: ReportData) -> Iterator[Table]:
    """A table for each label that has several values with words, the speakers first."""
    labels = report.system.result.by_label
    names = [f"{system.name} WER %" for system in report.systems]
    names += ["change %"] if report.baseline else []
    for label in sorted(labels, key=lambda label: (label != "speaker", label)):
        values = [value for value, row in labels[label].items() if row.wer is not None]
        sides = [system.result.by_label[label] for system in report.systems]
        values = sorted(values, key=numeric_order)
        rows = compared_rows((value, [side[value] for side in sides]) for value in values)
        if len(rows) > 1:
            head = [label, "utterances", "words", *names]
            yield Table(f"by_{label}", f"WER by {label} {INTERVAL}", head, rows)


def words_table(report: ReportData) -> Table:
    """The accuracy of each reference word."""
    names = [system.name for system in report.systems]
    gain, rows = ["gain"] if len(names) > 1 else [], []
    for word in count_words(report):
        rates = [Rate(correct / word["count"]) for correct in word["correct"]]
        cells = [word["word"], word["count"], *rates, *([word["gain"]] if gain else []), word["term"]]
        rows.append([*cells, *word["instead"]])
    head = ["word", "count", *(f"{name} correct %" for name in names), *gain, "term"]
    head += [f"{name} instead" for name in names]
    return Table("words", "Accuracy of each reference word, and what is recognised instead", head, rows)


def utterances_table(report: ReportData) -> Table:
    """Each utterance with its labels, error rates and texts."""
    rows, labels = [], label_names(report)
    for utterance in report.utterances:
        reference = report.system.references[utterance.id]
        words = len(reference.split())
        rates, texts = [], [reference]
        for system in report.all_systems:
            rates.append(Rate(system.errors(utterance.id) / words if words else None))
            texts.append(system.hypotheses.get(utterance.id, ""))
        labelled = [utterance.id, utterance.speaker, *(utterance.labels.get(label) for label in labels)]
        rows.append([*labelled, utterance.duration, words, *rates, *texts])
    names = [system.name for system in report.all_systems]
    head = ["utterance", "speaker", *labels, "seconds", "words", *(f"{name} WER %" for name in names)]
    return Table("utterances", "Utterances", [*head, "reference", *names], rows)


def tables_folder(page: Path) -> Path:
    """`exp/report_test.html` → `exp/report_test`."""
    return page.with_suffix("") if page.suffix else page.with_name(f"{page.name}_tables")


def write_table_files(page: Path, tables: Mapping[str, Table]) -> None:
    """Write the tables, by their names, into the folder beside the page, in place of earlier tables. Raises
    UserError if the folder holds other files, which would be lost."""
    folder, again = tables_folder(page), page.is_file()

    def is_table(path: Path) -> bool:
        return path.suffix == ".csv" and path.is_file() and (again or path.stem in tables)

    if name := unexpected_file(folder, is_table):
        raise UserError(f"{folder / name}: is in the way of the report's tables (choose another `out`)")
    with replacing(folder) as new:
        new.mkdir()
        for name, table in tables.items():
            (new / f"{name}.csv").write_text(table.csv(), "utf-8", newline="")


def shown_cell(cell: Cell, few_clusters: bool = False) -> tuple[str, str, str]:
    """A cell's text, interval and CSS class; interval and class may be empty. A change is coloured if its
    interval excludes 0 and is from enough clusters."""
    if isinstance(cell, Rate):
        text, bounds = cell.parts
        style = direction(cell) if cell.signed and not few_clusters else ""
        return true_minus(text), true_minus(bounds), style
    return true_minus(cell_text(cell)) if isinstance(cell, int | float) else cell_text(cell), "", ""


def linked_audio(utterances: Iterable[Utterance], folder: Path) -> dict[str, str]:
    """Links, relative to `folder`, to existing files that browsers play; a segment ends in `#t=1.5,3.2`.

    Shell pipes have no link. Paths are quoted, so that `?`, `#` or `javascript:` in them stay part of a path.
    """
    links = {}
    for utterance in utterances:
        source = utterance.source
        if Path(source).suffix.lower() in PLAYABLE and os.path.isfile(source):  # noqa: PTH113 (never raises)
            link = quote(os.fsencode(os.path.relpath(source, folder)))
            link = link if link.startswith("../") else f"./{link}"
            part = "" if utterance.start is None else f"#t={utterance.start:g},{utterance.end:g}"
            links[utterance.id] = link + part
    return links


def embedded_audio(utterances: Iterable[Utterance]) -> dict[str, str]:
    """The audio as 16 kHz FLAC in `data:` URLs, about 25 kB per second; faults are logged as warnings."""
    import soundfile

    players, bad = {}, []
    waves = load_utterances(utterances, minimum_samples=1, on_error="skip", bad=bad)
    for utterance, wave in waves:
        buffer = io.BytesIO()
        soundfile.write(buffer, wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        content = base64.b64encode(buffer.getvalue()).decode()
        players[utterance.id] = f"data:audio/flac;base64,{content}"
    for fault in bad:
        logger.warning("%s", fault)
    return players


def utterance_rows(report: ReportData, players: Mapping[str, str]) -> dict[str, Any]:
    """The JSON value described above. `players`: {utterance id: src of its player}."""
    systems = report.all_systems
    rows = [
        {
            "id": utterance.id,
            "speaker": utterance.speaker,
            "labels": utterance.labels,
            "seconds": utterance.duration,
            "audio": players.get(utterance.id),
            "alignments": [
                [pair[0] if pair[0] == pair[1] else [*pair] for pair in system.alignments[utterance.id]]
                for system in systems
            ],
        }
        for utterance in report.utterances
    ]
    return {
        "systems": [system.name for system in systems],
        "compared": [systems.index(system) for system in report.systems],
        "labels": label_names(report),
        "rows": rows,
    }


def label_names(report: ReportData) -> list[str]:
    return sorted({label for utterance in report.utterances for label in utterance.labels})


def label_choices(report: ReportData) -> dict[str, dict[str, str]]:
    """Label → value → its text in a selection list, for the speaker and the labels that filter utterances."""
    values = {"speaker": {utterance.speaker for utterance in report.utterances}}
    for label in label_names(report):
        names = {utterance.labels.get(label, "(none)") for utterance in report.utterances}
        if 1 < len(names) <= MAX_CHOICES:
            values.setdefault(label, names)
    return {label: {"": "all"} | {name: name for name in sorted(names)} for label, names in values.items()}


def count_words(report: ReportData) -> list[dict[str, Any]]:
    """The rows of the JSON value described above: all reference words and the terms of several words, sorted
    by the gain of the last system over the first system."""
    counts, terms = Counter(), term_words(report)
    correct: dict[str, list[int]] = defaultdict(lambda: [0] * len(report.systems))
    instead: dict[str, list[Counter]] = defaultdict(lambda: [Counter() for _ in report.systems])
    for number, system in enumerate(report.systems):
        for pairs in system.alignments.values():
            phrases = match_terms(pairs, report.terms) if report.terms else ()
            hits = [(" ".join(term), hit) for term, hit in phrases if len(term) > 1]
            for word, hypothesis in pairs:
                if word is not None:
                    hits.append((word, word == hypothesis))
                    if word != hypothesis:
                        instead[word][number][hypothesis or ""] += 1
            for word, is_correct in hits:
                counts[word] += number == 0
                correct[word][number] += is_correct
    rows = [
        {
            "word": word,
            "count": count,
            "correct": correct[word],
            "gain": correct[word][-1] - correct[word][0],
            "term": terms.get(word),
            "instead": [instead_text(words) for words in instead[word]],
        }
        for word, count in counts.items()
    ]
    return sorted(rows, key=lambda row: (-row["gain"], -row["count"], row["word"]))


def term_words(report: ReportData) -> dict[str, str]:
    """Term, or word of a term that occurs in the references → its categories."""
    categories: dict[str, set[str]] = defaultdict(set)
    for text in report.system.references.values() if report.terms else ():
        for _, term in find_terms(text.split(), report.terms):
            for word in {*term, " ".join(term)}:
                categories[word].update(report.terms.categories_of[term])
    return {word: ", ".join(sorted(names)) or "term" for word, names in categories.items()}


def instead_text(words: Counter) -> str:
    """`met 3, (nothing) 1, …`: the most frequent first."""
    by_frequency = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{word or '(nothing)'} {count}" for word, count in by_frequency[:MAX_INSTEAD]]
    return ", ".join([*named, "…"] if len(words) > MAX_INSTEAD else named)
