"""Writes dictated words by a grammar, from left to right, each as soon as no later word can change it.

At each word the first match applies: a rule of the user, a name, a command, a number with its unit or after
"blood pressure"; else the word itself.

Ambiguous words stay words. Digits are written only if all adjacent number words are one number in standard
wording ("two hundred and fifty", "nought point five"), and no word beside them may belong to it: "one oh
five", "two fifty", "at this point five", "one to two hundred", "vitamin d three thousand" and "twenty um five
milligrams" stay. Digits follow ISMP's list of error-prone dose designations: 1,000; never .5 or 1.0.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from ia3_speech.data.numbers_in_words import num2words
from ia3_speech.decoding.segments import Piece, written_text
from ia3_speech.decoding.transcript import Word
from ia3_speech.dictation.grammar import NUMBER, Grammar

COMMAND_PAUSE_SECONDS = 0.3  # before and after a command; a number has no such pause in it
SENTENCE_ENDS, MARKS, OPENING = ".?!", ".,;:?!…", "([“/-"
JOINS_LEFT, JOINS_RIGHT = f"{MARKS})]”/-\n", OPENING
MAX_CONNECTIVES = 12  # words before a number that are searched for another number

ARTICLES = ("a", "an", "the", "this", "per", "each", "every")
BEFORE_YEARS = ("in", "since", "until", "before", "after", "from", "by", "of", "during")
NO_PLURALS = ("is", "was", "has", "as", "this", "its", "plus", "us")
FRACTIONS = {"half", "third", "thirds", "quarter", "quarters"}
SIGNED = ("degree", "degrees", "°C", "°F")
MAX_SYSTOLIC, MIN_DIASTOLIC = 350, 20
DURATIONS = ("second", "minute", "hour", "day", "week", "month", "year")

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
         "nineteen")  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
BELOW_HUNDRED = {word: value for value, word in enumerate((*DIGITS, *TEENS))}
BELOW_HUNDRED |= {word: value for value, word in zip(range(20, 100, 10), TENS, strict=True)}
SCALES = {"million": 10**6, "thousand": 10**3}
# Words that change a number beside them, or may be a part of a number.
NUMBER_WORDS = {
    *BELOW_HUNDRED, *SCALES, "hundred", "billion", "trillion", "nought", "naught", "oh", "o", "nil", "and",
    "point", "dot", "decimal", "double", "triple", "treble", "half", "halve", "quarter", "dozen", "couple",
    *("first", "second", "third", "fifth", "eighth", "ninth", "twelfth", "billionth"),
    *(f"{word}th" for word in (*DIGITS, *TEENS, "hundred", *SCALES)), *(f"{word[:-1]}ieth" for word in TENS),
}  # fmt: skip


class MoreWords(Exception):
    """The written text depends on words that have not come yet."""


@dataclass(frozen=True)
class Token:
    """The written form of the words up to `end`: a word as it was spoken, a command's mark, or other text."""

    text: str
    end: int
    kind: Literal["word", "mark", "written"] = "written"


Phrases = list[tuple[list[str], str]]  # words, and their written form; the longest first


def longest_first(phrases: Mapping[str, str]) -> Phrases:
    return sorted(((phrase.split(), phrases[phrase]) for phrase in phrases), key=lambda item: -len(item[0]))


