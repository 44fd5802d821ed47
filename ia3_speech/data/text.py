"""Text: normalisation, of references and hypotheses alike, and the vocabulary of a CTC base."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain, pairwise
from typing import Any, ClassVar, Literal

from ia3_speech.common.errors import TextError
from ia3_speech.data.numbers_in_words import needs_words, verbalize_numbers

# ‘…’ is a pair of quotation marks; any other ’ is an apostrophe.
QUOTED = re.compile(r"‘(\S(?:.*?\S)?)’(?!\w)")
APOSTROPHES = dict.fromkeys(map(ord, "’‘‛ʼʹˈ′‵´`＇ʻꞌ"), "'")
STRAY_APOSTROPHE = re.compile(r"'{2,}|(?<!\w)'(?!\w)")  # doubled, or beside no letter
THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
# Apostrophes, punctuation that readers speak (per cent, and, at), and the brackets of tags such as [noise]: a
# space in their place would lose or invent words. All symbols ($, +, °) are kept too.
KEPT_PUNCTUATION = "'%‰&@#[]{}"
WORD_START = "▁"  # SentencePiece's mark of the beginning of a word


Mode = Literal["ctc", "english", "none"]


def normalize(text: str, mode: Mode = "ctc") -> str:
    """Normalise a transcript: training targets, references and hypotheses are compared in this form.

    Args:
        text: a transcript.
        mode: one of
            "ctc": NFKC, lower case, typographic apostrophes → ', punctuation, hyphens and dashes → a space,
            white space collapsed; letters, digits and symbols are kept ("Re-check: it’s 5 %!" → "re check
            it's 5 %"). A plain ' next to a letter is kept, even if it is a quotation mark ('tis, dogs',
            'so').
            "english": the English normaliser of Whisper (Radford et al. 2022; numbers to digits, contractions
            written out, fillers removed), for error rates that are compared with Whisper's. Its map of
            spellings is empty here, and typographic apostrophes are first made plain, which it does not do.
            "none": unchanged.

    Normalising twice is the same as normalising once in "ctc" and "none".
    """
    if mode == "none":
        return text
    if mode == "english":
        return english_normalizer()(text.translate(APOSTROPHES)).strip()
    if not text.isascii():  # soft hyphens, zero-width joiners, direction and byte-order marks
        text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    # Apostrophes come before NFKC, which takes ´ apart.
    text = QUOTED.sub(r" \1 ", text).translate(APOSTROPHES)
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()).translate(APOSTROPHES)
    text = "".join(map(letter_or_space, THOUSANDS.sub("", text)))
    return " ".join(STRAY_APOSTROPHE.sub(" ", text).split())


def target_text(text: str, mode: Mode, vocabulary: "Vocabulary", changes: Counter[str] | None = None) -> str:
    """`normalize` for training targets, with numbers in words where the vocabulary lacks digits
    (`numbers_in_words.needs_words`). `changes` is as for `verbalize_numbers`."""
    in_words = needs_words(vocabulary.letters)
    return normalize_in_words(text, mode, changes) if in_words else normalize(text, mode)


def normalize_in_words(text: str, mode: Mode, changes: Counter[str] | None = None) -> str:
    """`normalize`, with numbers in words unless the mode is "none". "english" makes digits of numbers in
    words, so they are written in words a second time."""
    if mode == "none":
        return text
    normalized = normalize(verbalize_numbers(text, changes), mode)
    return normalize(verbalize_numbers(normalized)) if mode == "english" else normalized


@lru_cache(maxsize=4096)
def letter_or_space(character: str) -> str:
    """One character of "ctc" text: itself, or a space for punctuation, white space and control characters."""
    is_kept = character in KEPT_PUNCTUATION or unicodedata.category(character)[0] not in "PZC"
    return character if is_kept else " "


@lru_cache(maxsize=1)
def english_normalizer() -> Any:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return EnglishTextNormalizer({})


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a CTC head: single characters, a word delimiter, a blank."""

    tokens: dict[str, int]  # symbol → id, of every output of the head, special symbols included
    blank: int  # the id of the CTC blank
    delimiter: str = "|"  # the symbol between words
    # Whether the letters are lower case, upper case or both
    cased: Literal["lower", "upper", "mixed"] = "lower"
    special: frozenset[str] = frozenset()  # symbols that are never part of a text
    writes_pieces: ClassVar[bool] = False  # whether a symbol may hold several characters

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> "Vocabulary":
        """The vocabulary of a transformers tokenizer; its padding token is the blank, as in all CTC models.
        If most symbols have several characters, a `SubwordVocabulary`. Raises TextError if the tokenizer has
        no padding token or no letters, or cannot segment text into subwords."""
        tokens, blank = dict(tokenizer.get_vocab()), tokenizer.pad_token_id
        if blank is None:
            raise TextError("the base's tokenizer names no padding token, and CTC needs it as the blank "
                            "(set pad_token in tokenizer_config.json)")  # fmt: skip
        delimiter = getattr(tokenizer, "word_delimiter_token", None) or " "
        special = {token for token, number in tokens.items() if number == blank}
        special |= set(tokenizer.all_special_tokens) - {delimiter}
        special |= {token for token in tokens if len(token) > 2 and token[0] + token[-1] in ("<>", "[]")}
        regular = tokens.keys() - special
        subwords = sorted(token for token in regular if len(token.strip(WORD_START)) > 1)
        letters = {letter for token in regular for letter in token if letter.isalpha()}
        if not letters:
            raise TextError("the base's vocabulary holds no letters")
        upper = any(letter != letter.lower() for letter in letters)
        lower = any(letter != letter.upper() for letter in letters)
        cased = "mixed" if upper and lower else "upper" if upper else "lower"
        fields = (tokens, blank, delimiter, cased, frozenset(special))
        if len(subwords) <= sum(len(token) == 1 for token in regular - {delimiter}):
            return cls(*fields)
        if not tokenizer.is_fast:
            raise TextError(f"the base writes word pieces ({', '.join(subwords[:3])}, …), and its tokenizer, "
                            f"a {type(tokenizer).__name__}, cuts text into characters only")  # fmt: skip
        return SubwordVocabulary(*fields, tokenizer)

    @cached_property
    def letters(self) -> dict[str, int]:
        """Character → id, of the characters that a text may hold, without the delimiter."""
        barred = {*self.special, self.delimiter}
        return {
            token: number
            for token, number in self.tokens.items()
            if len(token) == 1 and token not in barred and number != self.blank
        }

    @cached_property
    def delimiter_id(self) -> int | None:
        """The id of the symbol between words; None where there is none."""
        return self.tokens.get(self.delimiter)

    @cached_property
    def boundaries(self) -> frozenset[int]:
        """The ids at which a new word begins: the delimiter's, or of the pieces that begin a word."""
        return frozenset({self.delimiter_id} - {None})

    @cached_property
    def written(self) -> frozenset[int]:
        """The ids that write a part of a word."""
        return frozenset(self.letters.values())

    def recase(self, text: str) -> str:
        return text if self.cased == "mixed" else text.upper() if self.cased == "upper" else text.lower()

    def encode(self, text: str, drop_unknown: bool = False) -> list[int]:
        """Token ids of the characters of `text`, with the delimiter's between words. Raises TextError if a
        character is not in the vocabulary and `drop_unknown` is false."""
        if not drop_unknown and (unknown := sorted(self.missing([text]))):
            raise cannot_write(text, unknown)
        between = [self.tokens[self.delimiter]] if self.delimiter in self.tokens else []
        ids: list[int] = []
        for word in self.without_unknown(self.recase(text)).split():
            ids += (between if ids else []) + [self.letters[c] for c in word]
        return ids

    def without_unknown(self, text: str) -> str:
        return "".join(c for c in text if c.isspace() or c in self.letters)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids after CTC's collapsing; blanks and special tokens are ignored.

        A vocabulary of capitals alone gives lower case, like normalised text.
        """
        written = {number: token for token, number in self.letters.items()}
        written[self.tokens.get(self.delimiter, -1)] = " "
        text = " ".join("".join(written.get(int(number), "") for number in ids).split())
        return text.lower() if self.cased == "upper" else text

    def missing(self, texts: Iterable[str]) -> Counter[str]:
        """Counts of the characters that the vocabulary lacks, the most frequent first."""
        counts = Counter(chain.from_iterable(map(self.recase, texts)))
        return Counter({c: n for c, n in counts.most_common() if not c.isspace() and c not in self.letters})


@dataclass(frozen=True)
class SubwordVocabulary(Vocabulary):
    """The symbols of a head that writes subwords (LASR, Parakeet); its tokenizer segments and joins text."""

    tokenizer: Any = field(default=None, compare=False, repr=False)
    writes_pieces = True
    delimiter_id = None

    @cached_property
    def boundaries(self) -> frozenset[int]:
        return frozenset(number for token, number in self.tokens.items() if token.startswith(WORD_START))

    @cached_property
    def written(self) -> frozenset[int]:
        silent = {"", WORD_START, *self.special}
        return frozenset(number for token, number in self.tokens.items() if token not in silent)

    @cached_property
    def letters(self) -> dict[str, int]:
        """The characters of which the subwords consist, each with the id of one subword that holds it."""
        regular = ((token, n) for token, n in self.tokens.items() if token not in self.special)
        return {letter: number for token, number in regular for letter in token if letter != WORD_START}

    def encode(self, text: str, drop_unknown: bool = False) -> list[int]:
        """Token ids of the subwords of `text`. Raises TextError as `Vocabulary.encode`."""
        text = self.without_unknown(self.recase(text)) if drop_unknown else self.recase(text)
        ids, unknown = self.tokenizer(text, add_special_tokens=False).input_ids, sorted(self.missing([text]))
        if unknown or self.tokenizer.unk_token_id in ids:
            raise cannot_write(text, unknown or [text])
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids after CTC's collapsing; blanks and special tokens are ignored."""
        known = set(self.tokens.values()) - {self.blank}
        numbers = [int(number) for number in ids if int(number) in known]
        text = self.tokenizer.decode(numbers, skip_special_tokens=True, group_tokens=False)
        return " ".join((text.lower() if self.cased == "upper" else text).split())


def cannot_write(text: str, unknown: list[str]) -> TextError:
    return TextError(f'"{text}": the base cannot write {" ".join(unknown)} ({writing_hint(unknown)})')


def writing_hint(missing: Iterable[str], dropping: str = "pass `drop_chars`") -> str:
    """A hint for characters that a base lacks; `dropping` tells how to leave them out. Numbers are spoken, so
    they are never left out; tags are deleted whole, since without its brackets a tag would be a word."""
    characters = set(missing)
    spoken = any(character.isnumeric() for character in characters)
    tags = "delete tags such as [noise] and <unk>; " if characters & set("[]<>{}") else ""
    rest = "the rest" if tags else "them"
    return f"{tags}write {rest} out in words, {'numbers as they were spoken' if spoken else f'or {dropping}'}"


def required_frames(ids: Iterable[int]) -> int:
    """The fewest frames in which CTC can emit `ids`: each takes a frame, and a blank separates equal ones."""
    ids = list(ids)
    return len(ids) + sum(a == b for a, b in pairwise(ids))
