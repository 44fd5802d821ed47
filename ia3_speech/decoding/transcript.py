"""Results: the words, segments and text of a recording, for all commands and file formats."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNSURE = 0.6  # words of a lower confidence have alternatives


@dataclass(frozen=True)
class Word:
    """A word of a transcript."""

    text: str  # without white space
    start: float  # seconds from the beginning of the recording, like `end`
    end: float
    confidence: float  # 0 to 1; see `word_times`
    tokens: tuple[int, ...] = ()  # the base's symbols that spell it
    # Of a beam search, if the confidence is below UNSURE: other texts in its place, the likeliest first
    alternatives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """A gate's choice of an adapter for a recording, or for a piece of a long recording."""

    adapter: str | None  # its name, or a sum; None for the base
    probability: float  # 0 to 1, from the gate; of a sum, of its adapters together
    start: float = 0.0  # seconds from the beginning of the recording, like `end`
    end: float = 0.0
    channel: str | None = None  # left or right, if the channels of a call are transcribed separately

    @property
    def record(self) -> dict[str, str | float | None]:
        """start, end, adapter, probability, perhaps channel."""
        record = {**times_of(self), "adapter": self.adapter, "probability": round(self.probability, 4)}
        return record | ({"channel": self.channel} if self.channel else {})


@dataclass(frozen=True)
class TranscriptSegment:
    """Words between two pauses, as long as a sentence."""

    start: float  # seconds from the beginning of the recording, like `end`
    end: float
    text: str  # the words; after dictation their part of the recording's written text
    words: tuple[Word, ...]  # the recognised words
    channel: str | None = None  # left or right, if the channels of a call are transcribed separately

    @property
    def raw_text(self) -> str:
        """The recognised words."""
        return " ".join(word.text for word in self.words)

    @property
    def line(self) -> str:
        """The text on a line, after the name of a channel."""
        text = " ".join(self.text.split())
        return f"{self.channel}: {text}" if self.channel else text

    @property
    def confidence(self) -> float:
        """The mean of the words' confidences: the expected share of right words."""
        return sum(word.confidence for word in self.words) / len(self.words)

    @property
    def mean_log_probability(self) -> float:
        """Per symbol: the sum of the logarithms of the words' confidences over the number of symbols."""
        symbols = sum(max(1, len(word.tokens)) for word in self.words)
        return sum(math.log(max(word.confidence, 1e-10)) for word in self.words) / symbols


@dataclass(frozen=True)
class Transcript:
    """The transcript of a recording."""

    path: str | None  # the user's, or a file's in a folder; `-` is stdin; None for an array
    text: str  # the hypothesis; "" also if the audio can't be used
    seconds: float  # duration of the audio
    adapter: str | None  # the adapter's name, path or sum, as the user gave it; None for the base alone
    base: str  # the base's name
    problem: str | None = None  # of the audio, as a phrase; None if it has none
    usable: bool = True  # whether the audio could be transcribed in spite of it
    raw_text: str | None = None  # the hypothesis, if `text` is written by dictation
    segments: tuple[TranscriptSegment, ...] | None = None  # by time; None if no times were asked for
    id: str | None = None  # in Kaldi's and NIST's files; None: the file's name without its suffix
    channels: tuple[str, ...] = ()  # of the recording, if they are transcribed separately
    choices: tuple[Choice, ...] = ()  # of a gate, for each piece; empty if the adapter was named
    task: str = "transcribe"  # or translate, of a Whisper base
    language: str | None = None  # code, of a Whisper base; None: the base has no choice of languages

    def __post_init__(self) -> None:
        if self.id is None:
            name = {None: "recording", "-": "stdin"}.get(self.path) or Path(self.path).stem
            object.__setattr__(self, "id", name)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments; empty if no times were asked for."""
        return tuple(word for segment in self.segments or () for word in segment.words)

    @property
    def confidence(self) -> float | None:
        """The mean of the words' confidences; None without words with times."""
        words = self.words
        return sum(word.confidence for word in words) / len(words) if words else None

    def record(self) -> dict[str, Any]:
        """path, text, perhaps raw_text, seconds, perhaps language, adapter, perhaps gate (its choices), base.
        Bytes in the path that are not UTF-8 become U+FFFD."""
        path = None if self.path is None else os.fsencode(self.path).decode("utf-8", "replace")
        raw = {} if self.raw_text is None else {"raw_text": self.raw_text}
        record = {"path": path, "text": self.text, **raw, "seconds": round(self.seconds, 3)}
        gate = {"gate": [choice.record for choice in self.choices]} if self.choices else {}
        language = {"language": self.language} if self.language else {}
        return record | language | {"adapter": self.adapter, **gate, "base": self.base}


def times_of(span: Any) -> dict[str, float]:
    """start and end of a word, a choice, a segment or a live text, for JSON."""
    return {"start": round(span.start, 3), "end": round(span.end, 3)}