class Dictation:
    """The post-processor of a grammar, with its phrases in the order of the search."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.rules = longest_first(grammar.rules)
        self.names = longest_first({name.lower(): name for name in grammar.names})
        self.commands = longest_first(grammar.commands)
        self.between_pauses = longest_first(grammar.between_pauses)
        symbols = {form: symbol for symbol, forms in grammar.units.items() for form in forms}
        self.units = longest_first(symbols | {word: word for word in grammar.counted})
        self.no_unit = longest_first(dict.fromkeys(grammar.no_unit, ""))

    def start(self) -> "DictationWriter":
        return DictationWriter(self)

    def write(self, text: str) -> str:
        """The written form of a text without times: only the pauses around it are known."""
        return written_text([Word(word, 0.0, 0.0, 1.0) for word in text.split()], self)


class DictationWriter:
    """The writer of one text; see `segments.Writer`. Places are numbers of words."""

    def __init__(self, dictation: Dictation) -> None:
        self.dictation = dictation
        self.words: tuple[Word, ...] = ()  # a tuple, so that a shallow copy of the writer is independent
        self.place = 0  # of the next word to be written
        self.text, self.first = "", 0  # the incomplete piece, and the place of its first word
        self.last = Token("", 0)  # that was written
        self.capital, self.ended = True, False  # whether the next word begins a sentence; whether all came

    def add(self, words: Sequence[Word]) -> list[Piece]:
        self.words = (*self.words, *words)
        return [*self.write()]

    def finish(self) -> list[Piece]:
        self.ended = True
        pieces = [*self.write()]
        return [*pieces, Piece(self.text, self.first, self.place)] if self.text else pieces

    def write(self) -> Iterator[Piece]:
        """The complete pieces. A piece ends at a blank or a line break."""
        with suppress(MoreWords):
            while self.place < len(self.words):
                begins = self.place
                token = self.rule(begins) or self.command(begins) or self.quantity(begins)
                token = token or Token(self.as_spoken(begins), begins + 1, "word")
                text = token.text
                if token.kind == "mark":
                    self.capital |= text[-1] in f"{SENTENCE_ENDS}\n"
                else:  # a capital at the start of a sentence
                    if self.capital and token.kind == "word" and text == text.lower():
                        text = text[0].upper() + text[1:]
                    self.capital &= not any(letter.isalnum() for letter in text)
                joins = token.kind == "mark" and text[0] in JOINS_LEFT
                joins |= self.last.kind == "mark" and self.last.text[-1] in JOINS_RIGHT
                if joins or not self.text:
                    self.text += text
                else:
                    yield Piece(self.text + ("" if self.text[-1] == "\n" else " "), self.first, begins)
                    self.text, self.first = text, begins
                self.place, self.last = token.end, token

    def as_spoken(self, place: int) -> str:
        """A word; "" before the first word and after the last."""
        if place >= len(self.words) and not self.ended:
            raise MoreWords
        return self.words[place].text if 0 <= place < len(self.words) else ""

    def at(self, place: int) -> str:
        """A word in lower case. A word with punctuation ("five,") belongs to no phrase."""
        return self.as_spoken(place).lower()

    def is_pause(self, place: int) -> bool:
        """Whether there is a pause before a word; also before the first word and after the last."""
        if not self.as_spoken(place) or place == 0:
            return True
        before, word = self.words[place - 1 : place + 1]
        return word.start - before.end >= COMMAND_PAUSE_SECONDS

    def phrase(self, phrases: Phrases, place: int) -> tuple[str, int] | None:
        """The written form of the longest phrase that begins at a place, and the phrase's end."""
        for words, written in phrases:
            end = place
            for word in words:
                number = self.number(end) if word == NUMBER else None
                if number and (end > place or not self.may_belong_to(place, *number)):
                    digits, end = number
                    written = written.replace(NUMBER, digits, 1)
                elif self.at(end) == word:
                    end += 1
                else:
                    break
            else:
                return written, end
        return None

    def rule(self, place: int) -> Token | None:
        """The user's rule, or the name, at a place."""
        match = self.phrase(self.dictation.rules, place) or self.phrase(self.dictation.names, place)
        return match and Token(*match)

    def command(self, place: int) -> Token | None:
        """Spoken punctuation, where it is unambiguous and a mark is possible."""
        command = self.phrase(self.dictation.commands, place)
        if command and self.at(place - 1) in self.dictation.grammar.not_after:
            return None
        if not command and self.is_pause(place):
            command = self.phrase(self.dictation.between_pauses, place)
            command = command if command and self.is_pause(command[1]) else None
        if not command:
            return None
        mark, end = command
        last = self.last.text[-1:]
        needs_word = mark[0] in JOINS_LEFT and mark[0] != "\n"  # or a bracket: not ". colon"
        if needs_word and (last in ("", "\n", *OPENING) or (last in MARKS and mark[0] not in ")]”")):
            return None
        return Token(mark, end, "mark")

    def number(self, place: int) -> tuple[str, int] | None:
        """The digits of the number that begins at a place, and its end, if all number words there form one
        number. A final "and" is left out."""
        if not is_number_word(self.at(place)) or is_number_word(self.at(place - 1)):
            return None
        end = place + 1
        while is_number_word(self.at(end)):
            end += 1
        end -= self.at(end - 1) == "and"
        if end == place or any(self.is_pause(number) for number in range(place + 1, end)):
            return None
        digits = read_number([self.at(number) for number in range(place, end)])
        return digits and (digits, end)

    def quantity(self, place: int) -> Token | None:
        """A number with its unit, perhaps minus degrees, or a blood pressure."""
        sign = "-" if self.at(place) == "minus" else ""
        number = self.number(place + len(sign))
        if not number or self.may_belong_to(place, *number):
            return None
        digits, end = number
        if not sign and self.at(end) == "over" and self.is_behind_blood_pressure(place):
            return self.blood_pressure(digits, end + 1)
        unit = self.unit(end)
        if not unit or self.may_be_several(place + len(sign), end, unit[1]):
            return None
        symbol, end = unit
        if self.at(end) == "and" and not FRACTIONS.isdisjoint((self.at(end + 1), self.at(end + 2))):
            return None  # "one gram and a half"
        if sign and (symbol not in SIGNED or self.at(place - 1) in self.dictation.grammar.connectives):
            return None
        return Token(f"{sign}{digits}{'' if symbol == '%' else ' '}{symbol}", end)

    def may_belong_to(self, place: int, digits: str, end: int) -> bool:
        """Whether the words before a number, with its sign, may belong to it, or it to them."""
        grammar, before = self.dictation.grammar, self.at(place - 1)
        if before in ("minus", "hyphen", "slash") or is_number_word(before):
            return True
        if before in grammar.labels and self.at(place - 2) not in ARTICLES:
            return True
        if len(before) == 1 and before.isalpha() and before != "a":
            return not self.is_behind_blood_pressure(place)  # a code: "vitamin b twelve micrograms"
        if end - place > 2 and before in BEFORE_YEARS and digits.startswith("2,0"):
            return True  # "in two thousand five milligrams were given"
        if end - place > 2 and before == "at" and "and" not in map(self.at, range(place, end)):
            return True  # "at eight hundred five milligrams were given"
        for connected in range(place - 1, place - MAX_CONNECTIVES, -1):
            word = self.at(connected).strip("–-" + MARKS)
            if not self.at(connected) or (word and word not in grammar.connectives):
                return is_number_word(word)
        return True

    def unit(self, place: int) -> tuple[str, int] | None:
        """The written unit at a place, with its "per …" units, and its end."""
        unit = self.phrase(self.dictation.units, place)
        if not unit or self.phrase(self.dictation.no_unit, place):
            return None
        symbol, end = unit
        grammar = self.dictation.grammar
        is_symbol = symbol.isalpha() and symbol not in grammar.counted
        while is_symbol and self.at(end) == "per" and self.at(end + 1) in grammar.per:
            symbol, end = f"{symbol}/{grammar.per[self.at(end + 1)]}", end + 2
        return symbol, end

    def may_be_several(self, place: int, unit: int, end: int) -> bool:
        """Whether words of a number may count the things after its unit: "thirty five milligram tablets"."""
        is_plural = self.at(end - 1).endswith("s") or self.at(unit) in ("percent", "per")
        if unit - place == 1 or (is_plural and unit < end) or self.at(place - 1) in ("a", "an"):
            return False
        behind = {self.at(end), self.at(end + 1)}.difference(NO_PLURALS)
        return any(word.endswith("s") and not word.endswith("ss") for word in behind)

    def is_behind_blood_pressure(self, place: int) -> bool:
        place -= self.at(place - 1) in ("is", "was", "of")
        before = " ".join(self.at(number) for number in range(place - 3, place))
        return any(f" {before}".endswith(f" {phrase}") for phrase in self.dictation.grammar.blood_pressure)

    def blood_pressure(self, systolic: str, place: int) -> Token | None:
        """A blood pressure whose second number is at a place, unless a word after it makes it a rate: "one
        hundred over sixty minutes"."""
        number = self.number(place)
        if not number or not (systolic + number[0]).isdecimal():
            return None
        (diastolic, end), symbol = number, ""
        if not MIN_DIASTOLIC <= int(diastolic) < int(systolic) <= MAX_SYSTOLIC:
            return None
        if unit := self.unit(end):
            symbol, end = f" {unit[0]}", unit[1]
        elif self.may_be_several(place, end, end):
            return None
        is_range = self.at(end) in self.dictation.grammar.connectives and is_number_word(self.at(end + 1))
        if symbol not in ("", " mmHg") or is_range or self.at(end).removesuffix("s") in DURATIONS:
            return None
        return Token(f"{systolic}/{diastolic}{symbol}", end)


