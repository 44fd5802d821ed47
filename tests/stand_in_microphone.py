"""In the place of the package sounddevice, which needs a device: samples come from a thread, as there."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np


def sounddevice(input_stream: type, rate: float) -> SimpleNamespace:
    """A stand-in for sounddevice with one microphone, whose stream is of this class."""
    device = {"index": 0, "name": "Desk", "default_samplerate": rate, "max_input_channels": 1}
    return SimpleNamespace(InputStream=input_stream, PortAudioError=OSError, query_devices=lambda *_: device)


def microphone_that_plays(wave: np.ndarray, rate: float) -> SimpleNamespace:
    """sounddevice with a microphone that hears these samples; half a second later somebody presses Ctrl-C."""

    class InputStream:
        def __init__(self, blocksize, callback, **_):
            self.portions, self.callback = np.split(wave, range(blocksize, len(wave), blocksize)), callback

        def start(self):
            threading.Thread(target=self.play, daemon=True).start()

        def play(self):
            for portion in self.portions:
                self.callback(portion[:, None], len(portion), None, None)
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGINT)

        def close(self):
            pass

    return sounddevice(InputStream, rate)
