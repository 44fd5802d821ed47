"""N-gram language models: estimated from text, interpolated, pruned.

    model = prune(mix([estimate(sentences, order=3), read_arpa("general.arpa.gz")], [0.8, 0.2]), 1e-8)

Estimation is interpolated modified Kneser-Ney (Chen and Goodman 1998, "An Empirical Study of Smoothing
Techniques for Language Modeling", TR-10-98, equations 24 to 27) with the conventions of KenLM's `lmplz`, with
which the tests compare every number: n-grams that begin a sentence keep their counts, unigrams are
interpolated with the uniform distribution, and `<unk>` gets the uniform share. No package that installs
without a compiler estimates this model (kenlm's wheels only query).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ia3_speech.common.errors import UserError

UNKNOWN, START, END = 0, 1, 2  # ids of the three words below
SPECIAL = ("<unk>", "<s>", "</s>")
NEVER = -99.0  # log10 of the probability of <s>, which is never predicted
MIN_WEIGHT = 0.05  # of a model in a mixture whose weights a dev set chooses
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # of lmplz --discount_fallback, for small texts


@dataclass
class Order:
    """All n-grams of a length k, sorted by history and word: four arrays, (number,) each."""

    history: np.ndarray  # index, among the n-grams of length k − 1, of the first k − 1 words; 0 for unigrams
    word: np.ndarray  # id of the last word
    log_probability: np.ndarray  # log10 p(word | history)
    log_backoff: np.ndarray  # log10 of its back-off weight as a history; 0 if it is no history

    @classmethod
    def without_probabilities(cls, history: np.ndarray, word: np.ndarray) -> "Order":
        return cls(history, word, np.zeros(len(word)), np.zeros(len(word)))

    def __len__(self) -> int:
        return len(self.word)


class NgramModel:
    """A back-off n-gram model."""

    def __init__(self, vocabulary: list[str], orders: list[Order]):
        self.vocabulary = vocabulary  # the words by their ids, each a unigram; first <unk>, <s> and </s>
        self.orders = orders  # unigrams first
        self.ids = {word: number for number, word in enumerate(vocabulary)}  # word → id

    def counts(self) -> list[int]:
        """The number of n-grams of each length."""
        return [len(order) for order in self.orders]

    def ngrams(self, length: int) -> np.ndarray:
        """The words of all n-grams of a length: ids, (number, length)."""
        if length == 1:
            return self.orders[0].word[:, None]
        order = self.orders[length - 1]
        return np.column_stack([self.ngrams(length - 1)[order.history], order.word])

    def index(self, ngrams: np.ndarray) -> np.ndarray:
        """The index of each row of ids, (number, length), among the n-grams of that length, or −1."""
        index = ngrams[:, 0].astype(np.int64)
        for order, word in zip(self.orders[1 : ngrams.shape[1]], ngrams.T[1:], strict=True):
            if not len(order):
                return np.full(len(ngrams), -1)
            keys = order.history * len(self.vocabulary) + order.word
            sought = index * len(self.vocabulary) + word
            place = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
            index = np.where((index >= 0) & (keys[place] == sought), place, -1)
        return index

    def score(self, ngrams: np.ndarray) -> np.ndarray:
        """log10 p(last word | words before) of each row of ids, (number, length ≤ order). (number,)"""
        length = ngrams.shape[1]
        if not len(self.orders[length - 1]):
            return self.score(ngrams[:, 1:])
        index = self.index(ngrams)
        known = self.orders[length - 1].log_probability[np.maximum(index, 0)]
        if length == 1 or (index >= 0).all():
            return known
        history = self.index(ngrams[:, :-1])
        backoff = np.where(history >= 0, self.orders[length - 2].log_backoff[np.maximum(history, 0)], 0.0)
        return np.where(index >= 0, known, backoff + self.score(ngrams[:, 1:]))

    def word_scores(self, sentences: Iterable[Sequence[str]]) -> np.ndarray:
        """log10 p of each word and each sentence's end, after the words before it; in no particular order."""
        longest = len(self.orders)
        rows: list[list[list[int]]] = [[] for _ in range(longest + 1)]
        for words in sentences:
            ids = [START, *(self.ids.get(word, UNKNOWN) for word in words), END]
            for end in range(2, len(ids) + 1):
                rows[min(end, longest)].append(ids[max(0, end - longest) : end])
        return np.concatenate([self.score(np.array(same)) for same in rows if same] or [np.zeros(0)])

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> float:
        """Per word; the end of a sentence and unknown words count, as in KenLM's `query`."""
        return float(10 ** -self.word_scores(sentences).mean())


