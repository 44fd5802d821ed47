"""CTC word spotting: terms in the logits of a base, without a beam.

    spotter = Spotter(spellings, vocabulary)
    spotted = spotter.spot(logits)                       # (frames, vocabulary) → [SpottedTerm, …]
    words = greedy_words(force_terms(logits, spotted), vocabulary)   # or those of a beam search
    words = merge_terms(words, spotted, terms)

In: logits of one utterance. Out: the terms that are in it, with their frames. Every spelling is a path
through a prefix tree of CTC states, a symbol and the blank after it, and a Viterbi search runs over all of
them at once (token passing: Andrusenko et al. 2024, arXiv 2406.07096). A path begins after a word delimiter,
or with a piece that starts a word, and ends before another. Its cost is what it loses to the best path:

    cost  = Σ_t (max_k logits[t, k] − logits[t, path_t])     nats; 0: greedy search writes the term anyway
    score = bonus − cost                                     the term is taken where this is positive
                                                             (a lost word boundary costs double)

which is the paper's comparison of a boosted term with the greedy words in the same frames. Of terms that
overlap, those are taken whose scores have the largest sum.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.data.text import WORD_START, SubwordVocabulary, Vocabulary
from ia3_speech.decoding.ctc_search import NAN, SearchError, TimedWord
from ia3_speech.decoding.ctc_segmentation import viterbi

if TYPE_CHECKING:
    from torch import Tensor

NEVER = np.float32(-1e9)  # a score that no path comes back from
BOUNDARY = 2.0  # factor of what a path loses at the word boundaries around it: terms are whole words
SLACK = 6.0  # nats that a path may have lost beyond its bonus so far; one that has lost more is given up
FORCED = -100.0  # logit of what a forced term rules out


@dataclass(frozen=True)
class Spelling:
    """One way in which a term may be heard.

    Attributes:
        term: number of the term.
        symbols: of the base's vocabulary, with delimiters between words.
        bonus: nats that its path may lose to the best path.
    """

    term: int
    symbols: tuple[int, ...]
    bonus: float


@dataclass(frozen=True)
class SpottedTerm:
    """A term in an utterance.

    Attributes:
        term: its number.
        first, last: frames of its first and its last symbol.
        score: nats by which it wins over the best path, its bonus included.
        start: frame where `path` begins: that of the word delimiter before the term, or the first of all.
        path: a symbol for each frame from there, with the delimiters before and after the term.
    """

    term: int
    first: int
    last: int
    score: float
    start: int
    path: tuple[int, ...]


@dataclass(frozen=True)
class PrefixTree:
    """Spellings that share their beginnings; node 0 is the root. All arrays but `children` are (nodes,).

    Attributes:
        symbol, parent: of each node.
        doubled: whether a node's symbol is its parent's, from which CTC separates it by a blank.
        limit: score below which a path in a node is given up.
        bonus: nats of the spelling that ends in a node, -1e9 where none ends.
        children: nodes, sorted by parent.
        first_child: children[first_child[n] : first_child[n] + child_count[n]] are those of node n.
        child_count: of each node.
        spellings: node → the spelling that ends there.
    """

    symbol: np.ndarray
    parent: np.ndarray
    doubled: np.ndarray
    limit: np.ndarray
    bonus: np.ndarray
    children: np.ndarray
    first_child: np.ndarray
    child_count: np.ndarray
    spellings: dict[int, Spelling]


def prefix_tree(spellings: Iterable[Spelling], slack: float = SLACK) -> PrefixTree:
    """The tree of the spellings; of two with the same symbols the first is kept. Those without a bonus are
    left out."""
    symbol, parent, limit = [-1], [0], [-slack]
    child: dict[tuple[int, int], int] = {}
    ends: dict[int, Spelling] = {}
    for spelling in (one for one in spellings if one.bonus > 0):
        node = 0
        for depth, one in enumerate(spelling.symbols, 1):
            if (node, one) not in child:
                child[node, one] = len(symbol)
                symbol.append(one)
                parent.append(node)
                limit.append(0.0)
            node = child[node, one]
            limit[node] = min(limit[node], -slack - spelling.bonus * depth / len(spelling.symbols))
        ends.setdefault(node, spelling)
    symbols, parents = np.array(symbol), np.array(parent)
    bonus = np.full(len(symbol), NEVER)
    for node, spelling in ends.items():
        bonus[node] = spelling.bonus
    children = 1 + np.argsort(parents[1:], kind="stable")
    first_child = np.searchsorted(parents[children], np.arange(len(symbol)))
    child_count = np.bincount(parents[1:], minlength=len(symbol))
    doubled = (symbols == symbols[parents]) & (parents > 0)
    limits = np.array(limit, np.float32)
    return PrefixTree(symbols, parents, doubled, limits, bonus, children, first_child, child_count, ends)


class Spotter:
    """Finds terms in logits.

    Args:
        spellings: of the terms, in symbols of `vocabulary`.
        vocabulary: of the base.
        slack: see `SLACK`.
    """

    def __init__(self, spellings: Iterable[Spelling], vocabulary: Vocabulary, slack: float = SLACK):
        self.vocabulary = vocabulary
        self.slack = slack
        self.tree = prefix_tree(spellings, slack)
        subwords = isinstance(vocabulary, SubwordVocabulary)
        self.delimiter = None if subwords else vocabulary.tokens.get(vocabulary.delimiter)
        self.word_starts = {n for token, n in vocabulary.tokens.items() if token.startswith(WORD_START)}

    def spot(self, logits: "Tensor | np.ndarray") -> list[SpottedTerm]:
        """The terms in (frames, vocabulary) logits of any float type, in order, without overlap.

        Raises:
            SearchError: the logits hold a NaN.
        """
        values = np.asarray(logits, dtype=np.float32)
        if np.isnan(values).any():
            raise SearchError(NAN)
        if not len(values) or len(self.tree.symbol) == 1:
            return []
        losses = values - values.max(axis=1, keepdims=True)
        return [self.aligned(losses, *one) for one in self.search(losses)]

    def boundaries(self, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores of a word boundary: (frames,) before a term that begins later; (frames + 1,) after a term
        that ends earlier, of which the last is the end of the utterance."""
        if self.delimiter is not None:
            before = np.float32(BOUNDARY) * losses[:, self.delimiter]
            return before, np.append(before, np.float32(0))
        after = np.zeros(len(losses) + 1, np.float32)
        if self.word_starts:  # what the best path writes next has to start a word
            following = True
            for frame, symbol in reversed([*enumerate(losses.argmax(axis=1).tolist())]):
                following = following if symbol == self.vocabulary.blank else symbol in self.word_starts
                after[frame] = 0 if following else NEVER
        return np.zeros(len(losses), np.float32), after

    def search(self, losses: np.ndarray) -> list[tuple[Spelling, int, int, float]]:
        """The spellings with the largest sum of scores: each with the frame of the boundary before it, -1 at
        the beginning, that of the boundary after it, and its score.

        In a node a path is in its symbol or in the blank after it; of paths in the same state the best is
        kept, with its boundary. A path's score includes the scores of the terms before it.
        """
        tree, blank, nodes_in_all = self.tree, self.vocabulary.blank, len(self.tree.symbol)
        before, after = self.boundaries(losses)
        in_symbol, in_blank = (np.full(nodes_in_all, NEVER) for _ in range(2))
        symbol_from, blank_from = (np.full(nodes_in_all, -1) for _ in range(2))
        in_blank[0] = 0.0  # the utterance begins at a word boundary
        active, is_candidate = np.array([0]), np.zeros(nodes_in_all, bool)
        chosen = Chosen(len(losses))
        for frame in range(len(losses) + 1):
            bonus = tree.bonus[active]
            ends = active[bonus > 0]
            if len(ends):
                from_symbol = in_symbol[ends] >= in_blank[ends]
                sums = np.maximum(in_symbol[ends], in_blank[ends]) + tree.bonus[ends] + after[frame]
                chosen.offer(frame, ends, np.where(from_symbol, symbol_from[ends], blank_from[ends]), sums)
            else:
                chosen.pass_over(frame)
            if frame == len(losses):
                break
            loss = losses[frame]
            # Candidates: active nodes and their children.
            is_candidate[active] = True
            is_candidate[self.children(active)] = True
            nodes = np.flatnonzero(is_candidate)
            is_candidate[nodes] = False
            nodes = nodes[nodes > 0]
            parents = tree.parent[nodes]
            from_parent, parent_blank = in_symbol[parents], in_blank[parents]
            from_parent[tree.doubled[nodes]] = NEVER
            entered = np.maximum(from_parent, parent_blank)
            entered_from = np.where(from_parent >= parent_blank, symbol_from[parents], blank_from[parents])
            symbol, stayed = in_symbol[nodes], in_blank[nodes]
            new_symbol = np.maximum(symbol, entered) + loss[tree.symbol[nodes]]
            new_blank = np.maximum(symbol, stayed) + loss[blank]
            symbol_origin = np.where(symbol >= entered, symbol_from[nodes], entered_from)
            blank_origin = np.where(symbol >= stayed, symbol_from[nodes], blank_from[nodes])
            limits = tree.limit[nodes] + chosen.sums[frame + 1]
            new_symbol[new_symbol < limits] = NEVER
            new_blank[new_blank < limits] = NEVER
            in_symbol[nodes], in_blank[nodes] = new_symbol, new_blank
            symbol_from[nodes], blank_from[nodes] = symbol_origin, blank_origin
            if in_symbol[0] > in_blank[0]:
                in_blank[0], blank_from[0] = in_symbol[0], symbol_from[0]
            in_blank[0] += loss[blank]
            in_symbol[0], symbol_from[0] = before[frame] + chosen.sums[frame + 1], frame
            active = nodes[np.maximum(new_symbol, new_blank) > NEVER]
            if max(in_symbol[0], in_blank[0]) > chosen.sums[frame + 1] - self.slack:
                active = np.append(active, 0)
        return [(tree.spellings[node], *rest) for node, *rest in chosen.trace()]

    def children(self, nodes: np.ndarray) -> np.ndarray:
        """All children of the nodes."""
        counts = self.tree.child_count[nodes]
        offsets = self.tree.first_child[nodes] - counts.cumsum() + counts
        return self.tree.children[np.repeat(offsets, counts) + np.arange(counts.sum())]

    def aligned(
        self, losses: np.ndarray, spelling: Spelling, before: int, after: int, score: float
    ) -> SpottedTerm:
        """The frames of a spelling between two boundaries, which are not its own."""
        blank = self.vocabulary.blank
        states = viterbi(losses[before + 1 : after], spelling.symbols, blank)
        symbols = np.full(2 * len(spelling.symbols) + 1, blank)
        symbols[1::2] = spelling.symbols
        path, frames = symbols[states].tolist(), np.flatnonzero(states % 2)
        start = before + 1
        if self.delimiter is not None:
            path = [self.delimiter] * (before >= 0) + path + [self.delimiter] * (after < len(losses))
            start = max(before, 0)
        first, last = before + 1 + frames[0], before + 1 + frames[-1]
        return SpottedTerm(spelling.term, int(first), int(last), score, start, tuple(path))


