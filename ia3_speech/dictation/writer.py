"""Writes dictated words by a grammar, from left to right, each as soon as no later word can change it.

In: words with times. Out: `Piece`s of the written text. At each word one of these applies, else it is written
as it is: a rule of the user's, a name, a command, a number with its unit or behind "blood pressure".

Whatever can be read in two ways stays in words. A number is written only if all number words that stand side
by side are one number (`numbers`), and nothing beside them may belong to it: "one oh five", "two fifty", "at
this point five", "one to two hundred", "vitamin d three thousand" and "twenty um five milligrams" stay.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ia3_speech.decoding.segments import Piece
from ia3_speech.decoding.transcript import Word
from ia3_speech.dictation.grammar import NUMBER, Grammar
from ia3_speech.dictation.numbers import is_number_word, read_number

COMMAND_PAUSE_SECONDS = 0.3  # before and after a word that is a command; none is within a number
SENTENCE_ENDS, MARKS, OPENING = ".?!", ".,;:?!…", "([“/-"
JOINS_LEFT, JOINS_RIGHT = f"{MARKS})]”/-\n", OPENING
BEHIND = 12  # words before a number that are looked at

ARTICLES = ("a", "an", "the", "this", "per", "each", "every")
BEFORE_YEARS = ("in", "since", "until", "before", "after", "from", "by", "of", "during")
NO_PLURALS = ("is", "was", "has", "as", "this", "its", "plus", "us")
SIGNED = ("degree", "degrees", "°C", "°F")
BLOOD_PRESSURES = (("blood", "pressure"), ("bp",), ("b", "p"))
HIGHEST_SYSTOLIC, LOWEST_DIASTOLIC = 350, 20
DURATIONS = ("second", "minute", "hour", "day", "week", "month", "year")


class MoreWords(Exception):
    """What is written depends on words that have not come yet."""


@dataclass(frozen=True)
class Token:
    """What is written of the words up to `end`: a word as it was spoken, a command's mark, or else."""

    text: str
    end: int
    kind: Literal["word", "mark", "written"] = "written"


@dataclass(frozen=True)
class SpokenNumber:
    """A number in standard wording: its digits, how many words it has, and where it ends."""

    digits: str
    length: int
    end: int


Phrases = dict[str, list[tuple[list[str], str]]]  # first word → phrases, what they stand for


def by_first_word(phrases: Mapping[str, str]) -> Phrases:
    """Phrases as they are looked up."""
    table: Phrases = {}
    for phrase in sorted(phrases, key=lambda phrase: -len(phrase.split())):
        table.setdefault(phrase.split()[0], []).append((phrase.split(), phrases[phrase]))
    return table


class Tables:
    """A grammar's phrases, as they are looked up."""

    def __init__(self, grammar: Grammar) -> None:
        self.rules = by_first_word({} if "rules" in grammar.off else grammar.rules)
        names = () if "names" in grammar.off else grammar.names
        self.names = by_first_word({" ".join(name.lower().split()): name for name in names})
        off = "commands" in grammar.off
        self.commands = by_first_word({} if off else grammar.commands)
        self.between_pauses = by_first_word({} if off else grammar.between_pauses)
        symbols = {form: symbol for symbol, forms in grammar.units.items() for form in forms}
        self.symbols = by_first_word(symbols)
        self.units = by_first_word(symbols | {unit: unit for unit in grammar.counted})
        self.no_unit = by_first_word(dict.fromkeys(grammar.no_unit, ""))
        self.connectives = set(grammar.connectives)
        self.not_after, self.labels, self.per = set(grammar.not_after), set(grammar.labels), grammar.per
        self.numbers, self.capitals = "numbers" not in grammar.off, "capitals" not in grammar.off


