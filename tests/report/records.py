"""Scores as ia3-speech score writes them, from a rate."""

import json
from pathlib import Path

COUNTS = {"utterances": 10, "missing": 0, "words": 100, "insertions": 0, "deletions": 0, "ser": 0.5}
COUNTS |= {"characters": 400, "character_errors": 40, "mer": 0.3, "wil": 0.4}


def change(wer: float, baseline: float, half: float = 0.1) -> dict:
    relative = wer / baseline - 1
    changed = {"baseline": baseline, "difference": wer - baseline, "difference_ci": None}
    return changed | {"relative": relative, "relative_ci": [relative - half, relative + half]}


def rates(wer: float, baseline: float | None = None, half: float = 0.05, clusters: int = 12) -> dict:
    """Error rates of 100 words; the interval of the WER reaches `half` to both sides."""
    errors = {"errors": round(100 * wer), "substitutions": round(100 * wer)}
    changes = {}
    if baseline:
        changes = dict.fromkeys(("wer", "cer", "term_error_rate"), change(wer, baseline))
    return {
        **COUNTS, **errors, "wer": wer, "wer_ci": [wer - half, wer + half], "cer": wer / 4, "cer_ci": None,
        "term_error_rate": None, "term_error_rate_ci": None, "changes": changes, "ci_unit": "speaker",
        "ci_clusters": clusters,
    }  # fmt: skip


def terms(rate: float, baseline: float | None = None) -> dict:
    changed = change(rate, baseline) if baseline else None
    counts = {"reference": 40, "missed": 10, "false": 0}
    return counts | {"term_error_rate": rate, "term_error_rate_ci": None, "change": changed}


def score(wer: float, baseline: float | None = None, by_label: dict | None = None, **fields) -> dict:
    """The contents of a score.json, but for the fields that name it."""
    compared = {}
    bootci = {"system": {"wer": wer, "margin": 0.02}, "baseline": None, "improvement": None}
    if baseline:
        bootci |= {"baseline": {"wer": baseline, "margin": 0.03}, "improvement": 0.9876}
        mapsswe = {"segments": 30, "z": 2.5, "p": 0.0124}
        compared = {"baseline": rates(baseline) | {"terms": None}, "mapsswe": mapsswe}
    labels = {"speaker": {}} | (by_label or {})
    record = {"schema": 1, **rates(wer, baseline), "ci_clusters": 4, "by_label": labels}
    record |= {"terms": None, "terms_by_category": {}, "wer_bootci": bootci, "replications": 100, "seed": 0}
    return record | compared | fields


def identity(
    system: str, seed: int | None = None, search: str = "greedy", set_name: str = "test", **fields
) -> dict:
    """The fields of a score.json that say which result it is."""
    adapter = None if system == "base" else {"name": system, "path": system, "sha256": "0"}
    base = {"name": "mini", "sha256": "0"}
    names = {"corpus": "notes", "system": system, "system_seed": seed, "search": search, "scale": 1.0}
    return names | {"set": set_name, "base": base, "adapter": adapter, "data_sha256": "1"} | fields


def put(exp: Path, place: str, scored: dict, **fields) -> Path:
    """Write EXP/PLACE/score.json. PLACE is SYSTEM[_seedN]/decode_SEARCH_SET, which names the result and, as
    recipes compare them, the baseline; `fields` are others than these. Returns the file."""
    folder, decoded = place.split("/")[-2:] if "scale_" not in place else place.split("/")[::2]
    system, _, seed = folder.partition("_seed")
    _, search, set_name = decoded.split("_", 2)
    named = identity(system, int(seed) if seed else None, search, set_name)
    base = named["adapter"] is None
    against = identity("base", None, "lm" if search == "lm" and not base else "greedy", set_name)
    if search == "hotwords":
        against = identity(system, named["system_seed"], "lm", set_name)
    named |= {"compared_with": against if "baseline" in scored else None}
    return write(exp / place / "score.json", named | scored | fields)


def write(file: Path, content: dict) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def made(command: str = "bash run.sh", commit: str = "abc1234", dirty: bool = False, **fields) -> dict:
    """An inputs.json."""
    record = {"schema": 1, "inputs": {}, "options": {}, "command": command, "commit": commit, "dirty": dirty}
    return record | fields