def is_number_word(word: str) -> bool:
    """Whether a word, in lower case, may belong to a number: "twenty-five", "5", "thirds", "five,", "and"."""
    parts = {form for part in re.findall(r"\w+", word) for form in (part, part.removesuffix("s"))}
    return not NUMBER_WORDS.isdisjoint(parts) or any(letter.isdigit() for letter in word)


def read_number(words: Sequence[str]) -> str | None:
    """The digits of a number below 10⁹ in standard wording; None where `words` hold anything else."""
    text = re.sub(r"\b(nought|naught)\b", DIGITS[0], " ".join(words).replace("-", " "))
    whole, point, rest = text.partition(" point ")
    decimals = rest.split()
    if point and (not set(decimals) <= set(DIGITS) or decimals[-1:] in ([], [DIGITS[0]])):
        return None
    value = read_cardinal(whole)
    if value is None:
        return None
    return f"{value:,}" + ("." if point else "") + "".join(str(DIGITS.index(word)) for word in decimals)


def read_cardinal(text: str) -> int | None:
    """The number whose wording by num2words is `text`, with or without each "and"."""
    total = group = 0
    for word in text.split():
        if word in SCALES:
            total, group = total + group * SCALES[word], 0
        elif word == "hundred":
            group *= 100
        else:
            group += BELOW_HUNDRED.get(word, 0)
    value = total + group
    wording = num2words(value).replace(" and ", " (and )?") if value < 10**9 else ""
    return value if re.fullmatch(wording, text) else None
