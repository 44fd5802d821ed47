"""Synthetic speech by espeak-ng, called in this process: the demonstration corpora and the mini base use it.

    speech = Espeak().speak("thirty milligrams of codeine", voice="en-gb-scotland+f5", rate=160)

500 to 1,000 times faster than real time on one core. A process that says the same things in the same order
gets the same samples: the noise of breathy voices (f5, say), which espeak-ng seeds with the clock, is seeded
here with the text. The library and its data come in the wheel
`espeakng-loader` (espeak-ng is GPL-3.0-or-later, so it stands in the dependency group `demo` and never in
the installed package). API: espeak-ng's `speak_lib.h`.
"""

import ctypes
import zlib

import numpy as np

SAMPLE_RATE = 22_050  # espeak-ng's own, Hz

# The accents of English that espeak-ng has. The mini base never hears the last two.
ACCENTS = ("en-us", "en-us-nyc", "en", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd")
UNHEARD_ACCENTS = ("en-029", "en-gb-scotland")
UNHEARD_VARIANTS = ("m7", "f5", "belinda", "max", "shelby", "Mario")

_SYNCHRONOUS, _UTF8, _RATE, _PITCH, _RANGE = 2, 1, 1, 3, 4


class Espeak:
    """One espeak-ng in this process (the library keeps global state: no threads)."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise SystemExit(
                "espeakng-loader is missing: run `uv sync` in the clone (the dependency group demo)"
            ) from error
        self.library = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        if self.library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0) <= 0:
            raise RuntimeError(f"espeak-ng does not start with the data in {data.decode()}")
        self.chunks: list[np.ndarray] = []
        callback = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )

        def collect(samples, count, _events):
            if samples and count > 0:
                self.chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
            return 0

        self._callback = callback(collect)  # kept: C holds only a pointer to it

    def speak(self, text: str, voice: str = "en-us", rate: int = 175, pitch: int = 50, range: int = 50):
        """float32 (samples,) at 22,050 Hz. `voice` is an accent, or accent+variant; `rate` in words a minute.

        Raises ValueError for a voice that espeak-ng does not have.
        """
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, range)):
            self.library.espeak_SetParameter(parameter, int(value), 0)
        self.library.espeak_SetSynthCallback(self._callback)  # each time: another Espeak may have set its own
        self.chunks.clear()
        data = text.encode()
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(zlib.crc32(data)))
        self.library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
        self.library.espeak_Synchronize()
        if not self.chunks:
            raise RuntimeError(f"espeak-ng said nothing for {text!r}")
        return np.concatenate(self.chunks).astype(np.float32) / 32768


def variants() -> list[str]:
    """The voice variants of the data folder (`m1`, `f2`, `belinda`, …), sorted."""
    from pathlib import Path

    import espeakng_loader

    return sorted(p.name for p in (Path(espeakng_loader.get_data_path()) / "voices" / "!v").iterdir())
