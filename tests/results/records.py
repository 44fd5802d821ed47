"""Scores as ia3-speech score writes them, from a rate."""

import json
from pathlib import Path

COUNTS = {"utterances": 10, "missing": 0, "words": 100, "insertions": 0, "deletions": 0}


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
    """The contents of a score.json."""
    compared = {}
    if baseline:
        bootci = {"system": {"wer": wer, "margin": 0.02}, "baseline": {"wer": baseline, "margin": 0.03}}
        bootci["improvement"] = 0.9876
        mapsswe = {"segments": 30, "z": 2.5, "p": 0.0124}
        compared = {"baseline": rates(baseline), "mapsswe": mapsswe, "wer_bootci": bootci}
    record = {"schema": 1, **rates(wer, baseline), "ci_clusters": 4, "by_label": by_label or {}}
    return record | {"terms": None, "terms_by_category": {}} | compared | fields


def write(file: Path, content: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def made(command: str = "bash run.sh", commit: str = "abc1234", dirty: bool = False, **fields) -> dict:
    """An inputs.json."""
    record = {"schema": 1, "inputs": {}, "options": {}, "command": command, "commit": commit, "dirty": dirty}
    return record | fields
