"""Hot words: the file of terms that a user wants recognised, and a search that writes them.

In: a file with a term a line, after TABs perhaps a weight, perhaps forms in which it is heard:

    atrial fibrillation
    Deximet<TAB>1.5<TAB>dexa medi<TAB>dixie met
    X-ray<TAB><TAB>ex ray

Out: a `HotwordSearch` around greedy or beam search. Where a term is spotted (hotword_spotting.py), the inner
search is given no other choice than the term's symbols, so that a language model has the term as context; the
term is then written as the file has it. Empty lines and lines that begin with `# ` are comments.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.data.numbers_in_words import needs_words, verbalize_numbers
from ia3_speech.data.text import Vocabulary, normalize
from ia3_speech.errors import TextError, UserError
from ia3_speech.formatting import plural
from ia3_speech.lm.hotword_spotting import Spelling, SpottedTerm, Spotter
from ia3_speech.model.hypotheses import Hypothesis, Logits, Search, TimedWord

HOTWORD_WEIGHT = 2.0  # nats for each character that counts; scripts/bench_hotwords.md shows what others do
UNCOUNTED = 4  # characters: most words of so few have neighbours in every text (left, leg; heady, head)
SHORT_SHARE = 0.2  # of a short term's characters count nevertheless
PIECE = 0.5  # what a word piece counts
FORCED = -100.0  # logit of what a forced term rules out
COMMENT = "# "  # "#hashtag" is a term
MISSING_HINT = "give a file with a term a line; ia3-speech hotwords learn makes one"
DASHES = dict.fromkeys(map(ord, "-‐‑–"))  # in a word: spoken as one word or as two


@dataclass(frozen=True)
class Hotword:
    """A term."""

    text: str  # as it appears in transcripts
    weight: float = 1.0  # factor of --hotword-weight: 2 takes the term on half the evidence, 0 never takes it
    heard_as: tuple[str, ...] = ()  # further forms that are written as `text` where they are recognised
    path: Path | None = None  # its file; None: of no file
    line: int = 0  # in its file, from 1

    def row(self) -> str:
        """Its line in a file, without the line's end."""
        cells = [self.text, "" if self.weight == 1 else f"{self.weight:g}", *self.heard_as]
        return "\t".join(cells).rstrip("\t")


def read_hotwords(path: Path) -> list[Hotword]:
    """The terms of a hot-word file, each once: a term on several lines has the forms of all of them. Raises
    UserError where the file holds no term, or a line no term, a negative weight, or a weight other than that
    of an earlier line of the term; the file cannot be read."""
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
        raise UserError(f"{path}: holds no term (a line each; after TABs a weight, and how it is heard)")
    return [*terms.values()]


def parse_line(line: str, path: Path, number: int) -> Hotword:
    """A term, its weight where the second field is a number or empty, and its forms."""
    text, *cells = (" ".join(cell.split()) for cell in line.split("\t"))
    if not text:
        raise UserError(f"{path}:{number}: no term before the TAB")
    weight = 1.0
    with suppress(IndexError, ValueError):  # nothing else, or a form: the weight is left out
        weight = float(cells[0] or 1)
        del cells[0]
    if not 0 <= weight < math.inf:
        hint = "1 is the default, 0 never takes it"
        raise UserError(f"{path}:{number}: the weight of {text!r} is {weight:g} ({hint})")
    return Hotword(text, weight, tuple(filter(None, cells)), path, number)


# ---- spellings


def spellings(hotwords: Sequence[Hotword], vocabulary: Vocabulary, weight: float) -> list[Spelling]:
    """The spellings of all terms, by their number in the list; `weight` is as for `HotwordSearch`. Raises
    UserError where the base cannot write a term or a form, or two terms have a spelling in common."""
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
    """Without the terms that the base can't write, and those that are spelled as an earlier one."""
    chosen, taken = [], set()
    for term in terms:
        with suppress(UserError):
            written = {spelling.symbols for spelling in spellings([term], vocabulary, 1.0)}
            chosen += [] if written & taken else [term]
            taken |= written
    return chosen


def counted_characters(symbols: Sequence[int], vocabulary: Vocabulary) -> float:
    """The number of characters that earn a bonus: those beyond the fourth, or a fifth of all if that is more.
    With a bonus for each character, as in the paper, short terms replace similar ordinary words. A word piece
    counts half, since a wrong piece costs as much as a wrong letter."""
    if vocabulary.writes_pieces:
        return PIECE * len(symbols)
    return max(len(symbols) - UNCOUNTED, SHORT_SHARE * len(symbols))


def symbols_of(form: str, vocabulary: Vocabulary, place: str) -> list[tuple[int, ...]]:
    """The ways in which a base writes a form: as training normalises it, hyphens as spaces and left out, and
    as it stands where the base tells capitals from small letters."""
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


# ---- search


class HotwordSearch:
    """A search that writes hot words, around another; `weight` is the bonus in nats for each character that
    counts. Raises UserError where the base cannot write a term."""

    def __init__(self, hotwords: Sequence[Hotword], weight: float, vocabulary: Vocabulary, search: Search):
        self.hotwords = hotwords
        self.spotter = Spotter(spellings(hotwords, vocabulary, weight), vocabulary)
        self.search = search
        self.counts = [0] * len(hotwords)  # how often each term was found so far, by its number

    def __call__(self, logits: Logits) -> Hypothesis:
        """See `hypotheses.Search`."""
        spotted = self.spotter.spot(logits)
        if spotted:
            logits = np.array(logits, dtype=np.float32)
            force_terms(logits, spotted)
        hypothesis = self.search(logits)
        for term in spotted:
            self.counts[term.spelling.term] += 1
        return replace(hypothesis, words=merge_terms(hypothesis.words, spotted, self.hotwords))

    def unused(self) -> str | None:
        """A note for the end of a run in which no term was recognised; else None."""
        if any(self.counts):
            return None
        path, count = self.hotwords[0].path, plural(len(self.counts), "term")
        return f"{path}: none of its {count} was found in this audio"


def force_terms(logits: np.ndarray, spotted: Sequence[SpottedTerm]) -> None:
    """Let the frames of spotted terms, in (frames, vocabulary) logits, allow nothing else."""
    for term in spotted:
        frames = np.arange(term.start, term.start + len(term.path))
        logits[frames] = FORCED
        logits[frames, list(term.path)] = 0.0


def merge_terms(
    words: Sequence[TimedWord], spotted: Sequence[SpottedTerm], hotwords: Sequence[Hotword]
) -> tuple[TimedWord, ...]:
    """Words of a search of forced logits, in order, where each spotted term stands as its file writes it, in
    place of the words whose middle is within it."""
    merged = [
        word
        for word in words
        if not any(term.first <= (word.first + word.last) / 2 <= term.last for term in spotted)
    ]
    for term in spotted:
        # Where a term is written unlike it was heard ("B12"), no alignment of its text finds its times and
        # confidence: exp(score) are the odds of the term against what the base prefers in these frames.
        confidence = None if term.spelling.as_written else 1 / (1 + math.exp(-term.score))
        text = hotwords[term.spelling.term].text
        merged.append(TimedWord(text, term.first, term.last, confidence))
    return tuple(sorted(merged, key=lambda word: word.first))