def estimate(sentences: Iterable[Sequence[str]], order: int = 3) -> NgramModel:
    """Interpolated modified Kneser-Ney of sentences, each a sequence of words.

    If a text is too small to estimate the three discounts of an order, they are 0.5, 1 and 1.5, as with
    `lmplz --discount_fallback`. Raises UserError if the text contains no word, or <s>, </s> or <unk>."""
    ids = {word: number for number, word in enumerate(SPECIAL)}
    stream: list[int] = []
    for words in sentences:
        if reserved := set(words) & set(SPECIAL):
            raise UserError(f"the text contains {reserved.pop()}, a word of the model itself (delete it)")
        if words:
            stream += [START, *(ids.setdefault(word, len(ids)) for word in words), END]
    if not stream:
        raise UserError("the text contains no word")
    orders, counts = count_ngrams(np.array(stream), len(ids), order)
    model = NgramModel(list(ids), orders)
    smooth(model, adjusted_counts(model, counts))
    return model


def count_ngrams(stream: np.ndarray, words: int, order: int) -> tuple[list[Order], list[np.ndarray]]:
    """All n-grams of up to `order` ids within sentences, and their counts in a `stream` of `words` words."""
    sentence = np.cumsum(stream == START)
    at = stream.astype(np.int64)  # index of the n-gram that begins here, of the length before
    counts = [np.bincount(at, minlength=words)]
    orders = [Order.without_probabilities(np.zeros(words, np.int64), np.arange(words))]
    for length in range(2, order + 1):
        at = at[: len(stream) - length + 1]
        inside = sentence[: len(at)] == sentence[length - 1 :]
        keys = np.where(inside, at * words + stream[length - 1 :], -1)
        keys, at, occurrences = np.unique(keys, return_inverse=True, return_counts=True)
        outside = int(keys[0] == -1) if len(keys) else 0
        keys, at, occurrences = keys[outside:], at - outside, occurrences[outside:]
        orders.append(Order.without_probabilities(keys // words, keys % words))
        counts.append(occurrences)
    return orders, counts


def adjusted_counts(model: NgramModel, counts: list[np.ndarray]) -> list[np.ndarray]:
    """Kneser-Ney's counts: the number of different words before an n-gram, except for the longest n-grams."""
    adjusted = [counts[-1]]
    for length in range(len(model.orders) - 1, 0, -1):
        different = np.bincount(suffixes(model, length + 1), minlength=len(model.orders[length - 1]))
        first = model.ngrams(length)[:, 0]  # n-grams that begin with <s> keep their counts
        adjusted.insert(0, np.where((first == START) & (length > 1), counts[length - 1], different))
    adjusted[0][START] = 0  # it is never predicted
    return adjusted


def suffixes(model: NgramModel, length: int) -> np.ndarray:
    """For each n-gram of a length, the index of the n-gram without its first word, or −1. (number,)"""
    return model.index(model.ngrams(length)[:, 1:])


def discounts(counts: np.ndarray) -> np.ndarray:
    """The discounts of counts of 0, 1, 2, and 3 or more: (4,). Chen and Goodman 1998, equation 26."""
    n = [int((counts == number).sum()) for number in range(1, 5)]
    if min(n[:3]) > 0:
        y = n[0] / (n[0] + 2 * n[1])
        estimates = [j - (j + 1) * y * n[j] / n[j - 1] for j in (1, 2, 3)]
        if all(0 <= d <= j for j, d in enumerate(estimates, 1)):
            return np.array([0.0, *estimates])
    return np.array([0.0, *FALLBACK_DISCOUNTS])


def smooth(model: NgramModel, counts: list[np.ndarray]) -> None:
    """Fill in probabilities and back-off weights from the adjusted counts, from unigrams up."""
    uniform = 1.0 / (len(model.vocabulary) - 1)  # <s> is not predicted
    lower = np.array([uniform])
    for length, (order, count) in enumerate(zip(model.orders, counts, strict=True), 1):
        taken = discounts(count)[np.minimum(count, 3)]
        histories = 1 if length == 1 else len(model.orders[length - 2])
        total = np.bincount(order.history, count, histories)
        with np.errstate(divide="ignore", invalid="ignore"):
            left = np.where(total > 0, np.bincount(order.history, taken, histories) / total, 1.0)
            discounted = (count - taken) / total[order.history]
        shorter = lower[suffixes(model, length) if length > 1 else np.zeros(len(order), np.int64)]
        lower = discounted + left[order.history] * shorter
        if length > 1:
            follows = total > 0
            model.orders[length - 2].log_backoff[follows] = np.log10(left[follows])
        order.log_probability = np.log10(lower)
    model.orders[0].log_probability[START] = NEVER


def mix(models: Sequence[NgramModel], weights: Sequence[float]) -> NgramModel:
    """The back-off model of the linear interpolation Σ weight · p, as in SRILM's `ngram -mix-lm`.

    It contains the n-grams of all models; other n-grams are backed off, which approximates the sum (Stolcke
    2002, "SRILM", section 3.2). Words that a model lacks share its probability of <unk>.
    """
    models = sharing_unknown(models)
    vocabulary = list(dict.fromkeys(word for model in models for word in model.vocabulary))
    ids = {word: number for number, word in enumerate(vocabulary)}
    longest = max(len(model.orders) for model in models)
    every = np.arange(len(vocabulary))
    mixed = NgramModel(vocabulary, [Order.without_probabilities(np.zeros_like(every), every)])
    for length in range(2, longest + 1):
        ngrams = [
            np.array([ids[word] for word in model.vocabulary])[model.ngrams(length)]
            for model in models
            if len(model.orders) >= length
        ]
        ngrams = np.unique(np.concatenate(ngrams), axis=0)
        history = mixed.index(ngrams[:, :-1])
        mixed.orders.append(Order.without_probabilities(history, ngrams[:, -1].astype(np.int64)))
    for length, order in enumerate(mixed.orders, 1):
        shares = []
        for model, weight in zip(models, weights, strict=True):
            ids_in_model = np.array([model.ids.get(word, UNKNOWN) for word in vocabulary])
            ngrams = ids_in_model[mixed.ngrams(length)][:, -len(model.orders) :]
            shares.append(weight * 10.0 ** model.score(ngrams))
        order.log_probability = np.log10(np.maximum(sum(shares), 10.0**NEVER))
    renormalise(mixed)
    return mixed


def sharing_unknown(models: Sequence[NgramModel]) -> list[NgramModel]:
    """The models; each divides its probability of <unk> among <unk> and the words that only others have."""
    words, shared = set().union(*(model.vocabulary for model in models)), []
    for model in models:
        share = np.log10(1 + len(words) - len(model.vocabulary))
        orders = [replace(o, log_probability=o.log_probability.copy()) for o in model.orders]
        for order in orders:
            order.log_probability[order.word == UNKNOWN] -= share
        shared.append(NgramModel(model.vocabulary, orders))
    return shared


def mixture_weights(models: Sequence[NgramModel], sentences: Sequence[Sequence[str]]) -> list[float]:
    """The weights of a mixture that fits the sentences best, by expectation maximisation, each at least
    MIN_WEIGHT: words that only one model has must stay possible, even if the sentences don't contain them."""
    p = np.stack([10.0 ** model.word_scores(sentences) for model in sharing_unknown(models)])
    weights = np.full(len(models), 1 / len(models))
    for _ in range(100):
        shares = weights[:, None] * p
        weights = (shares / shares.sum(0)).mean(1)
    smallest = min(MIN_WEIGHT, 1 / len(models))
    return (smallest + (1 - smallest * len(models)) * weights).tolist()


def renormalise(model: NgramModel) -> None:
    """Set every back-off weight so that the probabilities after each history sum to one."""
    for length in range(2, len(model.orders) + 1):
        left, lower = left_over(model, length)
        follows = np.bincount(model.orders[length - 1].history, minlength=len(model.orders[length - 2])) > 0
        weights = np.zeros(len(follows))
        weights[follows] = np.log10(left[follows] / lower[follows])
        model.orders[length - 2].log_backoff = weights


def left_over(model: NgramModel, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The mass of each history, (histories,), for words that do not follow it in the model: 1 − Σ p(w |
    history) over the words that do, and 1 − Σ p(w | history without its first word) over the same words."""
    order = model.orders[length - 1]
    histories = len(model.orders[length - 2])
    shorter = model.score(model.ngrams(length)[:, 1:])
    sums = (np.bincount(order.history, 10.0**p, histories) for p in (order.log_probability, shorter))
    return tuple(np.maximum(1.0 - mass, 1e-12) for mass in sums)


def prune(model: NgramModel, threshold: float) -> NgramModel:
    """The model without n-grams whose removal changes the perplexity by less than `threshold` (relative, such
    as 1e-8).

    Stolcke 1998, "Entropy-based Pruning of Backoff Language Models", equation 3: SRILM's `ngram -prune`. An
    n-gram that a longer n-gram needs as its history or suffix stays. Unigrams stay.
    """
    if threshold <= 0:
        return model
    keeps: list[np.ndarray] = [np.ones(len(order), bool) for order in model.orders]
    joint = [np.where(model.orders[0].word == START, 0.0, model.orders[0].log_probability)]  # log10 p(n-gram)
    for order in model.orders[1:]:
        joint.append(joint[-1][order.history] + order.log_probability)
    for length in range(len(model.orders), 1, -1):
        order, keep = model.orders[length - 1], keeps[length - 1]
        needed = np.zeros(len(order), bool)
        if length < len(model.orders):
            longer = keeps[length]
            needed[model.orders[length].history[longer]] = True
            suffix = suffixes(model, length + 1)[longer]
            needed[suffix[suffix >= 0]] = True
        keep &= needed | (perplexity_change(model, length, joint[length - 2]) >= threshold)
    pruned = NgramModel(model.vocabulary, [])
    renumbered = np.zeros(1, np.int64)  # n-gram of the length before → its index in the pruned model
    for order, keep in zip(model.orders, keeps, strict=True):
        history = renumbered[order.history[keep]]
        backoff = np.zeros(int(keep.sum()))
        pruned.orders.append(Order(history, order.word[keep], order.log_probability[keep], backoff))
        renumbered = np.cumsum(keep) - 1
    renormalise(pruned)
    return pruned


def perplexity_change(model: NgramModel, length: int, log_history: np.ndarray) -> np.ndarray:
    """The relative change of perplexity if each n-gram of a length is removed alone. (number,)"""
    order = model.orders[length - 1]
    left, lower_left = (mass[order.history] for mass in left_over(model, length))
    longer, shorter = order.log_probability, model.score(model.ngrams(length)[:, 1:])
    new = np.log10(left + 10.0**longer) - np.log10(lower_left + 10.0**shorter)
    old = np.log10(left) - np.log10(lower_left)
    change = 10.0**longer * (shorter + new - longer) + left * (new - old)
    return 10.0 ** (-(10.0 ** log_history[order.history]) * change) - 1.0
