"""Which sentences a person should read next: those in which the recogniser is likely to err.

    ia3-speech corrections suggest anna --n 5

In: sentences, and the recogniser's words for recordings with known texts. Out: the sentences that teach most.
Each pair of neighbouring letters has an expected error rate: 1 for an error, else the recogniser's doubt,
1 − confidence; rates of rare pairs are near the mean. A sentence is worth the sum of its pairs' rates, each
divided by 1 + the pair's occurrences so far: without recordings, coverage.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ia3_speech.corrections.voice import read_store
from ia3_speech.data.text import normalize
from ia3_speech.data.utterance import load_utterances
from ia3_speech.decoding.transcript import Word
from ia3_speech.scoring.alignment import align

if TYPE_CHECKING:
    from ia3_speech.decoding.recognizer import Recognizer

PAGE_TEXTS = Path(__file__).parents[1] / "serve/page/texts.json"
PRIOR = 2.0  # occurrences that the mean rate counts as
MAX_SECONDS = 600.0  # of a voice's recordings that are recognised for a choice


def shipped_sentences(language: str | None = "en") -> list[str]:
    """The page's sentences in a language, else in English."""
    sentences = json.loads(PAGE_TEXTS.read_text("utf-8"))["sentences"]
    return sentences.get(language, sentences["en"])


def suggest_sentences(name: str, sentences: Iterable[str], recognizer: "Recognizer", n: int) -> list[str]:
    """The `n` sentences that teach the recogniser of a voice most, the best first; [] if the voice has read
    all that the base can write. Raises AudioError for a recording that can't be read."""
    utterances = read_store(name)
    read, missing = {normalize(u.text) for u in utterances}, recognizer.base.vocabulary.missing
    unread = [text for text in sentences if (plain := normalize(text)) and plain not in read]
    if not (usable := [text for text in unread if not missing([normalize(text)])]):
        return []
    ends = accumulate(u.duration for u in utterances)
    first = [u for u, end in zip(utterances, ends, strict=True) if end <= MAX_SECONDS]
    stored = [*load_utterances(first, progress=False)]
    recognitions = recognizer.recognize([wave for _, wave in stored], with_words=True)
    recorded = [(u.text, r.words) for (u, _), r in zip(stored, recognitions, strict=True)]
    return choose_sentences(usable, recorded, n)


def letter_pairs(text: str) -> list[str]:
    """`go on` → ` g`, `go`, `o `, ` o`, `on`, `n `."""
    return [a + b for a, b in pairwise(f" {normalize(text)} ")]


def expected_errors(text: str, words: Sequence[Word]) -> list[float]:
    """Of each letter pair of a text, the expected error (0 to 1) in the recogniser's words."""
    letters = [(c, 1 - word.confidence) for word in words for c in f"{normalize(word.text)} "]
    doubts, errors = iter([doubt for _, doubt in letters]), [0.0]
    for letter, hypothesis in align([*f"{normalize(text)} "], [c for c, _ in letters]):
        doubt = next(doubts) if hypothesis is not None else 1.0
        if letter is not None:
            errors.append(doubt if letter == hypothesis else 1.0)
    return [max(pair) for pair in pairwise(errors)]


def choose_sentences(
    sentences: Iterable[str], recorded: Iterable[tuple[str, Sequence[Word]]], n: int
) -> list[str]:
    """The `n` sentences that teach most, the best first.

    Args:
        recorded: (text, the recogniser's words) of each stored recording.
    """
    seen, errors = Counter(), Counter()
    for text, words in recorded:
        pairs = letter_pairs(text)
        seen.update(pairs)
        for pair, error in zip(pairs, expected_errors(text, words), strict=True):
            errors[pair] += error
    mean = errors.total() / seen.total() if seen else 1.0
    rates = {pair: (errors[pair] + PRIOR * mean) / (count + PRIOR) for pair, count in seen.items()}
    left, chosen = [*dict.fromkeys(sentences)], []

    def worth(sentence: str) -> float:
        counts = Counter(letter_pairs(sentence))
        return sum(n * rates.get(pair, mean) / (1 + seen[pair]) for pair, n in counts.items())

    while left and len(chosen) < n:
        chosen.append(max(left, key=worth))
        left.remove(chosen[-1])
        seen.update(letter_pairs(chosen[-1]))
    return chosen


def further_gain(training: dict[str, Any], n: int) -> float:
    """The share of the errors that `n` more utterances would remove, by an adapter's record of its training,
    if errors fall as a power of the number of utterances; 0 without a gain so far."""
    counts = [training.get(key) for key in ("base_errors", "errors", "utterances")]
    if not all(type(count) is int and count > 0 for count in counts) or counts[1] >= counts[0]:
        return 0.0
    before, after, utterances = counts
    power = math.log(before / after) / math.log1p(utterances)
    return 1 - ((1 + utterances) / (1 + utterances + n)) ** power
