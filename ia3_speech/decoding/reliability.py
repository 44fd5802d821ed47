"""Reliability of word confidences, calibration and ranking; and the fit of a calibration.

Confidences are calibrated if 70 % of all words with a confidence of 70 % are right (Guo et al. 2017, arXiv
1706.04599). They rank words well if the least certain words contain the errors, which helps a person who
reviews transcripts. A calibration is the slope and bias of their log-odds (see `Scaling`), fitted on a dev
set; the texts, and the order of words by confidence, never change.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.text import normalize
from ia3_speech.decoding.formats import CONFIDENCES, read_words
from ia3_speech.decoding.transcript import Word
from ia3_speech.decoding.word_times import Scaling, log_odds, probability, words_of
from ia3_speech.model.hypotheses import TimedWord
from ia3_speech.scoring.alignment import Pair, align
from ia3_speech.scoring.error_rates import label_value, normalized_words
from ia3_speech.scoring.record import Score, load_json
from ia3_speech.scoring.significance import Interval, percentile_interval

if TYPE_CHECKING:
    from ia3_speech.decoding.recognizer import Recognizer

BINS = 10
REVIEWED = 0.1  # share of the words that a person reviews, the least certain ones
PRIOR = 1.0  # inverse variance of the Gaussian priors of a scaling's log slope and bias, with means of 0
STEPS = 100  # of the fit: some ten are enough


@dataclass(frozen=True)
class Bin:
    """Words of similar confidence."""

    low: float  # ends of the range of confidences
    high: float
    words: int  # number of words, at least 1
    confidence: float  # their mean
    right: float  # the share of right words


@dataclass(frozen=True)
class Calibration:
    """Measures of the confidences of words in hypotheses."""

    scaling: Scaling | None  # of the confidences; None if they are not calibrated
    words: int  # in the hypotheses
    errors: int  # substitutions and insertions; deleted words have no confidence
    cross_entropy: float  # mean −log₂ of the probability of the truth, in bits a word
    calibration_error: float  # expected calibration error over ten bins of equal width, a fraction
    area: float  # under the ROC curve for wrong against right words; NaN without words of both kinds
    found: float  # the share of the errors in the least certain 10 % of the words
    bins: tuple[Bin, ...]  # bins that contain words, lowest first
    found_ci: Interval = None  # the 95 % interval of `found`; None if it was not estimated


def measure(confidences: np.ndarray, right: np.ndarray, scaling: Scaling | None = None) -> Calibration:
    """The measures of (words,) scaled confidences, and whether each word is right; at least one word."""
    of_truth = np.clip(np.where(right, confidences, 1 - confidences), 1e-6, 1)
    places = np.minimum((confidences * BINS).astype(int), BINS - 1)
    bins = []
    for place in range(BINS):
        if (inside := places == place).any():
            mean, share = float(confidences[inside].mean()), float(right[inside].mean())
            bins.append(Bin(place / BINS, (place + 1) / BINS, int(inside.sum()), mean, share))
    gaps = sum(row.words * abs(row.confidence - row.right) for row in bins)
    return Calibration(
        scaling=scaling,
        words=len(right),
        errors=int((~right).sum()),
        cross_entropy=float(-np.log2(of_truth).mean()),
        calibration_error=gaps / len(right),
        area=area_under_roc(confidences, right),
        found=share_found(confidences, right),
        bins=tuple(bins),
    )


def area_under_roc(confidences: np.ndarray, right: np.ndarray) -> float:
    """The probability that a right word has more confidence than a wrong word; ties count half."""
    positive, negative = confidences[right], np.sort(confidences[~right])
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, "left")
    up_to = np.searchsorted(negative, positive, "right")
    return float((below + up_to).sum() / 2 / len(positive) / len(negative))


def share_found(confidences: np.ndarray, right: np.ndarray) -> float:
    """The share of the errors in the least certain 10 % of the words; 0 without errors."""
    return float(np.nan_to_num(shares_found(confidences, right, np.ones((1, len(right))))[0]))


def shares_found(confidences: np.ndarray, right: np.ndarray, times: Iterable[np.ndarray]) -> np.ndarray:
    """`share_found` for each replicate, (replicates,), NaN without errors; `times` gives (words,) counts of
    the words in each. The reviewer sees at least one word; equally certain words are drawn at random."""
    levels, level = np.unique(confidences, return_inverse=True)
    shares = []
    for weights in times:
        words = np.bincount(level, weights, len(levels))
        wrong = np.bincount(level, weights * ~right, len(levels))
        before = np.concatenate([[0.0], np.cumsum(words)[:-1]])
        seen = np.clip(max(1, round(REVIEWED * words.sum())) - before, 0, words)
        total = wrong.sum()
        shares.append((seen * wrong / np.maximum(words, 1)).sum() / total if total else np.nan)
    return np.array(shares)


def measure_decode_directory(folder: Path, score: Score) -> Calibration | None:
    """The calibration of the confidences of a decode directory, whose hypotheses have the `score`; None if
    decode wrote no confidences, or no words. Raises UserError if hyp.ctm or decode.json is damaged."""
    ctm = folder / CONFIDENCES
    if not ctm.is_file():
        return None
    alignments = {utterance.id: utterance.pairs for utterance in score.scored}
    confidences, right, names = match_confidences(alignments, read_words(ctm), score.normalize)
    if not len(right):
        return None
    scaling = load_json(folder / "decode.json", None).get("confidence_scaling")
    cluster_of = {utterance.id: label_value(utterance, score.ci_unit) for utterance in score.scored}
    indices: dict[Hashable, int] = {}
    owner = np.array([indices.setdefault(cluster_of[name], len(indices)) for name in names])
    found_ci = None
    if (count := len(indices)) > 1:  # a bootstrap over clusters of words
        rng = np.random.default_rng(score.seed)
        drawn = rng.multinomial(count, np.full(count, 1 / count), score.replications)
        shares = shares_found(confidences, right, (times[owner] for times in drawn))
        found_ci = percentile_interval(shares)
    return replace(measure(confidences, right, scaling and Scaling(**scaling)), found_ci=found_ci)


def match_confidences(
    alignments: Mapping[str, Sequence[Pair]], words: Mapping[str, Sequence[Word]], mode: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(words,) confidences, (words,) whether the word is in the reference, and the utterance id of each,
    without words that a filter or the text normalisation has changed."""
    rows: list[tuple[float, bool, str]] = []
    for name, pairs in alignments.items():
        scored = [(word, reference == word) for reference, word in pairs if word is not None]
        timed = words.get(name, ())
        decoded = [(part, word.confidence) for word in timed for part in normalized_words(word.text, mode)]
        place = known = 0
        for word, other in align([word for word, _ in scored], [word for word, _ in decoded]):
            if word is not None and word == other:
                rows.append((decoded[known][1], scored[place][1], name))
            place, known = place + (word is not None), known + (other is not None)
    values = np.array([confidence for confidence, _, _ in rows], dtype=float)
    return values, np.array([right for _, right, _ in rows], dtype=bool), [name for _, _, name in rows]


