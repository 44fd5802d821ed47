"""Is it a difference or luck? Bootstrap intervals over speakers, Kaldi's over utterances, and sclite's
MAPSSWE.

In: counted errors, or texts. Out: intervals as (low, high), and the tests' results as dataclasses.

Utterances of one speaker go wrong together, so a bootstrap that draws utterances one by one finds intervals
that are too narrow; ours draws whole speakers (or consultations) and takes the 2.5 and 97.5 percentiles of
the rate. Two systems are compared on the same draws, which is what makes the comparison paired. With few
clusters (below some ten) even these intervals are too narrow: report how many there were.

All draws are seeded: the same input gives the same numbers.

Sources: Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation",
ICASSP 2004; Gillick and Cox, "Some statistical issues in the comparison of speech recognition algorithms",
ICASSP 1989 (MAPSSWE, as sc_stats of NIST's SCTK computes it).
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ia3_speech.scoring.alignment import SCLITE, align

REPLICATIONS = 10_000  # Kaldi's default
CHUNK = 1_000_000  # draws held in memory at a time

Interval = tuple[float, float] | None


def resample(
    columns: Mapping[str, np.ndarray], replications: int = REPLICATIONS, seed: int = 0
) -> dict[str, np.ndarray]:
    """Draw as many units as there are, with replacement, `replications` times, and add up each column.

    columns: one value a unit, (units,), all of the same length. Returns the sums, (replications,), all
    columns under the same draws.
    """
    values = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
    units = len(values)
    draw = np.random.default_rng(seed)
    sums = np.zeros((replications, len(columns)))
    rows = max(1, CHUNK // max(1, units))
    for start in range(0, replications if units else 0, rows):
        size = min(rows, replications - start)
        drawn = draw.integers(0, units, size=(size, units)) + units * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        sums[start : start + size] = times @ values
    return dict(zip(columns, sums.T, strict=True))


def add_up(columns: Mapping[str, np.ndarray], clusters: Sequence[Hashable]) -> dict[str, np.ndarray]:
    """Sum each column, (utterances,), within the clusters: (clusters,), in their order of appearance."""
    number: dict[Hashable, int] = {}
    index = np.array([number.setdefault(cluster, len(number)) for cluster in clusters], dtype=np.int64)
    return {
        name: np.bincount(index, weights=column, minlength=len(number)) for name, column in columns.items()
    }


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element by element; nan where the denominator is 0 (a draw without a reference word tells nothing)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.nan, numerator / denominator)


def interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """The percentile interval of replications; nan is left out, and if nothing else is there it is None."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class BootCI:
    """compute-wer-bootci's result for one system: mean and 1.96 standard deviations of the replications."""

    wer: float
    margin: float

    @property
    def low(self) -> float:
        return self.wer - self.margin

    @property
    def high(self) -> float:
        return self.wer + self.margin


@dataclass(frozen=True, slots=True)
class UtteranceBootstrap:
    """compute-wer-bootci's result, for one system or, beside a baseline (its Set1), for two."""

    system: BootCI
    baseline: BootCI | None = None
    improvement: float | None = None  # share of the draws in which the system made fewer errors

    def __str__(self) -> str:
        sets = [self.system] if self.baseline is None else [self.baseline, self.system]
        lines = [
            f"Set{number}: %WER {100 * one.wer:.2f} 95% Conf Interval "
            f"[ {100 * one.low:.2f}, {100 * one.high:.2f} ]\n"
            for number, one in enumerate(sets, start=1)
        ]
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
    """Kaldi's bootstrap over utterances (Bisani and Ney), from each utterance's errors and words."""
    columns = {"errors": np.asarray(errors), "words": np.asarray(words)}
    if baseline_errors is not None:
        columns["baseline"] = np.asarray(baseline_errors)
    drawn = resample(columns, replications, seed)
    system = boot_ci(ratio(drawn["errors"], drawn["words"]))
    if baseline_errors is None:
        return UtteranceBootstrap(system)
    return UtteranceBootstrap(
        system,
        baseline=boot_ci(ratio(drawn["baseline"], drawn["words"])),
        improvement=float(np.mean(drawn["errors"] < drawn["baseline"])),
    )


