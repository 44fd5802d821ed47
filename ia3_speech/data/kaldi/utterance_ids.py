"""Ids that Kaldi can read and sort, made of whatever a corpus calls its speakers and files."""

import re
from dataclasses import dataclass, field

from ia3_speech.data.audio import SUFFIXES

LONGEST_SPEAKER = 40  # characters; longer ids (Common Voice's 128 hex digits) keep the first 12


@dataclass
class Names:
    """Ids that Kaldi can read and sort: `SPEAKER-ID`, of letters, digits and `_ . -`, each given once.

    A speaker's id has no `-`, which sorts before all the other characters: so utterances sorted by id are
    sorted by speaker too.
    """

    total: int
    speakers: dict[str, str] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)  # id → the last number that was put behind it

    def take(self, speaker: str, given: str, number: int) -> tuple[str, str]:
        """(speaker id, utterance id) of row `number`; a row without a speaker is a speaker of its own."""
        file = given.replace("\\", "/").rpartition("/")[2]
        stem, _, suffix = file.rpartition(".")
        own = clean(stem if f".{suffix.lower()}" in SUFFIXES else file)  # S01.U05 is whole
        own = own or f"{number:0{len(str(self.total))}d}"
        if not speaker:
            alone = self.unused(own.replace("-", "_"))
            return alone, alone
        if speaker not in self.speakers:
            short = clean(speaker).replace("-", "_") or "speaker"
            self.speakers[speaker] = self.unused(short[:12] if len(short) > LONGEST_SPEAKER else short)
        short = self.speakers[speaker]
        return short, self.unused(own if own.startswith(f"{short}-") else f"{short}-{own}")

    def unused(self, name: str) -> str:
        """`name`, or `name_2`, `name_3`, … where another speaker or utterance has it."""
        free = name
        while free in self.used:
            self.used[name] += 1
            free = f"{name}_{self.used[name]}"
        self.used[free] = 1
        return free


def clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")