class DictationWriter:
    """The writer of one text; see `segments.Writer`. Places are numbers of words, of all that were added.

    Attributes:
        words: those that are still looked at; `removed` were before them.
        place: of the next word to be written.
        text, first: of the piece that is not complete yet, and the place of its first word.
        last: the token that was written last.
        capital: whether the next word begins a sentence.
    """

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.words: list[Word] = []
        self.removed = self.place = self.first = 0
        self.text, self.last = "", Token("", 0)
        self.capital, self.ended = True, False

    def __deepcopy__(self, memo: dict) -> "DictationWriter":
        copied = DictationWriter(self.tables)
        vars(copied).update(vars(self) | {"words": [*self.words]})
        return copied

    def add(self, words: Sequence[Word]) -> list[Piece]:
        self.words += words
        return [*self.write()]

    def finish(self) -> list[Piece]:
        self.ended = True
        pieces = [*self.write()]
        return [*pieces, Piece(self.text, self.first, self.place)] if self.text else pieces

    def write(self) -> Iterator[Piece]:
        """The pieces that are complete: one ends where a blank or a line break is written."""
        try:
            while self.place < self.removed + len(self.words):
                token, begins = self.token(self.place), self.place
                text = self.with_capital(token)
                joins = token.kind == "mark" and text[0] in JOINS_LEFT
                joins |= self.last.kind == "mark" and self.last.text[-1] in JOINS_RIGHT
                if joins or not self.text.strip():
                    self.text += text
                else:
                    yield Piece(self.text + ("" if self.text[-1] == "\n" else " "), self.first, begins)
                    self.text, self.first = text, begins
                self.place, self.last = token.end, token
        except MoreWords:
            pass
        spare = max(0, self.place - self.removed - 2 * BEHIND)
        self.words, self.removed = self.words[spare:], self.removed + spare

    def with_capital(self, token: Token) -> str:
        """The token's text, with a capital at the start of a sentence."""
        text = token.text
        if token.kind == "mark":
            self.capital |= text[-1] in f"{SENTENCE_ENDS}\n"
            return text
        begins = text == "i" or text.startswith("i'") or (self.capital and text == text.lower())
        if begins and token.kind == "word" and self.tables.capitals:
            text = text[0].upper() + text[1:]
        self.capital &= not any(letter.isalnum() for letter in text)
        return text

    def token(self, place: int) -> Token:
        """What is written of the word at a place, and of those behind it that belong to it."""
        return (
            self.rule(place)
            or self.command(place)
            or (self.tables.numbers and self.quantity(place))
            or Token(self.as_spoken(place), place + 1, "word")
        )

    # ---- the words

    def as_spoken(self, place: int) -> str:
        """A word; "" before the first and after the last."""
        if place >= self.removed + len(self.words):
            if not self.ended:
                raise MoreWords
            return ""
        return self.words[place - self.removed].text if place >= self.removed else ""

    def at(self, place: int) -> str:
        """A word in lower case. One that a recogniser has punctuated ("five,") is in no phrase and no number."""
        return self.as_spoken(place).lower()

    def is_pause(self, place: int) -> bool:
        """Whether a pause stands before a word; there is one before the first and after the last."""
        if not self.as_spoken(place) or place == 0:
            return True
        before, word = self.words[place - self.removed - 1 : place - self.removed + 1]
        return word.start - before.end >= COMMAND_PAUSE_SECONDS

    def phrase(self, phrases: Phrases, place: int) -> tuple[str, int] | None:
        """What the longest phrase that begins at a place stands for, and where it ends."""
        for words, meaning in phrases.get(self.at(place), ()):
            if all(self.at(place + number) == word for number, word in enumerate(words)):
                return meaning, place + len(words)
        return None

    # ---- rules, names, commands

    def rule(self, place: int) -> Token | None:
        """A rule of the user's, or a name."""
        begins = (self.at(place), NUMBER) if self.number(place) else (self.at(place),)
        for words, written in (rule for first in begins for rule in self.tables.rules.get(first, ())):
            end, digits = place, []
            for word in words:
                number = self.number(end) if word == NUMBER else None
                if not number and self.at(end) != word:
                    break
                digits += [number.digits] if number else []
                end = number.end if number else end + 1
            else:
                for number in digits:
                    written = written.replace(NUMBER, number, 1)
                return Token(written, end)
        name = self.phrase(self.tables.names, place)
        return Token(*name) if name else None

    def command(self, place: int) -> Token | None:
        """Spoken punctuation, where it can be nothing else and a mark may stand."""
        found = self.phrase(self.tables.commands, place)
        if found and self.at(place - 1) in self.tables.not_after:
            return None
        if not found and self.tables.between_pauses.get(self.at(place)) and self.is_pause(place):
            found = self.phrase(self.tables.between_pauses, place)
            found = found if found and self.is_pause(found[1]) else None
        if not found:
            return None
        mark, end = found
        last = self.last.text[-1:]
        needs_word = mark[0] in JOINS_LEFT and mark[0] != "\n"  # or a bracket: not ". colon"
        if needs_word and (last in ("", "\n", *OPENING) or (last in MARKS and mark[0] not in ")]”")):
            return None
        return Token(mark, end, "mark")

    # ---- numbers

    def number(self, place: int) -> SpokenNumber | None:
        """The number that begins at a place, if all number words that stand there are one number. An "and"
        behind it that joins no number is left."""
        if not is_number_word(self.at(place)) or is_number_word(self.at(place - 1)):
            return None
        end = place + 1
        while is_number_word(self.at(end)):
            end += 1
        end -= self.at(end - 1) == "and"
        words = [self.at(number) for number in range(place, end)]
        digits = read_number(words) if words else None
        if digits is None or any(self.is_pause(number) for number in range(place + 1, end)):
            return None
        return SpokenNumber(digits, len(words), end)

    def quantity(self, place: int) -> Token | None:
        """A number with its unit, perhaps minus degrees, or a blood pressure."""
        signed = self.at(place) == "minus"
        number = self.number(place + signed)
        if not number or self.may_belong_to(place, number):
            return None
        if not signed and self.at(number.end) == "over" and self.is_behind_blood_pressure(place):
            return self.blood_pressure(place, number)
        unit = self.unit(number.end)
        if not unit or (signed and (unit[0] not in SIGNED or self.at(place - 1) in self.tables.connectives)):
            return None
        symbol, end = unit
        if self.may_be_several(place, number, end):
            return None
        return Token(f"{'-' * signed}{number.digits}{'' if symbol == '%' else ' '}{symbol}", end)

    def may_belong_to(self, place: int, number: SpokenNumber) -> bool:
        """Whether what stands before a number, with its sign, may belong to it, or it to that."""
        before = self.at(place - 1)
        if before in ("minus", "hyphen") or is_number_word(before):
            return True
        if before in self.tables.labels and self.at(place - 2) not in ARTICLES:
            return True
        if len(before) == 1 and before.isalpha() and before != "a":
            return not self.is_behind_blood_pressure(place)  # a code: "vitamin b twelve micrograms"
        if number.length > 2 and number.digits.startswith("2,0") and before in BEFORE_YEARS:
            return True  # "in two thousand five milligrams were given"
        for connected in range(place - 1, place - BEHIND, -1):
            word = self.at(connected)
            if word not in self.tables.connectives and (not word or any(map(str.isalnum, word))):
                return is_number_word(word)
        return True

    def unit(self, place: int) -> tuple[str, int] | None:
        """The unit at a place as it is written, with what it is for each of, and where it ends."""
        if self.phrase(self.tables.no_unit, place):
            return None
        unit = self.phrase(self.tables.units, place)
        if not unit:
            return None
        symbol, end = unit
        is_symbol = symbol.isalpha() and self.phrase(self.tables.symbols, place)
        while is_symbol and self.at(end) == "per" and self.at(end + 1) in self.tables.per:
            symbol, end = f"{symbol}/{self.tables.per[self.at(end + 1)]}", end + 2
        return symbol, end

    def may_be_several(self, place: int, number: SpokenNumber, end: int) -> bool:
        """Whether the first words of a number may count things: "thirty five milligram tablets"."""
        is_plural = self.at(end - 1)[-1] == "s" or self.at(number.end) == "percent"
        if number.length == 1 or is_plural or self.at(place - 1) in ("a", "an"):
            return False
        return any(
            word[-1:] == "s" and word[-2:] != "ss" and word not in NO_PLURALS
            for word in (self.at(end), self.at(end + 1))
        )

    def is_behind_blood_pressure(self, place: int) -> bool:
        place -= self.at(place - 1) in ("is", "was", "of")
        return any(
            tuple(self.at(number) for number in range(place - len(words), place)) == words
            for words in BLOOD_PRESSURES
        )

    def blood_pressure(self, place: int, systolic: SpokenNumber) -> Token | None:
        """Two numbers behind "blood pressure", unless they are a rate: "one hundred over sixty minutes"."""
        diastolic = self.number(systolic.end + 1)
        if not diastolic or not (systolic.digits + diastolic.digits).isdecimal():
            return None
        if not LOWEST_DIASTOLIC <= int(diastolic.digits) < int(systolic.digits) <= HIGHEST_SYSTOLIC:
            return None
        end, written = diastolic.end, f"{systolic.digits}/{diastolic.digits}"
        if unit := self.unit(end):
            if unit[0] != "mmHg":
                return None
            end, written = unit[1], f"{written} mmHg"
        following = self.at(end)
        if following.removesuffix("s") in DURATIONS or following == "minus":
            return None
        if following in ("over", "to", "or", "by", "hyphen", "dash", "slash") and is_number_word(
            self.at(end + 1)
        ):
            return None
        return Token(written, end)
