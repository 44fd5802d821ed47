"""Weights of a beam search, chosen by the word errors of a dev set.

In: a dev set, a recogniser, a search for each pair of weights. Out: the word error rate of each pair. The
logits are computed once; each pair of weights is a search over them.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from ia3_speech.cli import UserError, progress_stream
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.numbers_in_words import needs_words, numbers_in_words
from ia3_speech.data.text import normalize
from ia3_speech.decoding.ctc_search import GreedySearch, Hypothesis, Search, TimedWord
from ia3_speech.decoding.decode_directory import decode_utterances
from ia3_speech.decoding.recognizer import Recognizer

MOST_THREADS = 4  # each holds a language model in memory


@dataclass(frozen=True)
class Tuning:
    """What was tried."""

    greedy: float  # word error rate of greedy search, a fraction
    rates: dict[tuple[float, float], float]  # (lm_weight, word_score) → word error rate, a fraction

    @property
    def best(self) -> tuple[float, float]:
        """The weights with the fewest errors; of equals the smallest."""
        return min(self.rates, key=self.rates.__getitem__)


def tune(
    recognizer: Recognizer,
    data: Path,
    search_with: Callable[[float, float], Search],
    lm_weights: Sequence[float],
    word_scores: Sequence[float],
    allow_pipes: bool = False,
) -> Tuning:
    """Try every pair of weights on a data directory with text.

    Args:
        recognizer: of which only the logits are used.
        search_with: (lm_weight, word_score) → the search with these weights.

    Raises:
        UserError: the directory holds no words; AudioError: a recording cannot be used.
    """
    from rapidfuzz.distance import Levenshtein
    from tqdm import tqdm

    references, logits_by_id = dev_logits(recognizer, data, allow_pipes)

    def word_error_rate(search: Search) -> float:
        errors = 0
        for name, pieces in logits_by_id.items():
            texts = [search(logits.astype(np.float32)[None], [len(logits)])[0].text for logits in pieces]
            errors += Levenshtein.distance(references[name], normalize(" ".join(texts)).split())
        return errors / sum(map(len, references.values()))

    pairs = list(product(sorted(lm_weights), sorted(word_scores)))
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(min(MOST_THREADS, processors)) as pool:  # a search holds no lock of Python's
        rates = pool.map(lambda pair: word_error_rate(search_with(*pair)), pairs)
        bar = tqdm(rates, "tuning", len(pairs), unit="pair", disable=None, file=progress_stream())
        rate_of = dict(zip(pairs, bar, strict=True))
    return Tuning(word_error_rate(GreedySearch(recognizer.base.vocabulary)), rate_of)


def dev_logits(
    recognizer: Recognizer, data: Path, allow_pipes: bool = False
) -> tuple[dict[str, list[str]], dict[str, list[np.ndarray]]]:
    """What is tuned on, by utterance: the words of a data directory's texts, and the logits of the pieces of
    its audio, (frames, vocabulary) each, as float16. The recogniser's search is lost. Raises as `tune`."""
    utterances = read_data_directory(data, spk_sort=False, allow_pipes=allow_pipes).utterances
    if needs_words(recognizer.base.vocabulary.letters):
        utterances = numbers_in_words(utterances, f"{data}/text")
    references = {u.id: normalize(u.text or "").split() for u in utterances}
    if not any(references.values()):
        raise UserError(f"{data}: has no texts to compare with")
    pieces: list[np.ndarray] = []

    def keep(logits: np.ndarray, frames: Sequence[int]) -> list[Hypothesis]:
        """In place of a search: writes the number of each piece, so that its logits are found again."""
        first = len(pieces)
        pieces.extend(row[:count].astype(np.float16) for row, count in zip(logits, frames, strict=True))
        return [Hypothesis((TimedWord(str(number), 0, 0),)) for number in range(first, len(pieces))]

    recognizer.search = keep
    texts = decode_utterances(recognizer, utterances, on_error="fail", allow_pipes=allow_pipes).texts
    return references, {name: [pieces[int(n)] for n in text.split()] for name, text in texts.items()}


def format_tuning(tuning: Tuning) -> str:
    """A table for people:

    WER %              word score
    LM weight       0    0.75     1.5
    0.2          31.2    30.9    30.8
    0.5          29.9    28.8    28.9
    greedy search: 44.0 %; best: 28.8 % with --lm-weight 0.5 --word-score 0.75
    """
    scores = sorted({score for _, score in tuning.rates})
    lines = [f"{'WER %':<14}word score", f"{'LM weight':<10}" + "".join(f"{score:>8g}" for score in scores)]
    for weight in sorted({weight for weight, _ in tuning.rates}):
        cells = "".join(f"{100 * tuning.rates[weight, score]:>8.1f}" for score in scores)
        lines.append(f"{weight:<10g}{cells}")
    weight, score = tuning.best
    lines.append(
        f"greedy search: {100 * tuning.greedy:.1f} %; best: {100 * tuning.rates[tuning.best]:.1f} % with "
        f"--lm-weight {weight:g} --word-score {score:g}"
    )
    if tuning.rates[tuning.best] > tuning.greedy:
        lines.append(
            "note: --search greedy makes fewer errors than this language model (of another subject?)"
        )
    return "\n".join(lines)
