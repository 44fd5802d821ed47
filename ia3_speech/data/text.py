"""Text: what a CTC base can be taught to write, and what it cannot.

In: transcripts as people type them. Out: normalised text (the same on both sides of a score), token ids, and
the characters that the base's vocabulary lacks, counted, before any training.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, Literal

from ia3_speech.cli import UserError

MODES = ("ctc", "english", "none")

# ‘…’ is a pair of quotation marks; any other ’ is an apostrophe.
QUOTED = re.compile(r"‘(\S(?:.*?\S)?)’(?!\w)")
APOSTROPHES = dict.fromkeys(map(ord, "’‘‛ʼʹˈ′‵´`＇ʻꞌ"), "'")
STRAY_APOSTROPHE = re.compile(r"'{2,}|(?<!\w)'(?!\w)")  # doubled, or one that touches no letter
THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
# Spoken when read aloud (per cent, and, at), or the mark of a tag such as [noise]: to turn these into spaces
# would silently lose or invent words. They stay, as all symbols ($, +, °) do: the coverage check lists them.
KEPT = "%‰&@#[]{}"
SPACE = "▁"  # SentencePiece's mark of a word's beginning


class TextError(UserError):
    """Text that the vocabulary cannot write."""


def normalize(text: str, mode: Literal["ctc", "english", "none"] = "ctc") -> str:
    """Bring `text` into the form that targets, references and hypotheses are compared in.

    "ctc": NFKC, lower case, typographic apostrophes → ', punctuation and every hyphen or dash → a space,
    white space collapsed; letters, digits and symbols stay ("Re-check: it’s 5 %!" → "re check it's 5 %").
    A plain ' that touches a letter stays, also where it was meant as a quotation mark ('tis, dogs', 'so').
    "english": the English normaliser of Radford et al. 2022 (numbers to digits, contractions written out,
    fillers dropped), for scores that compare with Whisper's; its spelling map is left empty, and typographic
    apostrophes are made plain first, which it does not do itself.
    "none": as it is. A second pass changes nothing in "ctc" and "none".
    """
    if mode == "none":
        return text
    if mode == "english":
        return english_normalizer()(text.translate(APOSTROPHES)).strip()
    if mode != "ctc":
        raise ValueError(f"mode is {mode!r}, not one of {', '.join(MODES)}")
    text = QUOTED.sub(r" \1 ", visible(text)).translate(APOSTROPHES)  # before NFKC, which takes ´ apart
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()).translate(APOSTROPHES)
    text = "".join(map(plain, THOUSANDS.sub("", text)))
    return " ".join(STRAY_APOSTROPHE.sub(" ", text).split())


def visible(text: str) -> str:
    """`text` without soft hyphens, zero-width joiners, direction and byte-order marks."""
    return text if text.isascii() else "".join(c for c in text if unicodedata.category(c) != "Cf")


@lru_cache(maxsize=4096)
def plain(character: str) -> str:
    """One character of "ctc" text: itself, or a space for punctuation, white space and control characters."""
    stays = character == "'" or character in KEPT or unicodedata.category(character)[0] not in "PZC"
    return character if stays else " "


@lru_cache(maxsize=1)
def english_normalizer() -> Any:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return EnglishTextNormalizer({})


@dataclass(frozen=True)
class Vocabulary:
    """The symbols of a CTC head: single characters, a word delimiter, a blank.

    `tokens` holds every entry of the head, special ones too; `letters` those that text may use.
    """

    tokens: dict[str, int]
    blank: int
    delimiter: str = "|"
    cased: Literal["lower", "upper", "mixed"] = "lower"
    special: frozenset[str] = frozenset()

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> "Vocabulary":
        """Read a tokenizer; the blank is its padding token, as everywhere in transformers' CTC models.

        Gives `Pieces` where more of its symbols stand for several characters than for one.

        Raises:
            TextError: the tokenizer has no padding token, or no letters, or pieces that it can't cut into.
        """
        tokens = dict(tokenizer.get_vocab())
        blank = tokenizer.pad_token_id
        if blank is None:
            raise TextError("the base's tokenizer names no padding token, and CTC needs it as the blank "
                            "(set pad_token in tokenizer_config.json)")  # fmt: skip
        delimiter = getattr(tokenizer, "word_delimiter_token", None) or " "
        named = {tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
        special = {token for token, number in tokens.items() if number == blank}
        special |= {token for token in named if token is not None} - {delimiter}
        special |= set(tokenizer.all_special_tokens) - {delimiter}
        special |= {token for token in tokens if len(token) > 2 and token[0] + token[-1] in ("<>", "[]")}
        plain = tokens.keys() - special
        pieces = sorted(token for token in plain if len(token.strip(SPACE)) > 1)
        letters = {letter for token in plain for letter in token if letter.isalpha()}
        if not letters:
            raise TextError("the base's vocabulary holds no letters")
        upper = any(letter != letter.lower() for letter in letters)
        lower = any(letter != letter.upper() for letter in letters)
        cased = "mixed" if upper and lower else "upper" if upper else "lower"
        made = (tokens, blank, delimiter, cased, frozenset(special))
        if len(pieces) <= sum(len(token) == 1 for token in plain - {delimiter}):
            return cls(*made)
        if not tokenizer.is_fast:
            raise TextError(f"the base writes word pieces ({', '.join(pieces[:3])}, …), and its tokenizer, "
                            f"a {type(tokenizer).__name__}, cuts text into characters only")  # fmt: skip
        return SubwordVocabulary(*made, tokenizer)

    @cached_property
    def letters(self) -> dict[str, int]:
        """The characters that text may use, without the delimiter."""
        return {
            token: number
            for token, number in self.tokens.items()
            if len(token) == 1
            and token != self.delimiter
            and token not in self.special
            and number != self.blank
        }

    def recase(self, text: str) -> str:
        return text if self.cased == "mixed" else text.upper() if self.cased == "upper" else text.lower()

    def encode(self, text: str, drop_unknown: bool = False) -> list[int]:
        """Token ids of `text`, one a character, the delimiter's between words.

        Raises:
            TextError: a character is not in the vocabulary and `drop_unknown` is false.
        """
        letters, words = self.letters, self.recase(text).split()
        if drop_unknown:
            words = ["".join(c for c in word if c in letters) for word in words]
        unknown = sorted({c for word in words for c in word if c not in letters})
        if unknown:
            raise TextError(f'"{text}": the base cannot write {" ".join(unknown)} '
                            f"(write it out in words, or pass --drop-chars)")  # fmt: skip
        between = [self.tokens[self.delimiter]] if self.delimiter in self.tokens else []
        ids: list[int] = []
        for word in filter(None, words):
            ids += (between if ids else []) + [letters[c] for c in word]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of token ids that are collapsed already; blanks and special tokens say nothing.

        A vocabulary of capitals alone gives lower case, as normalised text is.
        """
        written = {number: token for token, number in self.letters.items()}
        written[self.tokens.get(self.delimiter, -1)] = " "
        text = " ".join("".join(written.get(int(number), "") for number in ids).split())
        return text.lower() if self.cased == "upper" else text

    def missing(self, texts: Iterable[str]) -> Counter[str]:
        """How often each character occurs that the base cannot write, most frequent first."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(self.recase(text))
        letters = self.letters
        return Counter({c: n for c, n in counts.most_common() if not c.isspace() and c not in letters})


@dataclass(frozen=True)
class SubwordVocabulary(Vocabulary):
    """The symbols of a head that writes word pieces (LASR, Parakeet): its own tokenizer cuts and joins."""

    tokenizer: Any = field(default=None, compare=False, repr=False)

    @cached_property
    def letters(self) -> dict[str, int]:
        """The characters that pieces are made of, each with the number of one of them."""
        plain = ((token, n) for token, n in self.tokens.items() if token not in self.special)
        return {letter: number for token, number in plain for letter in token if letter != SPACE}

    def encode(self, text: str, drop_unknown: bool = False) -> list[int]:
        """Numbers of the pieces of `text`. Raises TextError as for characters."""
        text = self.recase(text)
        if drop_unknown:
            text = "".join(c for c in text if c.isspace() or c in self.letters)
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        unknown = sorted(self.missing([text])) or [text] * (self.tokenizer.unk_token_id in ids)
        if unknown:
            raise TextError(f'"{text}": the base cannot write {" ".join(unknown)} '
                            f"(write it out in words, or pass --drop-chars)")  # fmt: skip
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of pieces that are collapsed already; blanks and special tokens say nothing."""
        known = set(self.tokens.values()) - {self.blank}
        said = [int(number) for number in ids if int(number) in known]
        text = self.tokenizer.decode(said, skip_special_tokens=True, group_tokens=False)
        return " ".join((text.lower() if self.cased == "upper" else text).split())


def required_frames(ids: Iterable[int]) -> int:
    """The fewest frames in which CTC can emit `ids`: one each, and a blank between equal neighbours."""
    ids = list(ids)
    return len(ids) + sum(a == b for a, b in pairwise(ids))
