"""The `src` of the page's audio players: a link to the audio file that wav.scp names, or the audio itself.

In: the utterances of a data directory, and the folder of the page. Out: {utterance id: src}, without the
utterances whose audio browsers cannot play.
"""

import base64
import io
import os
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterances

PLAYABLE = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac"}  # by current browsers


def linked_audio(utterances: Iterable[Utterance], folder: Path) -> dict[str, str]:
    """Links, relative to `folder`, to existing files that browsers play; a segment ends in `#t=1.5,3.2`.

    Shell pipes have no link. Paths are quoted, so that `?`, `#` or `javascript:` in them stay part of a path.
    """
    links = {}
    for utterance in utterances:
        source = utterance.source
        if Path(source).suffix.lower() in PLAYABLE and os.path.isfile(source):  # noqa: PTH113 (never raises)
            link = relative_link(source, folder)
            if link and utterance.start is not None:
                link += f"#t={utterance.start:g},{utterance.end:g}"
            if link:
                links[utterance.id] = link
    return links


def relative_link(source: str, folder: Path) -> str | None:
    try:
        path = os.path.relpath(source, folder)
    except ValueError:  # on Windows, another drive
        return None
    link = quote(os.fsencode(path.replace(os.sep, "/")))
    return link if link.startswith("../") else f"./{link}"


def embedded_audio(
    utterances: Iterable[Utterance], *, allow_pipes: bool, bad: list[BadAudio]
) -> dict[str, str]:
    """The audio as 16 kHz FLAC in `data:` URLs, about 25 kB per second; faults are appended to `bad`."""
    waves = load_utterances(utterances, minimum_samples=1, on_error="skip", bad=bad, allow_pipes=allow_pipes)
    return {
        utterance.id: f"data:audio/flac;base64,{base64.b64encode(encode_flac(wave)).decode()}"
        for utterance, wave in waves
    }


def encode_flac(wave: np.ndarray) -> bytes:
    """Float32 `(samples,)`, 16 kHz, as a FLAC file of 16 bits."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
