"""Synthetic speech by espeak-ng, for the demonstration corpora and the training of the mini base.

    wave = Espeak().speak("thirty milligrams of codeine", voice="en-gb-scotland+f5", rate=160)
    utterances = synthesize([(utterance, Voice("en-gb-scotland", "f5", 160, 50))], Path("data/espeak/audio"))

espeak-ng runs in this process, 500 to 1,000 times faster than real time on one core. Equal texts in an equal
order give equal samples: the noise of breathy voices such as f5, which espeak-ng seeds by the clock, is
seeded by the text here. The library and its data are in the wheel `espeakng-loader`. espeak-ng is
GPL-3.0-or-later; the wheel is in the dependency group `demo` and not required by the installed package. API:
espeak-ng's `speak_lib.h`.
"""

import ctypes
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ia3_speech.common.atomic import replacing
from ia3_speech.common.cli import pip_install
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE, resample
from ia3_speech.data.utterance import Utterance

ESPEAK_SAMPLE_RATE = 22_050  # Hz
PEAK = 0.6  # of full scale, of every recorded utterance

# espeak-ng's accents of English. The mini base was trained on ACCENTS, and on none of the others.
ACCENTS = ("en-us", "en-us-nyc", "en", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
UNHEARD_ACCENTS = ("en-029", "en-gb-scotland")
UNHEARD_VARIANTS = ("m7", "f5", "belinda", "max", "shelby", "Mario")

_SYNCHRONOUS, _UTF8, _RATE, _PITCH, _RANGE = 2, 1, 1, 3, 4
_WORD_EVENT, _LAST_EVENT = 1, 0


class _Event(ctypes.Structure):
    """espeak-ng's `espeak_EVENT`."""

    _fields_: ClassVar = [
        ("type", ctypes.c_int),
        ("message", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # the first character's number, from 1
        ("length", ctypes.c_int),  # characters
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class Voice:
    """A voice of espeak-ng."""

    accent: str  # espeak-ng's name of it, such as en-gb-scotland
    variant: str  # one of `variants()`, such as f5
    rate: int  # words a minute
    pitch: int  # 0 to 99, relative to the variant's pitch


def synthesize(texts: Iterable[tuple[Utterance, Voice]], folder: Path) -> list[Utterance]:
    """Speak the text of each utterance into FOLDER/ID.flac, 16 kHz. The folder is replaced as a whole.

    Returns the utterances with their source and duration.
    """
    import soundfile

    espeak, recorded = Espeak(), []
    with replacing(folder) as new:
        new.mkdir()
        for utterance, voice in texts:
            name = f"{voice.accent}+{voice.variant}"
            wave = espeak.speak(utterance.text, name, voice.rate, voice.pitch)
            wave = resample(wave, ESPEAK_SAMPLE_RATE, SAMPLE_RATE)
            soundfile.write(new / f"{utterance.id}.flac", wave * (PEAK / np.abs(wave).max()), SAMPLE_RATE)
            source = str((folder / f"{utterance.id}.flac").resolve())
            recorded.append(replace(utterance, source=source, duration=len(wave) / SAMPLE_RATE))
    return recorded


class Espeak:
    """The espeak-ng of this process. The library has global state: use it from one thread."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise UserError(f"espeakng-loader is missing ({pip_install('espeakng-loader')})") from error
        self.library = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
        self.library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)

    def speak(
        self, text: str, voice: str = "en-us", rate: int = 175, pitch: int = 50, intonation: int = 50
    ) -> np.ndarray:
        """float32 `(samples,)` at 22,050 Hz. Raises ValueError where espeak-ng has no such voice.

        Args:
            voice: an accent, or accent+variant.
            rate: words a minute.
            pitch: 0 to 99.
            intonation: range of the pitch, 0 to 99.
        """
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, intonation)):
            self.library.espeak_SetParameter(parameter, int(value), 0)
        chunks: list[np.ndarray] = []
        # (first character, end, seconds) of the words just spoken: their places in the text, and when each
        # began. Words that espeak-ng joins ("of the") count as one word.
        self.words: list[tuple[int, int, float]] = []

        @_CALLBACK
        def collect(samples, count, events):
            if samples and count > 0:
                chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
            number = 0
            while events and events[number].type != _LAST_EVENT:
                event, number = events[number], number + 1
                if event.type == _WORD_EVENT:
                    first = event.text_position - 1
                    self.words.append((first, first + event.length, event.audio_position / 1000))
            return 0

        self.library.espeak_SetSynthCallback(collect)
        data = text.encode()
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(zlib.crc32(data)))
        self.library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
        self.library.espeak_Synchronize()
        return np.concatenate(chunks).astype(np.float32) / 32768


def variants() -> list[str]:
    """The voice variants that espeak-ng has (`m1`, `f2`, `belinda`, …), sorted."""
    import espeakng_loader

    return sorted(p.name for p in (Path(espeakng_loader.get_data_path()) / "voices" / "!v").iterdir())
