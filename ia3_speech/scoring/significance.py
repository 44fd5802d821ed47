"""Confidence intervals and tests: is one system better than another, or is the difference due to chance?

In: counted errors, or texts. Out: intervals (lower bound, upper bound), and test results as dataclasses. All
draws are seeded.

- Bootstrap over clusters: errors of a speaker are correlated, so whole speakers (or consultations) are drawn.
  The interval reaches from the 2.5th to the 97.5th percentile of the replicates. A comparison of two systems
  is paired: it uses the same replicates. With fewer than about ten clusters these intervals are too narrow.
- Kaldi's bootstrap over utterances (compute-wer-bootci): Bisani and Ney, ICASSP 2004.
- MAPSSWE, the matched pairs test of NIST's SCTK (sc_stats): Gillick and Cox, ICASSP 1989.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ia3_speech.scoring.alignment import SCLITE, align

REPLICATIONS = 10_000  # Kaldi's default
DRAWS_AT_ONCE = 1_000_000  # draws held in memory at a time
FEW_CLUSTERS = 10  # with fewer clusters, percentile intervals are known to be too narrow

Interval = tuple[float, float] | None  # lower and upper bound; None if it cannot be estimated


def bootstrap_sums(
    counts: Mapping[str, np.ndarray], replications: int = REPLICATIONS, seed: int = 0
) -> dict[str, np.ndarray]:
    """Bootstrap replicates of sums: draw as many units (utterances or clusters) as there are, with
    replacement, and add up their counts, by name `(units,)` → by name `(replications,)`. Replicate i draws
    the same units for every name."""
    values = np.column_stack([np.asarray(column, dtype=np.float64) for column in counts.values()])
    units = len(values)
    rng = np.random.default_rng(seed)
    sums = np.zeros((replications, len(counts)))
    rows = max(1, DRAWS_AT_ONCE // units)
    for start in range(0, replications, rows):
        size = min(rows, replications - start)
        drawn = rng.integers(0, units, size=(size, units)) + units * np.arange(size)[:, None]
        times_drawn = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        sums[start : start + size] = times_drawn @ values
    return dict(zip(counts, sums.T, strict=True))


def sums_by_cluster(counts: Mapping[str, np.ndarray], clusters: Sequence[Hashable]) -> dict[str, np.ndarray]:
    """Add up the counts of utterances, `(utterances,)`, within their clusters: `(clusters,)`, in order of
    first appearance."""
    indices: dict[Hashable, int] = {}
    index = np.array([indices.setdefault(cluster, len(indices)) for cluster in clusters], dtype=np.int64)
    return {
        name: np.bincount(index, weights=column, minlength=len(indices)) for name, column in counts.items()
    }


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient; nan if the denominator is 0 (a replicate without a reference word)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.nan, numerator / denominator)


def percentile_interval(replicates: np.ndarray) -> Interval:
    """The interval that holds the middle 95 % of the replicates. Nan is ignored; None if all are nan."""
    replicates = replicates[~np.isnan(replicates)]
    if not len(replicates):
        return None
    low, high = np.quantile(replicates, [0.025, 0.975])
    return float(low), float(high)


def ratio_of_sums(
    part: np.ndarray, whole: np.ndarray, clusters: Sequence[Hashable] | None = None
) -> tuple[float, Interval]:
    """The sum of `part` divided by the sum of `whole`, `(units,)` each, and its 95 % interval over the units
    or over their clusters; nan where `whole` sums to 0."""
    counts = {"part": part, "whole": whole}
    draws = bootstrap_sums(counts if clusters is None else sums_by_cluster(counts, clusters))
    interval = percentile_interval(ratio(draws["part"], draws["whole"]) + 0.0)  # no −0
    return ratio(part.sum(), whole.sum()).item(), interval


def relative_change(before: np.ndarray, after: np.ndarray) -> tuple[float, Interval]:
    """(after − before) / before of the errors of clusters, `(clusters,)`, and its 95 % interval; nan where
    there was no error before."""
    return ratio_of_sums(after - before, before)


@dataclass(frozen=True, slots=True)
class BootCI:
    """compute-wer-bootci's WER of a system, a normal approximation over the replicates."""

    wer: float  # mean WER of the replicates, as a fraction
    margin: float  # 1.96 standard deviations of the replicates, as a fraction


@dataclass(frozen=True, slots=True)
class UtteranceBootstrap:
    """compute-wer-bootci's result, for a system, or for a baseline (its Set1) and a system (its Set2)."""

    system: BootCI  # WER and interval of the system
    baseline: BootCI | None = None  # the same of the baseline, if any
    # Fraction of the replicates in which the system makes fewer errors than the baseline
    improvement: float | None = None

    def __str__(self) -> str:
        """As compute-wer-bootci prints it:

        Set1: %WER 50.00 95% Conf Interval [ 43.75, 56.25 ]
        Set2: %WER 11.00 95% Conf Interval [ 8.00, 14.00 ]
        Probability of Set2 improving Set1: 98.77
        """
        lines = []
        for number, side in enumerate(filter(None, (self.baseline, self.system)), start=1):
            low, wer, high = (100 * (side.wer + sign * side.margin) for sign in (-1, 0, 1))
            lines.append(f"Set{number}: %WER {wer:.2f} 95% Conf Interval [ {low:.2f}, {high:.2f} ]\n")
        if self.improvement is not None:
            lines.append(f"Probability of Set2 improving Set1: {100 * self.improvement:.2f}\n")
        return "".join(lines)