class Chosen:
    """Terms without overlap whose scores have the largest sum (weighted interval scheduling), frame by frame.

    Two terms may share the frame of the boundary between them.
    """

    def __init__(self, frames: int):
        self.sums = np.zeros(frames + 2)  # entry f + 1: of terms whose boundary is at frame f or before
        self.last: list[tuple[int, int, float] | None] = [None] * (frames + 2)

    def pass_over(self, frame: int) -> None:
        """No term ends at the boundary in `frame`."""
        self.sums[frame + 1] = self.sums[frame]

    def offer(self, frame: int, nodes: np.ndarray, before: np.ndarray, sums: np.ndarray) -> None:
        """Terms that end at the boundary in `frame`, with the frames of the boundaries before them, and the
        sums of their scores and those of the terms before."""
        self.pass_over(frame)
        best = int(sums.argmax())
        if sums[best] > self.sums[frame + 1]:
            score = float(sums[best]) - self.sums[before[best] + 1]
            self.sums[frame + 1] = sums[best]
            self.last[frame + 1] = (int(nodes[best]), int(before[best]), score)

    def trace(self) -> list[tuple[int, int, int, float]]:
        """(node, boundary before, boundary after, score) of the chosen terms, in order."""
        found, entry = [], len(self.last) - 1
        while entry > 0:
            if (last := self.last[entry]) is None:
                entry -= 1
                continue
            node, before, score = last
            found.append((node, before, entry - 1, score))
            entry = before + 1
        return found[::-1]


def force_terms(logits: "Tensor | np.ndarray", spotted: Sequence[SpottedTerm]) -> np.ndarray:
    """A copy of (frames, vocabulary) logits, float32, whose frames of spotted terms allow nothing else: any
    search then writes the terms, and a language model sees them as context."""
    forced = np.array(logits, dtype=np.float32)
    for one in spotted:
        frames = np.arange(one.start, one.start + len(one.path))
        forced[frames] = FORCED
        forced[frames, list(one.path)] = 0.0
    return forced


def merge_terms(
    words: Sequence[TimedWord], spotted: Sequence[SpottedTerm], terms: Sequence[str]
) -> list[TimedWord]:
    """Words of a search of `force_terms(…)`, where each spotted term stands as its file writes it.

    Args:
        words: in order.
        terms: the text of each term, by its number.
    """
    kept = [word for word in words if not any(overlaps(word, one) for one in spotted)]
    kept += [TimedWord(terms[one.term], one.first, one.last) for one in spotted]
    return sorted(kept, key=lambda word: word.first)


def overlaps(word: TimedWord, spotted: SpottedTerm) -> bool:
    """Whether the middle of a word is within a term."""
    return spotted.first <= (word.first + word.last) / 2 <= spotted.last
