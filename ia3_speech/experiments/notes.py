"""The notes below the tables of RESULTS.md: what intervals and tests mean, the language model, the commands.

In: systems with their scores; EXP/lm.json, which `ia3-speech lm --summary` wrote, and SYSTEM/lm_search.yaml
of `ia3-speech tune-lm`. Out: Markdown lists.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ia3_speech.experiments.systems import LM, System, load_json
from ia3_speech.formatting import percent, with_interval
from ia3_speech.scoring.significance import FEW_CLUSTERS


def provenance_list(systems: list[System], sets: list[str]) -> str:
    """What the intervals are, and where the numbers come from."""
    lines = []
    for set_name in sets:
        having = [system for system in systems if set_name in system.scores]
        if not having:
            continue
        score = having[0].scores[set_name]
        only_base = all(one.baseline == "base" for one in having)
        against = "the base" if only_base else "what each is compared with"
        lines.append(
            f"{set_name}: {score['utterances']} utterances, {score['words']} words. In brackets 95 % "
            f"intervals of a bootstrap over {score['ci_clusters']} {score['ci_unit']}s; changes are relative "
            f"to {against} on the same draws, negative is better."
            + (" With so few the intervals are too narrow." if score["ci_clusters"] < FEW_CLUSTERS else "")
        )
        for system in having:
            if test := system.scores[set_name].get("mapsswe"):
                lines.append(
                    f"Matched pairs test (MAPSSWE) of {system.name} against {the(system.baseline)}: "
                    f"{test['segments']} segments, z = {test['z']:.2f}, p = {test['p']:.2g}."
                    + bootci(system.scores[set_name])
                )
    if note := language_model_note(systems):
        lines.append(note)
    lines += commands(systems)
    return "".join(f"- {line}\n" for line in lines)


def the(baseline: str) -> str:
    return "the base" if baseline == "base" else baseline


def bootci(score: dict[str, Any]) -> str:
    """What Kaldi's compute-wer-bootci says of the two."""
    found = score.get("wer_bootci")
    if not found or not found["baseline"]:
        return ""
    base, own = (
        with_interval(one["wer"], [one["wer"] - one["margin"], one["wer"] + one["margin"]])
        for one in (found["baseline"], found["system"])
    )
    better = percent(found["improvement"], 2)
    return f" Kaldi's bootstrap over utterances: {base} and {own}, better in {better} % of the draws."


def commands(systems: list[System]) -> list[str]:
    """Where the numbers come from: the systems that one command made, a line a command."""
    made: dict[str, list[str]] = {}
    for system in systems:
        record = system.provenance()
        changed = " with changes" if record.dirty else ""
        commit = f"commit {record.commit}{changed}" if record.commit else "no commit"
        made.setdefault(f"`{record.command}` ({commit})", []).append(system.name)
    return [f"{', '.join(names)}: {how}." for how, names in made.items()]


def language_model_note(systems: Sequence[System]) -> str:
    """Weights of its parts, and of each system's search; empty where nothing was decoded with one.

    Language model: 3-grams, 0.92 of own/train and 0.08 of mini/lm.arpa.gz, weights chosen on dev (perplexity
    8.8; 3 of 310 words unknown). Search weights chosen on dev: base + LM 0.5 and 1.5 a word.
    """
    with_lm = [one for one in systems if one.search == LM]
    summary = with_lm[0].folder.parent / "lm.json" if with_lm else None
    if summary is None or not summary.is_file():
        return ""
    found = load_json(summary)
    parts = " and ".join(f"{weight:.2f} of {short(name)}" for name, weight in found["weights"].items())
    text = f"Language model: {found['order']}-grams, {parts}"
    if dev := found["dev"]:
        unknown = f"{dev['unknown_words']} of {dev['words']} words unknown"
        text += f", weights chosen on dev (perplexity {dev['perplexity']:.1f}; {unknown})"
    return f"{text}. Search weights chosen on dev: {', '.join(map(search_weights, with_lm))}."


def search_weights(system: System) -> str:
    """`base + LM 0.5 and 1.5 a word`."""
    import yaml

    chosen = yaml.safe_load((system.folder / "lm_search.yaml").read_text("utf-8"))
    return f"{system.name} {chosen['lm_weight']:g} and {chosen['word_score']:g} a word"


def short(name: str) -> str:
    """The last two parts of a path: RESULTS.md may be published."""
    return "/".join(Path(name).parts[-2:])
