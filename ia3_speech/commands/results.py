"""Results of an experiment's folder: tables for people, JSON for programs.

    ia3-speech results collect exp/medical               # results.json, RESULTS.md, curves
    ia3-speech results show exp/medical --parts training
    ia3-speech results fill RESULTS.md                   # the numbers in a page's marked blocks

A block of a page looks like this; the text between the two lines is replaced, and the path is relative to the
page:

    <!-- results exp/espeak systems provenance only ia3_plus ia3_plus_rate* -->
    <!-- end of results -->

The path is followed by the parts (systems, speakers, terms, labels, forgetting, confidences, curve, training,
provenance; by default all but training), and then optionally by `only` and patterns of systems or folders. A
block does not change if its folder is missing, or contains none of these. If the path is a Markdown file
(exp/espeak/RESULTS.md), the block gets its contents. Of more than ten categories of terms, the block has two
rows, and terms_EXP_SET.csv beside the page has all.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ia3_speech.common.atomic import write_json, write_text
from ia3_speech.common.errors import UserError
from ia3_speech.common.inputs import Inputs, provenance
from ia3_speech.scoring.error_rates import Json
from ia3_speech.scoring.record import IDENTITY, OUT_OF_DOMAIN

if TYPE_CHECKING:
    from ia3_speech.report.systems import System

SCHEMA = 2
BLOCK = re.compile(r"(<!-- results (\S+?)((?: [^>]*?)?) -->\n)(.*?)(<!-- end of results -->)", re.DOTALL)
RATES = ("utterances", "missing", "words", "errors", "insertions", "deletions", "substitutions")
RATES += ("wer", "wer_ci", "ci_unit", "ci_clusters", "mer", "wil", "cer", "cer_ci")
RATES += ("term_error_rate", "term_error_rate_ci", "changes")


def collect(exp: Path, force: bool = False) -> None:
    """Write results.json, RESULTS.md, and, if there are points to draw, curves and pictures.

    Args:
        exp: folder of the experiment
        force: write them again even if the scores are the same as before
    """
    from ia3_speech.report.curve_files import write_curves
    from ia3_speech.report.results_tables import markdown
    from ia3_speech.report.systems import find_systems

    patterns = ("*/*/score.json", "*/scale_*/*/score.json", "curve/*/*/score.json", "*/train.json")
    patterns += ("*/*/fold1/*/score.json", "*/lm_search.yaml", "lm.json")
    sources = Inputs({"scores": sorted(file for like in patterns for file in exp.glob(like))})
    if sources.is_current(exp / "RESULTS.md", force):
        return
    systems = find_systems(exp)
    write_curves(exp, systems)
    write_scatters(exp, systems)
    write_json(exp / "results.json", results(systems))
    write_text(exp / "RESULTS.md", markdown([system for system in systems if system.results]))
    sources.record(exp / "RESULTS.md")


def write_scatters(exp: Path, systems: "list[System]") -> None:
    """Write EXP/scatter_SYSTEM.svg for adapters of speakers: a dot for each speaker, before and after."""
    from ia3_speech.report.charts import scatter_before_and_after
    from ia3_speech.report.systems import comparisons, median_of

    pairs = {(pair.system.name, pair.system.seed): pair for pair in comparisons(systems, "test")}
    for name in dict.fromkeys(name for name, _ in pairs):
        shown = median_of([pair.system for pair in pairs.values() if pair.system.name == name])
        pair = pairs[name, shown.seed]
        rates = (pair.before / pair.words, pair.after / pair.words)
        values = zip(pair.speakers, *rates, pair.words, strict=True)
        names = (pair.against.name, name)
        chart = scatter_before_and_after(f"{name}, a dot a speaker", "speakers", names, values)
        write_text(exp / f"scatter_{name}.svg", chart.svg_file)


def results(systems: "list[System]") -> Json:
    """The contents of results.json: a record for each system and set, as score.json names it."""
    from ia3_speech.report.results_tables import warnings_of
    from ia3_speech.report.systems import test_sets

    sets = [*test_sets(systems), OUT_OF_DOMAIN]
    records = []
    for system in systems:
        training = {name: system.train[name] for name in ("trainable", "seconds") if name in system.train}
        for result in [result for name, result in system.results.items() if name in sets]:
            copied = {name: result.record.get(name) for name in (*IDENTITY, "compared_with", *RATES)}
            if unseen := result.record.get("unseen_sentences"):
                copied["unseen_sentences"] = {name: unseen.get(name) for name in RATES}
            records.append({"name": system.name, **copied, "training": training or None})
    run = provenance()
    source = {name: run[name] for name in ("commit", "dirty", "command")}
    return {"schema": SCHEMA, "results": records, "warnings": warnings_of(systems, sets), **source}


def show(exp: Path, parts: str = "") -> None:
    """Print the tables of results.

    Args:
        exp: folder of the experiment
        parts: which tables, separated by spaces (default: all but training)
    """
    from ia3_speech.report.results_tables import markdown
    from ia3_speech.report.systems import find_systems

    print(markdown(find_systems(exp), known_parts(parts, "--parts names")), end="")


def known_parts(words: str, subject: str) -> list[str]:
    """The parts that are asked for, by default all but training. Raises UserError for an unknown part."""
    from ia3_speech.report.results_tables import PARTS, STANDARD

    if unknown := set(words.split()) - set(PARTS):
        raise UserError(f"{subject} {min(unknown)!r} (there are: {', '.join(PARTS)})")
    return words.split() or [*STANDARD]


def fill(file: Path) -> None:
    """Write the numbers into the marked blocks of a Markdown file.

    Args:
        file: the Markdown file
    """
    text, count = BLOCK.subn(lambda block: filled_block(file, block), file.read_text(encoding="utf-8"))
    if not count:
        raise UserError(f"{file}: no block to fill (<!-- results exp/CORPUS --> … <!-- end of results -->)")
    write_text(file, text)
    print(f"{file}: {count} blocks looked at")


def filled_block(file: Path, block: re.Match) -> str:
    """A block with its new numbers."""
    from ia3_speech.report.results_tables import markdown
    from ia3_speech.report.systems import find_systems

    head, path, words, _, end = block.groups()
    wanted, _, only = words.partition(" only ")
    parts = known_parts(wanted, f"{file}: a block asks for")
    exp, text = file.parent / path, ""
    if exp.is_file():
        text = exp.read_text(encoding="utf-8")
    elif exp.is_dir():
        systems = find_systems(exp, only.split())
        text = "" if only and len(systems) == 1 else markdown(systems, parts, file.parent)
    if not text:
        fault = f"has nothing of {only or wanted.strip()}" if exp.is_dir() else "not there"
        print(f"{exp}: {fault}, its block stays as it is")
        return block[0]
    return head + text + end


SUB_COMMANDS = {run.__name__: run for run in (collect, show, fill)}