def calibrate(
    recognizer: "Recognizer", data: Path, allow_pipes: bool = False
) -> tuple[Calibration, Calibration] | None:
    """Measure the confidences of a data directory with text, without a scaling and with a fitted scaling;
    None if no word is recognised. Raises as `dev_logits`."""
    from ia3_speech.decoding.decode_directory import dev_logits

    base = recognizer.base
    references, logits_by_id = dev_logits(recognizer, data, allow_pipes)
    words: list[tuple[str, TimedWord]] = []
    confidences: list[float] = []
    for name, pieces in logits_by_id.items():
        for logits in (piece.astype(np.float32) for piece in pieces):
            hypothesis = recognizer.search(logits)
            for word in hypothesis.words:  # a phrase becomes words, as in `word_times`
                words += [(name, replace(word, text=part)) for part in word.text.split()]
            timed = words_of(base, logits, hypothesis, len(logits) * base.stride / SAMPLE_RATE)
            confidences += [word.confidence for word in timed]
    if not words:
        return None
    right, uncalibrated = np.array([*right_words(references, words)]), np.array(confidences)
    scaled = np.array([word.confidence is None for _, word in words])  # others keep the search's confidence
    scaling = fit_scaling(uncalibrated[scaled], right[scaled])
    calibrated = np.where(scaled, scaling(uncalibrated), uncalibrated)
    return measure(uncalibrated, right), measure(calibrated, right, scaling)


def right_words(
    references: Mapping[str, Sequence[str]], words: Sequence[tuple[str, TimedWord]]
) -> Iterator[bool]:
    """Whether all normalised parts (`X-ray`: x ray) of each recognised word are in the reference."""
    for name, group in groupby(words, lambda pair: pair[0]):
        parts = [normalize(word.text).split() for _, word in group]
        hypothesis = [part for each in parts for part in each]
        pairs = align(references[name], hypothesis)
        matches = iter([reference == part for reference, part in pairs if part])
        yield from (sum(next(matches) for _ in each) == len(each) for each in parts)


def fit_scaling(confidences: np.ndarray, right: np.ndarray) -> Scaling:
    """Slope and bias by maximum a posteriori, from (words,) arrays; Fisher scoring, steps of at most 1."""
    known = confidences > 0
    odds, right = log_odds(confidences[known]), right[known]
    parameters = np.zeros(2)  # log slope, bias
    for _ in range(STEPS):
        slope = np.exp(parameters[0])
        p = probability(slope * odds + parameters[1])
        slopes = np.stack([slope * odds, np.ones_like(odds)])  # of the log-odds in the two parameters
        information = slopes * p * (1 - p) @ slopes.T + PRIOR * np.eye(2)
        step = np.linalg.solve(information, slopes @ (right - p) - PRIOR * parameters)
        parameters += step / max(1.0, np.abs(step).max())
    return Scaling(slope=round(float(np.exp(parameters[0])), 4), bias=round(float(parameters[1]), 4))


def format_calibration(calibration: Calibration) -> str:
    """A table for people: the measures in sentences, then `mean confidence    words    right` of each bin."""
    lines = [
        f"{calibration.scaling}: {calibration.words:,} words, {calibration.errors:,} wrong; cross-entropy "
        f"{calibration.cross_entropy:.2f} bits a word, calibration error {calibration.calibration_error:.1%}",
        f"wrong words are separated from right words with an area under the ROC curve of "
        f"{calibration.area:.3f}",
        f"the least certain {REVIEWED:.0%} of the words contain {calibration.found:.0%} of the errors",
        "mean confidence    words    right",
    ]
    lines += [f"{row.confidence:>15.0%} {row.words:>8,} {row.right:>8.0%}" for row in calibration.bins]
    return "\n".join(lines)