def standard_error(errors: Sequence[int], words: Sequence[int]) -> float:
    """Of a WER, as a fraction, from each utterance's errors and words: what the bootstrap over utterances
    draws at random, in closed form (the ratio linearised; Cochran, Sampling Techniques, section 2.11). From
    differences of two systems' errors: of the difference of their WERs. Of no words it is not a number (nan).
    """
    errors, words = np.asarray(errors, dtype=np.float64), np.asarray(words, dtype=np.float64)
    if not words.sum():
        return math.nan
    residuals = errors - errors.sum() / words.sum() * words
    return float(np.sqrt((residuals**2).sum()) / words.sum())


def boot_ci(rates: np.ndarray) -> BootCI:
    rates = rates[~np.isnan(rates)]
    if not len(rates):
        return BootCI(math.nan, math.nan)
    return BootCI(float(rates.mean()), 1.96 * float(rates.std()))


@dataclass(frozen=True, slots=True)
class Mapsswe:
    """Matched-pair sentence-segment word error test of two systems, a and b.

    mean and std_dev are of errors of a − errors of b in a segment (positive: b is better), the deviation
    with n − 1; z = mean / (std_dev / √segments), 0 where std_dev is 0; p is two-sided, under the normal
    distribution.
    """

    segments: int
    mean: float
    std_dev: float
    z: float
    p: float


def mapsswe(
    references: Sequence[Sequence[str]],
    hypotheses_a: Sequence[Sequence[str]],
    hypotheses_b: Sequence[Sequence[str]],
) -> Mapsswe:
    """The matched-pairs test over lists of word lists. Without any error in either system z is 0 and p is 1.

    Sentences are cut into segments whose errors are taken to be independent: they end after two words in a
    row that both systems got right, and where the sentence ends. A segment without an error doesn't count.
    """
    differences = np.array(
        [
            a - b
            for texts in zip(references, hypotheses_a, hypotheses_b, strict=True)
            for a, b in segment_errors(*texts)
        ],
        dtype=np.float64,
    )
    n = len(differences)
    mean = float(differences.mean()) if n else 0.0
    std_dev = float(differences.std(ddof=1)) if n > 1 else 0.0
    z = mean / (std_dev / math.sqrt(n)) if std_dev else 0.0
    return Mapsswe(n, mean, std_dev, z, p=math.erfc(abs(z) / math.sqrt(2)))


def segment_errors(
    reference: Sequence[str], hypothesis_a: Sequence[str], hypothesis_b: Sequence[str]
) -> Iterator[tuple[int, int]]:
    """Errors of both systems in each segment of one sentence that has any."""
    good_a, inserted_a = right_and_inserted(reference, hypothesis_a)
    good_b, inserted_b = right_and_inserted(reference, hypothesis_b)
    a = b = good_in_a_row = 0
    for word in range(len(reference)):
        if inserted_a[word] or inserted_b[word]:
            good_in_a_row = 0
        a += inserted_a[word] + (not good_a[word])
        b += inserted_b[word] + (not good_b[word])
        good_in_a_row = good_in_a_row + 1 if good_a[word] and good_b[word] else 0
        if good_in_a_row >= 2 and (a or b):
            yield a, b
            a = b = 0
    a, b = a + inserted_a[-1], b + inserted_b[-1]
    if a or b:
        yield a, b


def right_and_inserted(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[list[bool], list[int]]:
    """On sclite's alignment: is each reference word right, and how many words are inserted before each, and
    before the end."""
    right: list[bool] = []
    inserted = [0]
    for word, heard in align(reference, hypothesis, SCLITE):
        if word is None:
            inserted[-1] += 1
        else:
            right.append(word == heard)
            inserted.append(0)
    return right, inserted
