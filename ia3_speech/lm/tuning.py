"""Weights of a beam search, chosen by the word errors of a dev set.

In: a dev set, a base, perhaps an adapter, a language model. Out: the word error rate of each pair of weights.
The logits are computed once; each pair of weights is a search over them.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TextIO

from ia3_speech.cli import UserError, progress_stream
from ia3_speech.data.kaldi import read_data_directory
from ia3_speech.data.numbers_in_words import needs_words, numbers_in_words
from ia3_speech.data.text import normalize
from ia3_speech.decoding.ctc_search import GreedySearch, Hypothesis, Search, TimedWord
from ia3_speech.decoding.decode_directory import decode_utterances
from ia3_speech.decoding.recognizer import Recognizer
from ia3_speech.loading import SearchOptions, make_search
from ia3_speech.scoring.alignment import edit_distance

Pair = tuple[float, float]  # a language model's weight, and the score of a word
MOST_THREADS = 4  # each holds a language model in memory


@dataclass(frozen=True)
class Tuning:
    """What was tried.

    Attributes:
        greedy: word error rate of greedy search, a fraction.
        rates: (lm_weight, word_score) → word error rate, a fraction.
        options: the search with the best pair; of equals the one with the smallest weights.
    """

    greedy: float
    rates: dict[Pair, float]
    options: SearchOptions


def tune(
    recognizer: Recognizer,
    data: Path,
    options: SearchOptions,
    lm_weights: Sequence[float],
    word_scores: Sequence[float],
    allow_pipes: bool = False,
) -> Tuning:
    """Try every pair of weights on a data directory with text.

    Args:
        recognizer: of which only the logits are used.
        options: the language model, and what is not tuned.

    Raises:
        UserError: the directory holds no words; AudioError: a recording cannot be used.
    """
    base = recognizer.base
    references, pieces = dev_logits(recognizer, data, allow_pipes)
    words = sum(map(len, references.values()))

    def rate(search: Search) -> float:
        hypotheses = {
            name: " ".join(search(logits.float()[None], [len(logits)])[0].text for logits in own).split()
            for name, own in pieces.items()
        }
        return sum(edit_distance(references[name], hypotheses[name]) for name in references) / words

    def rate_of(pair: Pair) -> float:
        weights = replace(options, lm_weight=pair[0], word_score=pair[1])
        return rate(make_search(weights, base)[0])

    pairs = list(product(sorted(lm_weights), sorted(word_scores)))
    rates = dict(zip(pairs, in_threads(rate_of, pairs), strict=True))
    best = min(rates, key=rates.__getitem__)
    return Tuning(
        rate(GreedySearch(base.vocabulary)), rates, replace(options, lm_weight=best[0], word_score=best[1])
    )


def in_threads(rate_of: Callable[[Pair], float], pairs: list[Pair]) -> list[float]:
    """The rate of each pair, several at a time, with a progress bar: a search holds no lock of Python's."""
    from tqdm import tqdm

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    bar = tqdm(total=len(pairs), desc="tuning", unit="pair", disable=None, file=bar_stream())
    rates = []
    with bar, ThreadPoolExecutor(min(MOST_THREADS, processors)) as pool:
        for one in pool.map(rate_of, pairs):
            rates.append(one)
            bar.update()
    return rates


def bar_stream() -> TextIO:
    """`progress_stream`, but of its own: standard error leads nowhere while KenLM reads a model."""
    stream = progress_stream()
    with suppress(OSError):  # a stream without a file
        return os.fdopen(os.dup(stream.fileno()), "w")
    return stream


def dev_logits(
    recognizer: Recognizer, data: Path, allow_pipes: bool = False
) -> tuple[dict[str, list[str]], dict[str, list[Any]]]:
    """What is tuned on: the words of each utterance of a data directory, and the logits of its pieces.

    Args:
        recognizer: of which only the logits are used; its search is lost.

    Raises:
        UserError: the directory holds no words; AudioError: a recording cannot be used.
    """
    utterances = read_data_directory(data, spk_sort=False, allow_pipes=allow_pipes).utterances
    if needs_words(recognizer.base.vocabulary.letters):
        utterances = numbers_in_words(utterances, f"{data}/text")
    references = {u.id: normalize(u.text or "").split() for u in utterances}
    if not any(references.values()):
        raise UserError(f"{data}: has no texts to compare with")
    pieces: list[Any] = []

    def keep(logits: Any, frames: Iterable[int]) -> list[Hypothesis]:
        """In place of a search: the number of the piece, so that its logits can be searched later."""
        rows = [row[:count].half() for row, count in zip(logits, frames, strict=True)]
        pieces.extend(rows)
        numbers = range(len(pieces) - len(rows), len(pieces))
        return [Hypothesis((TimedWord(str(number), 0, 0),)) for number in numbers]

    recognizer.search = keep
    decoded = decode_utterances(recognizer, utterances, on_error="fail", allow_pipes=allow_pipes)
    return references, {
        name: [pieces[int(number)] for number in text.split()] for name, text in decoded.texts.items()
    }


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
    best = tuning.options
    rate = tuning.rates[best.lm_weight, best.word_score]
    lines.append(
        f"greedy search: {100 * tuning.greedy:.1f} %; best: {100 * rate:.1f} % with "
        f"--lm-weight {best.lm_weight:g} --word-score {best.word_score:g}"
    )
    return "\n".join(lines)
