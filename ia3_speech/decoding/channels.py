"""Calls: the channels of a recording, each with its speaker and perhaps an adapter of its own.

    ia3-speech transcribe --channels split --adapter left=agent,right=caller call.wav

In: a recording with several channels. Out: a waveform for each, named left and right, or 1, 2, 3 … where
there are more; and their segments, merged by time.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ia3_speech.adapters.expressions import Term, parse_terms
from ia3_speech.cli import UserError
from ia3_speech.data.audio import AudioError, load_channels
from ia3_speech.data.recordings import Recording
from ia3_speech.decoding.transcript import TranscriptSegment

STEREO = ("left", "right")


def channel_names(count: int) -> tuple[str, ...]:
    """left and right; of any other number of channels, 1, 2, 3 …"""
    return STEREO if count == 2 else tuple(str(number) for number in range(1, count + 1))


def parse_channel_adapters(adapter: str | Path | None) -> dict[str, str] | None:
    """`left=agent,right=caller` → the adapter of each channel; None where `adapter` is one for all channels.

    Raises:
        UserError: a channel is named twice or not as channels are, or has no adapter.
    """
    text = "" if adapter is None else str(adapter)
    name = text.partition("=")[0].strip()
    if "=" not in text or not (name in STEREO or name.isdecimal()):
        return None
    found: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if not (name in STEREO or name.isdecimal()) or name in found or not value:
            raise UserError(f'--adapter "{text}": "{part}" is not CHANNEL=ADAPTER (left=agent,right=caller)')
        found[name] = value
    return found


def bank_of(adapters: Iterable[str]) -> dict[str, Path]:
    """What a bank loads for these adapters, which may be sums: each term's name and folder."""
    terms: list[Term] = [term for adapter in adapters for term in parse_terms(adapter)]
    return {term.name: term.folder for term in terms}


def split_channels(recording: Recording) -> list[np.ndarray]:
    """float32 (samples,), 16 kHz, of each channel.

    Raises:
        AudioError: as `load_audio`; or there is one channel.
    """
    source = recording.audio
    if isinstance(source, bytes | bytearray):
        source = io.BytesIO(source)
    if isinstance(source, dict | np.ndarray) or not (
        isinstance(source, str | Path) or hasattr(source, "read")
    ):
        raise AudioError("channels are split of files alone (give a path)")
    channels = load_channels(source)
    if len(channels) < 2:
        raise AudioError("has one channel (leave out --channels split)")
    return channels


def merge_by_time(channels: Iterable[Sequence[TranscriptSegment]]) -> tuple[TranscriptSegment, ...]:
    """The segments of all channels, those that begin first first."""
    return tuple(sorted((one for own in channels for one in own), key=lambda one: (one.start, one.end)))
