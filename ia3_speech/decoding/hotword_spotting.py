"""CTC word spotting: terms in the logits of a base, without a beam.

    spotted = Spotter(spellings, vocabulary).spot(logits)     # (frames, vocabulary) → [SpottedTerm, …]

Every spelling is a path through a prefix tree of CTC states, a symbol and the blank after it, and a Viterbi
search runs over all paths at once (token passing: Andrusenko et al. 2024, arXiv 2406.07096). A path begins
after a word delimiter, or with a piece that starts a word, and ends before another. Its cost is its loss
against the best path:

    cost  = Σ_t (max_k logits[t, k] − logits[t, path_t])     nats; 0: greedy search writes the term anyway
    score = bonus − cost                                     the term is taken if this is positive
                                                             (a lost word boundary costs double)

which is the paper's comparison of a boosted term with the greedy words in the same frames. Of terms that
overlap, those are taken whose scores have the largest sum.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ia3_speech.data.text import Vocabulary
from ia3_speech.decoding.word_times import forced_path
from ia3_speech.model.hypotheses import Logits

NEVER = np.float32(-1e9)  # the score of an impossible path
BOUNDARY = 2.0  # factor of a path's loss at the word boundaries around it: terms are whole words
SLACK = 6.0  # nats of loss beyond the bonus so far, after which a path is abandoned


@dataclass(frozen=True)
class Spelling:
    """A form of a term, as the base may write it."""

    term: int  # number of the term
    symbols: tuple[int, ...]  # of the base's vocabulary, with delimiters between words
    bonus: float  # nats that its path may lose to the best path
    # Whether these are the symbols of the term's own text, which a forced alignment finds
    as_written: bool = True


@dataclass(frozen=True)
class SpottedTerm:
    """A term in an utterance."""

    spelling: Spelling  # in which it was heard
    first: int  # frames of its first and its last symbol
    last: int
    score: float  # nats by which it wins over the best path, its bonus included
    start: int  # frame where `path` begins: that of the word delimiter before the term, or the first of all
    path: tuple[int, ...]  # a symbol for each frame from there, with the delimiters before and after the term


class Spotter:
    """Finds terms in logits, by a tree of their spellings; of two with the same symbols the first is used."""

    def __init__(self, spellings: Iterable[Spelling], vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        symbols, parents, limits = [-1], [0], [-SLACK]
        child: dict[tuple[int, int], int] = {}
        self.spellings: dict[int, Spelling] = {}  # node → the spelling that ends there
        for spelling in spellings:
            if spelling.bonus <= 0:
                continue
            node = 0
            for depth, symbol in enumerate(spelling.symbols, 1):
                if (node, symbol) not in child:
                    child[node, symbol] = len(symbols)
                    symbols.append(symbol)
                    parents.append(node)
                    limits.append(0.0)
                node = child[node, symbol]
                limits[node] = min(limits[node], -SLACK - spelling.bonus * depth / len(spelling.symbols))
            self.spellings.setdefault(node, spelling)
        # (nodes,) of the tree; node 0 is the root, and its own parent.
        self.symbol, self.parent = np.array(symbols), np.array(parents)
        self.limit = np.array(limits, np.float32)  # (nodes,) lower paths in a node are abandoned
        # (nodes,) whether a node's symbol equals its parent's, so that CTC separates them by a blank.
        self.doubled = (self.symbol == self.symbol[self.parent]) & (self.parent > 0)
        self.bonus = np.full(len(symbols), NEVER)  # (nodes,) nats of the spelling that ends in a node
        self.bonus[list(self.spellings)] = [spelling.bonus for spelling in self.spellings.values()]

    def spot(self, logits: Logits) -> list[SpottedTerm]:
        """The terms in (frames, vocabulary) logits of any float type, in order, without overlap."""
        values = np.asarray(logits, dtype=np.float32)
        if not len(values) or not self.spellings:
            return []
        losses = values - values.max(axis=1, keepdims=True)
        return [
            self.align(losses, self.spellings[node], before, after, score)
            for node, before, after, score in self.search(losses)
        ]

    def boundaries(self, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores of a word boundary: (frames,) before a term that begins later; (frames + 1,) after a term
        that ends earlier, of which the last is the end of the utterance."""
        if self.vocabulary.delimiter_id is not None:
            before = np.float32(BOUNDARY) * losses[:, self.vocabulary.delimiter_id]
            return before, np.append(before, np.float32(0))
        after = np.zeros(len(losses) + 1, np.float32)
        if self.vocabulary.boundaries:  # the next symbol of the best path has to start a word
            blank, word_starts, starts_word = self.vocabulary.blank, self.vocabulary.boundaries, True
            for frame, symbol in reversed([*enumerate(losses.argmax(axis=1).tolist())]):
                starts_word = starts_word if symbol == blank else symbol in word_starts
                after[frame] = 0 if starts_word else NEVER
        return np.zeros(len(losses), np.float32), after

    def search(self, losses: np.ndarray) -> list[tuple[int, int, int, float]]:
        """Node, boundary before (-1 at the beginning), boundary after and score of the chosen spellings."""
        # In a node a path is in its symbol or in the blank after it; of paths in the same state the best
        # remains, with its boundary. A path's score includes the scores of the terms before it.
        blank, nodes_in_all = self.vocabulary.blank, len(self.symbol)
        before, after = self.boundaries(losses)
        in_symbol, in_blank = (np.full(nodes_in_all, NEVER) for _ in range(2))
        symbol_from, blank_from = (np.full(nodes_in_all, -1) for _ in range(2))
        in_blank[0] = 0.0  # the utterance begins at a word boundary
        active = np.array([0])
        chosen = TermSchedule(len(losses))
        for frame in range(len(losses) + 1):
            ends = active[self.bonus[active] > 0]
            from_symbol = in_symbol[ends] >= in_blank[ends]
            sums = np.maximum(in_symbol[ends], in_blank[ends]) + self.bonus[ends] + after[frame]
            chosen.offer(frame, ends, np.where(from_symbol, symbol_from[ends], blank_from[ends]), sums)
            if frame == len(losses):
                break
            loss = losses[frame]
            is_active = np.zeros(nodes_in_all, bool)
            is_active[active] = True
            nodes = 1 + np.flatnonzero((is_active | is_active[self.parent])[1:])  # and their children
            parents = self.parent[nodes]
            from_parent, parent_blank = in_symbol[parents], in_blank[parents]
            from_parent[self.doubled[nodes]] = NEVER
            entered = np.maximum(from_parent, parent_blank)
            entered_from = np.where(from_parent >= parent_blank, symbol_from[parents], blank_from[parents])
            symbol, stayed = in_symbol[nodes], in_blank[nodes]
            new_symbol = np.maximum(symbol, entered) + loss[self.symbol[nodes]]
            new_blank = np.maximum(symbol, stayed) + loss[blank]
            symbol_origin = np.where(symbol >= entered, symbol_from[nodes], entered_from)
            blank_origin = np.where(symbol >= stayed, symbol_from[nodes], blank_from[nodes])
            limits = self.limit[nodes] + chosen.sums[frame + 1]
            new_symbol[new_symbol < limits] = NEVER
            new_blank[new_blank < limits] = NEVER
            in_symbol[nodes], in_blank[nodes] = new_symbol, new_blank
            symbol_from[nodes], blank_from[nodes] = symbol_origin, blank_origin
            if in_symbol[0] > in_blank[0]:
                in_blank[0], blank_from[0] = in_symbol[0], symbol_from[0]
            in_blank[0] += loss[blank]
            in_symbol[0], symbol_from[0] = before[frame] + chosen.sums[frame + 1], frame
            active = nodes[np.maximum(new_symbol, new_blank) > NEVER]
            if max(in_symbol[0], in_blank[0]) > chosen.sums[frame + 1] - SLACK:
                active = np.append(active, 0)
        return chosen.trace()

    def align(
        self, losses: np.ndarray, spelling: Spelling, before: int, after: int, score: float
    ) -> SpottedTerm:
        """The frames of a spelling between two boundaries."""
        blank = self.vocabulary.blank
        aligned = forced_path(losses[before + 1 : after], spelling.symbols, blank)
        path, frames = aligned.tolist(), np.flatnonzero(aligned != blank)
        start = before + 1
        if self.vocabulary.delimiter_id is not None:
            delimiter = [self.vocabulary.delimiter_id]
            path = delimiter * (before >= 0) + path + delimiter * (after < len(losses))
            start = max(before, 0)
        first, last = before + 1 + frames[0], before + 1 + frames[-1]
        return SpottedTerm(spelling, int(first), int(last), score, start, tuple(path))


