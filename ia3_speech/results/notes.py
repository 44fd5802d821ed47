"""Warnings about the rates of RESULTS.md, and the provenance of its systems.

In: systems, the base first. Out: warnings as records, and Markdown lists.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from ia3_speech.results.systems import System, load_json
from ia3_speech.scoring.error_rates import Json
from ia3_speech.scoring.record import BASE, LM
from ia3_speech.scoring.sentences import NOT_IMPROVED, no_overlap_sentence, significance_sentence


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
    sentences = [no_overlap_sentence(result) for result in scored if result.overlap]
    if sentences and all(sentences):
        lines.append(sentences[0].replace("the test set", set_name))
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
            sentence = significance_sentence(system.results[set_name], system.name, baseline)
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
    """The weights of its parts, and of each system's search; empty if no language model was built.

    Language model: 3-grams, 0.92 of own/train and 0.08 of mini/lm.arpa.gz, weights chosen on dev (perplexity
    8.8; 3 of 310 words unknown). Search weights chosen on dev: base + LM 0.5 and 1.5 a word.
    """
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
