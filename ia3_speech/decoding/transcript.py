"""Results: the words, segments and text of a recording, as all commands and writers of files share them."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Word:
    """A word of a transcript."""

    text: str  # without white space
    start: float  # seconds from the beginning of the recording, as `end`
    end: float
    confidence: float  # 0 to 1; see `word_times`
    tokens: tuple[int, ...] = ()  # the base's symbols that spell it


@dataclass(frozen=True)
class Choice:
    """Which adapter a gate chose for a recording, or for a piece of a long one."""

    adapter: str | None  # its name, or a sum of such; None for the base
    probability: float  # 0 to 1, that the gate gives to it: of a sum, to its adapters together
    start: float = 0.0  # seconds from the beginning of the recording, as `end`
    end: float = 0.0
    channel: str | None = None  # left or right, where the channels of a call are transcribed one by one

    @property
    def record(self) -> dict[str, str | float | None]:
        """start, end, adapter, probability, perhaps channel."""
        span = {"start": round(self.start, 3), "end": round(self.end, 3)}
        span |= {"adapter": self.adapter, "probability": round(self.probability, 4)}
        return span | ({"channel": self.channel} if self.channel else {})


@dataclass(frozen=True)
class TranscriptSegment:
    """Words between two pauses, of the length of a sentence."""

    start: float  # seconds from the beginning of the recording, as `end`
    end: float
    text: str  # the words; after dictation the part of the recording's written text that belongs to them
    words: tuple[Word, ...]  # as they were recognised
    channel: str | None = None  # left or right, where the channels of a call are transcribed one by one

    @property
    def raw_text(self) -> str:
        """The words as they were recognised."""
        return " ".join(word.text for word in self.words)

    @property
    def line(self) -> str:
        """The text on one line, which names the channel where there is one."""
        text = " ".join(self.text.split())
        return f"{self.channel}: {text}" if self.channel else text

    @property
    def confidence(self) -> float:
        """The mean of its words' confidences: the share of them that is expected to be right."""
        return sum(word.confidence for word in self.words) / len(self.words)

    @property
    def mean_log_probability(self) -> float:
        """Of a symbol: the logarithms of the words' confidences over the number of their symbols."""
        symbols = sum(max(1, len(word.tokens)) for word in self.words)
        return sum(math.log(max(word.confidence, 1e-10)) for word in self.words) / symbols


@dataclass(frozen=True)
class Transcript:
    """The transcript of one recording."""

    path: str | None  # as it was given, or as it was found in a folder; `-` is stdin; None for an array
    text: str  # the hypothesis; "" also where the audio can't be used
    seconds: float  # length of the audio
    adapter: str | None  # the adapter's name, path or sum, as it was given; None for the base alone
    base: str  # the base's name
    problem: str | None = None  # of the audio, as a phrase; None if it has none
    usable: bool = True  # whether the audio could be transcribed in spite of it
    raw_text: str | None = None  # the hypothesis, if `text` is the dictation's
    # In the order of time; None where no times were asked for
    segments: tuple[TranscriptSegment, ...] | None = None
    id: str | None = None  # in Kaldi's and NIST's files; None: the file's name without its suffix
    channels: tuple[str, ...] = ()  # of the recording, where they are transcribed one by one
    choices: tuple[Choice, ...] = ()  # of a gate, one for each piece; none where the adapter was named

    def __post_init__(self) -> None:
        if self.id is None:
            name = {None: "recording", "-": "stdin"}.get(self.path) or Path(self.path).stem
            object.__setattr__(self, "id", name)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments; none where no times were asked for."""
        return tuple(word for segment in self.segments or () for word in segment.words)

    @property
    def confidence(self) -> float | None:
        """The mean of the words' confidences; None where there are no words with times."""
        words = self.words
        return sum(word.confidence for word in words) / len(words) if words else None

    def record(self) -> dict[str, Any]:
        """path, text, perhaps raw_text, seconds, adapter, perhaps gate (its choices), base. Bytes of a path
        that aren't UTF-8 become U+FFFD."""
        path = None if self.path is None else os.fsencode(self.path).decode("utf-8", "replace")
        raw = {} if self.raw_text is None else {"raw_text": self.raw_text}
        record = {"path": path, "text": self.text, **raw, "seconds": round(self.seconds, 3)}
        gate = {"gate": [choice.record for choice in self.choices]} if self.choices else {}
        return record | {"adapter": self.adapter, **gate, "base": self.base}
