"""Hot words: a search that writes the terms of a user's file.

A term on each line; after TABs perhaps a weight, and perhaps forms in which it is heard:

    atrial fibrillation
    Deximet<TAB>1.5<TAB>dexa medi<TAB>dixie met
    X-ray<TAB><TAB>ex ray

Empty lines and lines that begin with `# ` are comments. In the frames of a spotted term (hotword_spotting.py)
the inner search, greedy or beam, can choose only the term's symbols, so a language model has the term as
context; the term is then written as in the file.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ia3_speech.common.errors import TextError, UserError
from ia3_speech.common.formatting import plural
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.data.numbers_in_words import needs_words, verbalize_numbers
from ia3_speech.data.text import Vocabulary, normalize
from ia3_speech.decoding.hotword_spotting import Spelling, SpottedTerm, Spotter
from ia3_speech.model.hypotheses import Hypothesis, Logits, Search, TimedWord

HOTWORD_WEIGHT = 2.0  # nats for each character that counts; scripts/bench_hotwords.md compares weights
UNCOUNTED = 4  # characters: most words of so few have neighbours in every text (left, leg; heady, head)
SHORT_SHARE = 0.2  # share of a short term's characters that count nevertheless
PIECE = 0.5  # count of a word piece, since a wrong piece costs as much as a wrong letter
FORCED = -100.0  # logit of the symbols that a forced term excludes
COMMENT = "# "  # "#hashtag" is a term
MISSING_HINT = "give a file with a term on each line; ia3-speech hotwords learn writes such a file"
DASHES = dict.fromkeys(map(ord, "-‐‑–"))  # in a word: spoken as one word or as two


@dataclass(frozen=True)
class Hotword:
    """A term."""

    text: str  # the form in transcripts
    weight: float = 1.0  # factor of --hotword-weight: 2 takes the term on half the evidence, 0 never takes it
    heard_as: tuple[str, ...] = ()  # more forms; if they are recognised, `text` is written
    path: Path | None = None  # the term's file, if it has one
    line: int = 0  # in the file, from 1

    def row(self) -> str:
        """The term's line in a file, without the line's end."""
        cells = [self.text, "" if self.weight == 1 else f"{self.weight:g}", *self.heard_as]
        return "\t".join(cells).rstrip("\t")


def read_hotwords(path: Path) -> list[Hotword]:
    """The terms of a hot-word file, each once: a term on several lines has the forms of all lines. Raises
    UserError if the file cannot be read or contains no term, or a line has no term, a negative weight, or
    another weight than an earlier line of the term."""
    terms: dict[str, Hotword] = {}
    for number, line in enumerate(read_utf8(path, MISSING_HINT).split("\n"), 1):
        if not line.strip() or line.startswith(COMMENT):
            continue
        term = parse_line(line, path, number)
        earlier = terms.get(term.text, term)
        if earlier.weight != term.weight:
            raise UserError(
                f"{path}:{number}: {term.text!r} has the weight {term.weight:g}, and {earlier.weight:g} in "
                f"line {earlier.line}"
            )
        terms[term.text] = replace(earlier, heard_as=tuple(dict.fromkeys(earlier.heard_as + term.heard_as)))
    if not terms:
        raise UserError(
            f"{path}: contains no term (one term a line; after TABs a weight, and heard-as forms)"
        )
    return [*terms.values()]


def parse_line(line: str, path: Path, number: int) -> Hotword:
    """A term, its weight, if the second field is a number or empty, and its forms."""
    text, *cells = (" ".join(cell.split()) for cell in line.split("\t"))
    if not text:
        raise UserError(f"{path}:{number}: no term before the TAB")
    weight = 1.0
    with suppress(IndexError, ValueError):  # no more fields, or a form: there is no weight
        weight = float(cells[0] or 1)
        del cells[0]
    if not 0 <= weight < math.inf:
        hint = "1 is the default, 0 never takes it"
        raise UserError(f"{path}:{number}: the weight of {text!r} is {weight:g} ({hint})")
    return Hotword(text, weight, tuple(filter(None, cells)), path, number)


def spellings(hotwords: Sequence[Hotword], vocabulary: Vocabulary, weight: float) -> list[Spelling]:
    """The spellings of all terms, which refer to a term by its number; `weight` is as for `HotwordSearch`.
    Raises UserError if the base cannot write a term or a form, or two terms share a spelling."""
    result: list[Spelling] = []
    owner: dict[tuple[int, ...], int] = {}
    for number, term in enumerate(hotwords):
        place = f"{term.path}:{term.line}"
        as_written = tuple(vocabulary.encode(term.text, drop_unknown=True))
        for form in (term.text, *term.heard_as):
            for symbols in symbols_of(form, vocabulary, place):
                if (other := owner.setdefault(symbols, number)) != number:
                    raise UserError(
                        f"{place}: {form!r} is also a spelling of {hotwords[other].text!r} in line "
                        f"{hotwords[other].line} (it belongs to one term; the categories of score's term "
                        f"lists have no place here)"
                    )
                bonus = weight * term.weight * counted_characters(symbols, vocabulary)
                result.append(Spelling(number, symbols, bonus, symbols == as_written))
    return result


def usable(terms: Iterable[Hotword], vocabulary: Vocabulary) -> list[Hotword]:
    """The terms that the base can write, except terms spelled like an earlier term."""
    chosen, taken = [], set()
    for term in terms:
        with suppress(UserError):
            written = {spelling.symbols for spelling in spellings([term], vocabulary, 1.0)}
            chosen += [] if written & taken else [term]
            taken |= written
    return chosen


def counted_characters(symbols: Sequence[int], vocabulary: Vocabulary) -> float:
    """The number of characters with a bonus; if all had it, short terms would replace similar words."""
    if vocabulary.writes_pieces:
        return PIECE * len(symbols)
    return max(len(symbols) - UNCOUNTED, SHORT_SHARE * len(symbols))


def symbols_of(form: str, vocabulary: Vocabulary, place: str) -> list[tuple[int, ...]]:
    """The spellings of a form: normalised, with hyphens as spaces and without them; and perhaps unchanged."""
    spoken = verbalize_numbers(form) if needs_words(vocabulary.letters) else form
    ways = [normalize(spoken), normalize(spoken.translate(DASHES))]
    ways += [form] if vocabulary.cased == "mixed" else []
    encoded: dict[tuple[int, ...], None] = {}
    problem = f"nothing is left of {form!r} once normalised"
    for way in filter(None, ways):
        try:
            encoded[tuple(vocabulary.encode(way))] = None
        except TextError:
            problem = f"the base cannot write {' '.join(vocabulary.missing([way])) or way} in {form!r}"
    encoded.pop((), None)
    if not encoded:
        raise UserError(f"{place}: {problem} (write it in words, as it is spoken)")
    return [*encoded]


class HotwordSearch:
    """A search that writes hot words, around another search; `weight` is the bonus in nats for each character
    that counts, None: `HOTWORD_WEIGHT`. Raises UserError if the base cannot write a term."""

    def __init__(
        self, hotwords: Sequence[Hotword], weight: float | None, vocabulary: Vocabulary, search: Search
    ):
        self.hotwords, self.weight = hotwords, HOTWORD_WEIGHT if weight is None else weight
        self.spotter = Spotter(spellings(hotwords, vocabulary, self.weight), vocabulary)
        self.search = search
        self.counts = [0] * len(hotwords)  # recognised occurrences of each term

    def __call__(self, logits: Logits) -> Hypothesis:
        """See `hypotheses.Search`."""
        if spotted := self.spotter.spot(logits):
            logits = np.array(logits, dtype=np.float32)
            force_terms(logits, spotted)
        hypothesis = self.search(logits)
        for term in spotted:
            self.counts[term.spelling.term] += 1
        return replace(hypothesis, words=merge_terms(hypothesis.words, spotted, self.hotwords))

    def unused(self) -> str | None:
        """A note for the end of a run that recognised no term; else None."""
        if any(self.counts):
            return None
        path, count = self.hotwords[0].path, plural(len(self.counts), "term")
        return f"{path}: none of its {count} was recognised in this audio"


def force_terms(logits: np.ndarray, spotted: Sequence[SpottedTerm]) -> None:
    """Let the frames of spotted terms, in (frames, vocabulary) logits, allow only the terms' symbols."""
    for term in spotted:
        frames = np.arange(term.start, term.start + len(term.path))
        logits[frames] = FORCED
        logits[frames, list(term.path)] = 0.0


def merge_terms(
    words: Sequence[TimedWord], spotted: Sequence[SpottedTerm], hotwords: Sequence[Hotword]
) -> tuple[TimedWord, ...]:
    """The words in order; each spotted term, as its file writes it, replaces words whose middle it holds."""
    middles = [(word.first + word.last) / 2 for word in words]
    replaced = [any(term.first <= middle <= term.last for term in spotted) for middle in middles]
    merged = [word for word, is_in_term in zip(words, replaced, strict=True) if not is_in_term]
    for term in spotted:
        # If a term is written differently than it was heard ("B12"), no alignment of its text finds its times
        # and confidence: exp(score) are the odds of the term against the best path in these frames.
        confidence = None if term.spelling.as_written else 1 / (1 + math.exp(-term.score))
        text = hotwords[term.spelling.term].text
        merged.append(TimedWord(text, term.first, term.last, confidence))
    return tuple(sorted(merged, key=lambda word: word.first))
