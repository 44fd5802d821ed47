"""Ids that Kaldi can read and sort, made of whatever a corpus calls its speakers and files."""

import re
from dataclasses import dataclass, field

from ia3_speech.data.audio import AUDIO_SUFFIXES

MAX_SPEAKER_LENGTH = 40  # characters; longer ids (Common Voice's 128 hex digits) are cut to the first 12


@dataclass
class UtteranceIds:
    """Assigns ids `SPEAKER-ID` of letters, digits and `_ . -`, each of them once.

    A speaker's id has no `-`, which sorts before all the other characters: so utterances that are sorted by
    id are sorted by speaker too.

    Attributes:
        total: the number of utterances, which decides how many digits numbered ids have.
    """

    total: int
    _speakers: dict[str, str] = field(default_factory=dict, init=False)  # the corpus's name → id
    _suffixes: dict[str, int] = field(default_factory=dict, init=False)  # id → the last number appended to it

    def assign(self, speaker: str, name: str, number: int) -> tuple[str, str]:
        """The ids (speaker, utterance) of utterance `number`, from 1.

        Args:
            speaker: the corpus's name of the speaker; if empty, the utterance becomes a speaker of its own.
            name: an id or a file name; if nothing of it can be used, the number is.
        """
        file = name.replace("\\", "/").rpartition("/")[2]
        stem, _, suffix = file.rpartition(".")
        own = sanitize(stem if f".{suffix.lower()}" in AUDIO_SUFFIXES else file)  # S01.U05 has no suffix
        own = own or f"{number:0{len(str(self.total))}d}"
        if not speaker:
            alone = self.make_unique(own.replace("-", "_"))
            return alone, alone
        if speaker not in self._speakers:
            short = sanitize(speaker).replace("-", "_") or "speaker"
            self._speakers[speaker] = self.make_unique(
                short[:12] if len(short) > MAX_SPEAKER_LENGTH else short
            )
        short = self._speakers[speaker]
        return short, self.make_unique(own if own.startswith(f"{short}-") else f"{short}-{own}")

    def make_unique(self, name: str) -> str:
        """`name`, or `name_2`, `name_3`, … where it is assigned already."""
        unique = name
        while unique in self._suffixes:
            self._suffixes[name] += 1
            unique = f"{name}_{self._suffixes[name]}"
        self._suffixes[unique] = 1
        return unique


def sanitize(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")
