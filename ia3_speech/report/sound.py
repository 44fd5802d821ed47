"""What the page's players play: a link to the audio file that wav.scp names, or the audio itself.

In: the utterances of a data directory, and where the page will lie. Out: utterance id → the `src` of its
player; an utterance that can't have one is not in it.
"""

import base64
import io
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.utterance import Utterance
from ia3_speech.data.utterance_audio import BadAudio, load_utterances

PLAYABLE = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac"}  # by today's browsers


def linked(utterances: Iterable[Utterance], folder: Path) -> dict[str, str]:
    """Links, relative to `folder`, to files that are there and that browsers play; a segment as `#t=1.5,3.2`.

    Shell pipes have none. A name is quoted, so that `?`, `#` or `javascript:` in it stay part of a path.
    """
    found = {}
    for utterance in utterances:
        source = utterance.source
        if Path(source).suffix.lower() in PLAYABLE and os.path.isfile(source):  # noqa: PTH113 (never raises)
            link = relative_link(source, folder)
            if link and utterance.start is not None:
                link += f"#t={utterance.start:g},{utterance.end:g}"
            if link:
                found[utterance.id] = link
    return found


def relative_link(source: str, folder: Path) -> str | None:
    try:
        path = os.path.relpath(source, folder)
    except ValueError:  # on Windows, another drive
        return None
    link = quote(os.fsencode(path.replace(os.sep, "/")))
    return link if link.startswith("../") else f"./{link}"


def embedded(utterances: Iterable[Utterance], *, allow_pipes: bool, bad: list[BadAudio]) -> dict[str, str]:
    """The audio as 16 kHz FLAC in `data:` addresses, about 25 kB a second; what can't be read is in `bad`."""
    waves = load_utterances(utterances, minimum_samples=1, on_error="skip", bad=bad, allow_pipes=allow_pipes)
    return {
        utterance.id: f"data:audio/flac;base64,{base64.b64encode(flac(wave)).decode()}"
        for utterance, wave in waves
    }


def flac(wave: np.ndarray) -> bytes:
    """Float32 `(samples,)`, 16 kHz, as a FLAC file of 16 bits."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
