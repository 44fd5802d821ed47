"""Hot-word files: the terms that a user wants recognised, how strongly, and how they are heard.

In: a file with a term a line, after TABs perhaps a weight, perhaps forms in which it is heard:

    atrial fibrillation
    Deximet<TAB>1.5<TAB>dexa medi<TAB>dixie met
    X-ray<TAB><TAB>ex ray

Out: `HotwordList`, and the spellings of its terms in a base's symbols. A term appears in transcripts as the
file writes it. Empty lines and lines that begin with `# ` are comments. `ia3-speech hotwords learn` writes
such files.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ia3_speech.cli import UserError
from ia3_speech.data.kaldi.table_file import read_utf8
from ia3_speech.data.numbers_in_words import needs_words, verbalize_numbers
from ia3_speech.data.text import SubwordVocabulary, TextError, Vocabulary, normalize
from ia3_speech.formatting import plural
from ia3_speech.lm.hotword_spotting import Spelling

HOTWORD_WEIGHT = 2.0  # nats for each character that counts; scripts/bench_hotwords.md shows what others do
UNCOUNTED = 4  # characters: most words of so few have neighbours in every text (left, leg; heady, head)
SHORT_SHARE = 0.2  # of a short term's characters count nevertheless
PIECE = 0.5  # what a word piece counts
COMMENT = "# "  # "#hashtag" is a term
MISSING_HINT = "give a file with a term a line; ia3-speech hotwords learn makes one"
DASHES = dict.fromkeys(map(ord, "-‐‑–"))  # in a word: spoken as one word or as two


class HotwordError(UserError):
    """A hot-word file that cannot be used. The message names file and line."""


@dataclass(frozen=True)
class Hotword:
    """A term.

    Attributes:
        text: as it appears in transcripts.
        weight: factor of --hotword-weight: 2 takes the term on half the evidence, 0 never takes it.
        heard_as: further forms that are written as `text` where they are recognised.
        line: in its file, from 1; 0: of no file.
    """

    text: str
    weight: float = 1.0
    heard_as: tuple[str, ...] = ()
    line: int = 0

    def row(self) -> str:
        """Its line in a file, without the line's end."""
        cells = [self.text, "" if self.weight == 1 else f"{self.weight:g}", *self.heard_as]
        return "\t".join(cells).rstrip("\t")


@dataclass(frozen=True)
class HotwordList:
    """The terms of a file.

    Attributes:
        path: of the file.
        terms: each once.
    """

    path: Path
    terms: list[Hotword]

    def __len__(self) -> int:
        return len(self.terms)


def read_hotwords(path: Path) -> HotwordList:
    """Read a hot-word file. A term that stands on several lines has the forms of all of them.

    Raises:
        HotwordError: the file holds no term, or a line no term, a negative weight, or a weight other than
            that of an earlier line of the term; the file cannot be read.
    """
    found: dict[str, Hotword] = {}
    for number, line in enumerate(read_utf8(path, MISSING_HINT).lstrip("\ufeff").split("\n"), 1):
        if not line.strip() or line.startswith(COMMENT):
            continue
        one = parse_line(line, f"{path}:{number}", number)
        known = found.get(one.text)
        if known and known.weight != one.weight:
            raise HotwordError(
                f"{path}:{number}: {one.text!r} has the weight {one.weight:g}, and {known.weight:g} in line "
                f"{known.line}"
            )
        forms = dict.fromkeys((known.heard_as if known else ()) + one.heard_as)
        found[one.text] = replace(known or one, heard_as=tuple(forms))
    if not found:
        raise HotwordError(f"{path}: holds no term (a line each; after TABs a weight, and how it is heard)")
    return HotwordList(path, [*found.values()])


