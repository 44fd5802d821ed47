"""Confidences against whether words are right: calibration and ranking. In: arrays. Out: a `Calibration`, and
the `Scaling` that makes the confidences probabilities.

Confidences are probabilities where, of all words with a confidence of 70 %, 70 % are right (Guo et al. 2017,
arXiv 1706.04599). They rank words well where the least certain words hold the errors: that is what a person
who reviews transcripts needs of them.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ia3_speech.decoding.word_times import Scaling, log_odds, probability
from ia3_speech.scoring.significance import Interval, percentile_interval

BINS = 10
AT_ONCE = 50  # replicates of a bootstrap in memory
REVIEWED = 0.1  # of the words: the least certain ones, which a person would look at
PRIOR = 1.0  # inverse variance of the Gaussian priors of a scaling's log slope and bias, with means of 0
STEPS = 100  # of the fit: some ten are enough


def fit_scaling(confidences: np.ndarray, right: np.ndarray) -> Scaling:
    """Slope and bias by maximum a posteriori, for (words,) confidences and whether each word
    is right; close to 1 and 0 where words are few. By Fisher scoring with steps of at most 1."""
    known = confidences > 0
    odds, right = log_odds(confidences[known]), right[known]
    found = np.zeros(2)  # log slope, bias
    for _ in range(STEPS):
        slope = np.exp(found[0])
        given = probability(slope * odds + found[1])
        slopes = np.stack([slope * odds, np.ones_like(odds)])  # of the log-odds in the two parameters
        information = slopes * given * (1 - given) @ slopes.T + PRIOR * np.eye(2)
        step = np.linalg.solve(information, slopes @ (right - given) - PRIOR * found)
        found += step / max(1.0, np.abs(step).max())
    return Scaling(slope=round(float(np.exp(found[0])), 4), bias=round(float(found[1]), 4))


@dataclass(frozen=True)
class Bin:
    """Words of similar confidence.

    Attributes:
        low, high: ends of its range of confidences.
        words: how many words lie in it, at least one.
        confidence: their mean.
        right: the share of them that is right.
    """

    low: float
    high: float
    words: int
    confidence: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """Confidences of the words of hypotheses against whether they are right.

    Attributes:
        scaling: of the confidences; None where they are not calibrated.
        words, errors: words of the hypotheses, and those that are substitutions or insertions. Words that
            were not written have no confidence.
        cross_entropy: mean −log₂ of the probability that was given to what is true, in bits a word.
        calibration_error: expected calibration error over ten bins of equal width, a fraction.
        area: under the ROC curve of telling wrong words from right ones; NaN without words of both kinds.
        found: the share of the errors that the least certain 10 % of the words hold.
        bins: those that hold words, lowest first.
        found_ci: the 95 % interval of `found`; None where it was not estimated.
    """

    scaling: Scaling | None
    words: int
    errors: int
    cross_entropy: float
    calibration_error: float
    area: float
    found: float
    bins: tuple[Bin, ...]
    found_ci: Interval = None


def measure(confidences: np.ndarray, right: np.ndarray, scaling: Scaling | None = None) -> Calibration:
    """(words,) confidences, scaled already, and whether each word is right; at least one word."""
    given = np.clip(np.where(right, confidences, 1 - confidences), 1e-6, 1)
    places = np.minimum((confidences * BINS).astype(int), BINS - 1)
    bins = []
    for place in range(BINS):
        if (inside := places == place).any():
            mean, share = float(confidences[inside].mean()), float(right[inside].mean())
            bins.append(Bin(place / BINS, (place + 1) / BINS, int(inside.sum()), mean, share))
    gaps = sum(one.words * abs(one.confidence - one.right) for one in bins)
    return Calibration(
        scaling=scaling,
        words=len(right),
        errors=int((~right).sum()),
        cross_entropy=float(-np.log2(given).mean()),
        calibration_error=gaps / len(right),
        area=area_under_roc(confidences, right),
        found=share_found(confidences, right),
        bins=tuple(bins),
    )


def share_found(confidences: np.ndarray, right: np.ndarray) -> float:
    """The share of the errors that the least certain 10 % of the words hold; 0 without errors."""
    return float(np.nan_to_num(shares_found(confidences, right, np.ones((1, len(right))))[0]))


def shares_found(confidences: np.ndarray, right: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`share_found` where each word counts as often as `times` says, (replicates, words): (replicates,);
    NaN without errors.

    Of equally certain words the reviewer sees as many as 10 % allow, drawn by chance.
    """
    levels, level = np.unique(confidences, return_inverse=True)
    found = np.full(len(times), np.nan)
    for row, weights in enumerate(times):
        words = np.bincount(level, weights, len(levels))
        wrong = np.bincount(level, weights * ~right, len(levels))
        before = np.concatenate([[0.0], np.cumsum(words)[:-1]])
        seen = np.clip(reviewed_words(words.sum()) - before, 0, words)
        if total := wrong.sum():
            found[row] = (seen * wrong / np.maximum(words, 1)).sum() / total
    return found


def reviewed_words(words: float) -> int:
    """How many of the words a reviewer looks at: 10 %, at least one."""
    return max(1, round(REVIEWED * words))


def found_interval(
    confidences: np.ndarray, right: np.ndarray, clusters: Sequence[Hashable], replications: int, seed: int
) -> Interval:
    """The 95 % interval of `share_found`, by a bootstrap over the clusters that the words belong to; None
    where all words are of one cluster."""
    indices: dict[Hashable, int] = {}
    owner = np.array([indices.setdefault(one, len(indices)) for one in clusters], dtype=np.int64)
    if len(indices) < 2:
        return None
    count = len(indices)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), replications)
    parts = (drawn[first : first + AT_ONCE, owner] for first in range(0, replications, AT_ONCE))
    return percentile_interval(np.concatenate([shares_found(confidences, right, part) for part in parts]))


def area_under_roc(confidences: np.ndarray, right: np.ndarray) -> float:
    """The probability that a right word has more confidence than a wrong one, ties counted half."""
    positive, negative = confidences[right], np.sort(confidences[~right])
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, "left")
    up_to = np.searchsorted(negative, positive, "right")
    return float((below + up_to).sum() / 2 / len(positive) / len(negative))