class TermSchedule:
    """Terms without overlap whose scores have the largest sum (weighted interval scheduling)."""

    def __init__(self, frames: int):
        self.sums = np.zeros(frames + 2)  # entry f + 1: of terms whose boundary is at frame f or before
        self.last: list[tuple[int, int, float] | None] = [None] * (frames + 2)

    def offer(self, frame: int, nodes: np.ndarray, before: np.ndarray, sums: np.ndarray) -> None:
        """Terms that end at the boundary in `frame`, if any; `sums` include the scores of terms before."""
        self.sums[frame + 1] = self.sums[frame]
        if len(nodes) and sums[best := int(sums.argmax())] > self.sums[frame + 1]:
            score = float(sums[best]) - self.sums[before[best] + 1]
            self.sums[frame + 1] = sums[best]
            self.last[frame + 1] = (int(nodes[best]), int(before[best]), score)

    def trace(self) -> list[tuple[int, int, int, float]]:
        """(node, boundary before, boundary after, score) of the chosen terms, in order."""
        terms, entry = [], len(self.last) - 1
        while entry > 0:
            if (last := self.last[entry]) is None:
                entry -= 1
                continue
            node, before, score = last
            terms.append((node, before, entry - 1, score))
            entry = before + 1
        return terms[::-1]