def parse_line(line: str, place: str, number: int) -> Hotword:
    """A term, its weight where the second field is a number or empty, and its forms.

    Raises:
        HotwordError: there is no term, or the weight is negative or not finite.
    """
    text, *cells = (" ".join(cell.split()) for cell in line.split("\t"))
    if not text:
        raise HotwordError(f"{place}: no term before the TAB")
    weight = 1.0
    if cells:
        try:
            weight = float(cells[0] or 1)
            del cells[0]
        except ValueError:
            pass  # a form: the weight is left out
    if not 0 <= weight < math.inf:
        raise HotwordError(
            f"{place}: the weight of {text!r} is {weight:g} (1 is the default, 0 never takes it)"
        )
    return Hotword(text, weight, tuple(filter(None, cells)), number)


def format_hotwords(terms: Iterable[Hotword], comments: Iterable[str] = ()) -> str:
    """The text of a hot-word file, comments first."""
    return "".join(
        f"{line}\n" for line in [*(COMMENT + line for line in comments), *(t.row() for t in terms)]
    )


# ---- spellings


def spellings(hotwords: HotwordList, vocabulary: Vocabulary, weight: float) -> list[Spelling]:
    """The spellings of all terms, by their number in the list.

    Args:
        weight: nats for each character that counts, of a term whose own weight is 1.

    Raises:
        HotwordError: the base cannot write a term or a form; or two terms have a spelling in common.
    """
    found: list[Spelling] = []
    owner: dict[tuple[int, ...], int] = {}
    for number, term in enumerate(hotwords.terms):
        place = f"{hotwords.path}:{term.line}"
        for form in (term.text, *term.heard_as):
            for symbols in symbols_of(form, vocabulary, place):
                other = owner.setdefault(symbols, number)
                if other != number:
                    owned = hotwords.terms[other]
                    raise HotwordError(
                        f"{place}: {form!r} is also a spelling of {owned.text!r} in line {owned.line} "
                        f"(it belongs to one term; the categories of score's term lists have no place here)"
                    )
                bonus = weight * term.weight * counted_characters(symbols, vocabulary)
                found.append(Spelling(number, symbols, bonus))
    return found


def counted_characters(symbols: tuple[int, ...], vocabulary: Vocabulary) -> float:
    """How many characters of a spelling its bonus is for: those beyond the fourth, or a fifth of all where
    that is more. A bonus for each character, as in the paper, lets short terms replace ordinary words, of
    which they differ by little. A word piece counts half, for a wrong one costs as much as a wrong letter.

    >>> counted_characters(vocabulary.encode("metformin"), vocabulary)
    5
    """
    if isinstance(vocabulary, SubwordVocabulary):
        return PIECE * len(symbols)
    return max(len(symbols) - UNCOUNTED, SHORT_SHARE * len(symbols))


def symbols_of(form: str, vocabulary: Vocabulary, place: str) -> list[tuple[int, ...]]:
    """The ways in which a base writes a form: as training normalises it, hyphens as spaces and left out, and
    as it stands where the base tells capitals from small letters.

    Raises:
        HotwordError: it cannot write the form.
    """
    spoken = verbalize_numbers(form) if needs_words(vocabulary.letters) else form
    ways = [normalize(spoken), normalize(spoken.translate(DASHES))]
    ways += [form] if vocabulary.cased == "mixed" else []
    found: dict[tuple[int, ...], None] = {}
    problem = f"nothing is left of {form!r} once normalised"
    for way in filter(None, ways):
        try:
            found[tuple(vocabulary.encode(way))] = None
        except TextError:
            problem = f"the base cannot write {' '.join(vocabulary.missing([way])) or way} in {form!r}"
    found.pop((), None)
    if not found:
        raise HotwordError(f"{place}: {problem} (write it in words, as it is spoken)")
    return [*found]


def unused_message(hotwords: HotwordList, counts: Iterable[int]) -> str | None:
    """What is said at the end where no term of a list was ever found."""
    if any(counts):
        return None
    return f"{hotwords.path}: none of its {plural(len(hotwords), 'term')} was found in this audio"
