"""Synthetic speech: the same words give the same samples, at any time of day."""

import subprocess
import sys
import time

SPEAK = """
import hashlib
from ia3_speech.data.corpora.espeak import Espeak
voice = Espeak()
heard = hashlib.sha256()
for text in ("thirty milligrams of codeine", "twice daily"):
    heard.update(voice.speak(text, "en-029+f5", 150).tobytes())
print(heard.hexdigest())
"""


def test_a_breathy_voice_repeats_itself_in_another_second():
    """espeak-ng 1.52 seeds its noise with time(), in whole seconds."""

    def heard() -> str:
        done = subprocess.run([sys.executable, "-c", SPEAK], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    first = heard()
    time.sleep(1.1)
    assert heard() == first
    assert len(first) == 64
