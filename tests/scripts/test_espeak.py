"""Synthetic speech: the same words give the same samples, at any time of day."""

import gc
import subprocess
import sys
import time
from pathlib import Path

from scripts.espeak import Espeak

SPEAK = """
import hashlib
from scripts.espeak import Espeak
voice = Espeak()
waves = [voice.speak(text, "en-029+f5", 150) for text in ("thirty milligrams of codeine", "twice daily")]
print(*(hashlib.sha256(wave.tobytes()).hexdigest() for wave in waves))
"""


def test_a_breathy_voice_repeats_itself_in_another_second():
    """espeak-ng 1.52 seeds its noise with time(), in whole seconds."""
    first, second = speak(), int(time.time())
    while int(time.time()) == second:
        speak()
    assert speak() == first and len(first.split()) == 2


def speak() -> str:
    command, root = [sys.executable, "-c", SPEAK], Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout


def test_two_synthesisers_in_one_process():
    """The library keeps one callback: freeing the second synthesiser must not silence the first."""
    first, second = Espeak(), Espeak()
    assert len(second.speak("hello there")) > 5_000
    del second
    gc.collect()
    assert len(first.speak("hello there", "en-us+m3")) > 5_000
