"""Score the hypotheses of a data directory, by speaker and label, and write score.json.

In: texts. Out: a `Score`. In `score.json` rates are fractions, intervals are [lower, upper], and null stands
for nan and for an interval that cannot be estimated. It holds "schema": 1, the identity of the result
(record.py), its provenance (data, decode_dir, baseline_dir, terms_file), and the fields of `Score` except for
the utterances. Without a baseline, "baseline" and "mapsswe" are absent; without training data, "overlap"
(with its "warnings" in words) and "unseen_sentences"; without confidences of words, "confidences".
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rapidfuzz.distance import Levenshtein

from ia3_speech.common.atomic import write_json
from ia3_speech.common.errors import UserError
from ia3_speech.data.kaldi.directory import DataDirectory
from ia3_speech.data.kaldi.overlap import Overlap
from ia3_speech.scoring import error_rates, significance
from ia3_speech.scoring.alignment import align, count_errors
from ia3_speech.scoring.error_rates import ErrorRates, ScoredUtterance, compute_error_rates
from ia3_speech.scoring.term_errors import TermList, count_terms

SCHEMA = 1  # of score.json


@dataclass(kw_only=True)
class Score(ErrorRates):
    """Error rates of a data directory (see `ErrorRates`), by label, and significance tests."""

    normalize: str  # text normalisation of both sides, a mode of `data.text.normalize`
    replications: int  # replicates of each bootstrap
    seed: int  # of the bootstraps
    by_label: dict[str, dict[str, ErrorRates]]  # label → value → its utterances; "speaker" is a label
    wer_bootci: significance.UtteranceBootstrap  # Kaldi's, of the system and any baseline
    # a = baseline, b = system: with a positive mean or z the system makes fewer errors
    mapsswe: significance.MatchedPairsTest | None = None
    baseline: ErrorRates | None = None
    overlap: Overlap | None = None  # with training; None if training is unknown
    # Of utterances whose sentence is not in training; None if these are unknown, all or none
    unseen_sentences: ErrorRates | None = None
    confidences: dict[str, Any] | None = None  # their reliability (confidence/); None without confidences
    scored: list[ScoredUtterance]  # aligned and counted


def score_hypotheses(
    data: DataDirectory,
    hypotheses: Mapping[str, str],
    *,
    baseline: Mapping[str, str] | None = None,
    terms: TermList | None = None,
    normalize: str = "ctc",
    cluster: str | None = None,
    overlap: Overlap | None = None,
    replications: int = significance.REPLICATIONS,
    seed: int = 0,
) -> Score:
    """Score hypotheses, {utterance id: text}, against the texts of a data directory; a missing text is empty.
    Raises UserError if no hypothesis belongs to this data, or an utterance lacks the label `cluster`.

    Args:
        baseline: hypotheses of another system, to compare with.
        normalize: text normalisation of both sides, a mode of `data.text.normalize`.
        cluster: the label whose values the bootstrap draws; None: consultations if every utterance has that
            label, else speakers.
        overlap: the overlap of the data with training; utterances whose sentence is not in training are also
            scored separately, unless these are all or none.
        replications, seed: of each bootstrap.
    """
    scored = score_utterances(data, hypotheses, terms, normalize)
    baseline_scored = None if baseline is None else score_utterances(data, baseline, terms, normalize)
    unit = cluster_unit(scored, cluster)

    def rates_of(indices: Sequence[int]) -> ErrorRates:
        against = baseline_scored and [baseline_scored[index] for index in indices]
        return compute_error_rates(
            [scored[index] for index in indices], against, terms, unit, replications, seed
        )

    by_label: dict[str, dict[str, ErrorRates]] = {}
    for label in ["speaker", *sorted({label for u in scored for label in u.labels} - {"speaker"})]:
        groups: dict[str, list[int]] = {}
        for index, utterance in enumerate(scored):
            groups.setdefault(error_rates.label_value(utterance, label), []).append(index)
        by_label[label] = {value: rates_of(indices) for value, indices in sorted(groups.items())}
    errors, words = ([getattr(u.errors, count) for u in scored] for count in ("total", "words"))
    errors_before = baseline_scored and [utterance.errors.total for utterance in baseline_scored]
    result = Score(
        **vars(rates_of(range(len(scored)))),
        normalize=normalize,
        replications=replications,
        seed=seed,
        by_label=by_label,
        wer_bootci=significance.utterance_bootstrap(errors, words, errors_before, replications, seed),
        overlap=overlap,
        scored=scored,
    )
    if overlap and 0 < len(overlap.unseen) < len(scored):
        unseen = [index for index, utterance in enumerate(scored) if utterance.id in overlap.unseen]
        result.unseen_sentences = rates_of(unseen)
    if baseline_scored is not None:
        result.baseline = compute_error_rates(baseline_scored, None, terms, unit, replications, seed)
        before, after = ([u.hypothesis for u in side] for side in (baseline_scored, scored))
        result.mapsswe = significance.mapsswe([utterance.reference for utterance in scored], before, after)
    return result


def score_utterances(
    data: DataDirectory, hypotheses: Mapping[str, str], terms: TermList | None, normalize: str
) -> list[ScoredUtterance]:
    """Normalise, align and count every utterance. Raises UserError as `score_hypotheses` does."""
    if not any(utterance.id in hypotheses for utterance in data):
        hint = "is it the set that was decoded?"
        raise UserError(f"{data.path}: none of its utterances has a hypothesis ({hint})")
    scored = []
    for utterance in data:
        reference = error_rates.normalized_words(utterance.text, normalize)
        hypothesis = error_rates.normalized_words(hypotheses.get(utterance.id, ""), normalize)
        pairs = align(reference, hypothesis)
        scored.append(
            ScoredUtterance(
                id=utterance.id,
                speaker=utterance.speaker,
                labels=utterance.labels,
                reference=reference,
                hypothesis=hypothesis,
                missing=utterance.id not in hypotheses,
                pairs=pairs,
                errors=count_errors(reference, hypothesis),
                characters=len(" ".join(reference)),
                character_errors=Levenshtein.distance(" ".join(reference), " ".join(hypothesis)),
                terms=count_terms(pairs, terms) if terms else np.zeros((1, 3), dtype=np.int64),
            )
        )
    return scored


def cluster_unit(scored: Sequence[ScoredUtterance], cluster: str | None) -> str:
    """The label whose values the bootstrap draws. Raises UserError if an utterance lacks it."""
    if cluster is None:
        return "consultation" if all("consultation" in u.labels for u in scored) else "speaker"
    for utterance in scored:
        if cluster not in (labels := ["speaker", "utterance", *sorted(utterance.labels)]):
            known = f"no such label (it has {', '.join(labels)})"
            raise UserError(f"`cluster` {cluster}: utterance {utterance.id} has {known}")
    return cluster


def write_score(file: Path, score: Score, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Write score.json and return its contents; `provenance`: the sources of the scored texts."""
    absent = {"scored"} | ({"baseline", "mapsswe"} if score.baseline is None else set())
    absent |= {"overlap", "unseen_sentences"} if score.overlap is None else set()
    absent |= {"confidences"} if score.confidences is None else set()
    fields = {name: value for name, value in vars(score).items() if name not in absent}
    if score.overlap:
        fields["overlap"] = score.overlap.record()
    record = {"schema": SCHEMA, **provenance, **json_value(fields)}
    write_json(file, record)
    return record


def json_value(value: Any) -> Any:
    """A value whose dataclasses, tuples and nan have become objects, arrays and null of JSON."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