def utterance_bootstrap(
    errors: Sequence[int],
    words: Sequence[int],
    baseline_errors: Sequence[int] | None = None,
    replications: int = REPLICATIONS,
    seed: int = 0,
) -> UtteranceBootstrap:
    """Kaldi's bootstrap over utterances (Bisani and Ney), from their errors and reference words."""
    counts = {"errors": np.asarray(errors), "words": np.asarray(words)}
    if baseline_errors is not None:
        counts["baseline"] = np.asarray(baseline_errors)
    sums = bootstrap_sums(counts, replications, seed)
    system = normal_interval(ratio(sums["errors"], sums["words"]))
    if baseline_errors is None:
        return UtteranceBootstrap(system)
    baseline = normal_interval(ratio(sums["baseline"], sums["words"]))
    return UtteranceBootstrap(system, baseline, float(np.mean(sums["errors"] < sums["baseline"])))


def normal_interval(replicates: np.ndarray) -> BootCI:
    """Mean and 1.96 standard deviations of the replicates that are not nan."""
    replicates = replicates[~np.isnan(replicates)]
    if not len(replicates):
        return BootCI(math.nan, math.nan)
    return BootCI(float(replicates.mean()), 1.96 * float(replicates.std()))


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of a number of draws (Wilson 1927), also valid near 0 and 1."""
    z2 = 1.959964**2 / count
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def standard_error(errors: Sequence[int], words: Sequence[int]) -> float:
    """Standard error of a WER over utterances, as a fraction, from their errors and reference words.

    The linearised variance of a ratio (Cochran, Sampling Techniques, section 2.11), which the bootstrap over
    utterances estimates by drawing. Given differences of two systems' errors, it is the standard error of
    the difference of their WERs. Without words it is nan.
    """
    errors, words = np.asarray(errors, dtype=np.float64), np.asarray(words, dtype=np.float64)
    if not words.sum():
        return math.nan
    residuals = errors - errors.sum() / words.sum() * words
    return float(np.sqrt((residuals**2).sum()) / words.sum())


@dataclass(frozen=True, slots=True)
class MatchedPairsTest:
    """Result of MAPSSWE, the matched pairs sentence-segment word error test, of two systems a and b."""

    segments: int  # segments in which at least one of the systems made an error
    mean: float  # mean of (errors of a − errors of b) over the segments; positive: b is better
    std_dev: float  # standard deviation of that difference, with segments − 1 in the denominator
    z: float  # mean / (std_dev / √segments), with the sign of the mean; 0 if std_dev is 0
    p: float  # two-sided probability of such a z under the normal distribution


def mapsswe(
    references: Sequence[Sequence[str]],
    hypotheses_a: Sequence[Sequence[str]],
    hypotheses_b: Sequence[Sequence[str]],
) -> MatchedPairsTest:
    """MAPSSWE over lists of utterances, each a list of words.

    Utterances are cut into segments whose errors are assumed to be independent: a segment ends after two
    consecutive words that both systems recognised, and at the end of the utterance. Segments without an error
    are not counted. If neither system makes an error, z is 0 and p is 1. Raises ValueError if the lists
    differ in length.
    """
    utterances = zip(references, hypotheses_a, hypotheses_b, strict=True)
    errors = [counts for utterance in utterances for counts in segment_errors(*utterance)]
    differences = np.array([a - b for a, b in errors], dtype=np.float64)
    segments = len(differences)
    mean = float(differences.mean()) if segments else 0.0
    std_dev = float(differences.std(ddof=1)) if segments > 1 else 0.0
    z = mean / (std_dev / math.sqrt(segments)) if std_dev else 0.0
    return MatchedPairsTest(segments, mean, std_dev, z, p=math.erfc(abs(z) / math.sqrt(2)))


def segment_errors(
    reference: Sequence[str], hypothesis_a: Sequence[str], hypothesis_b: Sequence[str]
) -> Iterator[tuple[int, int]]:
    """The errors of both systems in each segment of an utterance that has errors."""
    correct_a, inserted_a = correct_and_inserted(reference, hypothesis_a)
    correct_b, inserted_b = correct_and_inserted(reference, hypothesis_b)
    a = b = correct_in_a_row = 0
    for word in range(len(reference)):
        if inserted_a[word] or inserted_b[word]:
            correct_in_a_row = 0
        a += inserted_a[word] + (not correct_a[word])
        b += inserted_b[word] + (not correct_b[word])
        correct_in_a_row = correct_in_a_row + 1 if correct_a[word] and correct_b[word] else 0
        if correct_in_a_row >= 2 and (a or b):
            yield a, b
            a = b = 0
    a, b = a + inserted_a[-1], b + inserted_b[-1]
    if a or b:
        yield a, b


def correct_and_inserted(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[list[bool], list[int]]:
    """On sclite's alignment: whether each reference word is correct, `(words,)`, and how many words are
    inserted before each of them and before the end, `(words + 1,)`."""
    correct: list[bool] = []
    inserted = [0]
    for word, recognised in align(reference, hypothesis, SCLITE):
        if word is None:
            inserted[-1] += 1
        else:
            correct.append(word == recognised)
            inserted.append(0)
    return correct, inserted
