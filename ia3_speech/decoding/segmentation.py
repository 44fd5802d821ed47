"""Long recordings: cut at pauses, so that no piece exceeds a base's maximum input duration.

In: a waveform, float32 (samples,), 16 kHz. Out: where to cut it. Beyond 15 s the mini base's positional
embedding no longer changes, and every base's self-attention costs the square of the length, so long
recordings are decoded in pieces of at most that, whose texts are joined.

    |<--------- 15 s, a piece --------->|
    |~~~~~~~~~~~~~~~~~~~~~~~ . ~~~~~~~ . ~~~~~~ …
                 searched:  [    ^      ]
                            the quietest 0.2 s of the last 5 s: the piece ends in their middle
"""

from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

MAXIMUM_SECONDS = 15.0  # of one piece
SEARCH_SECONDS = 5.0  # before that limit, in which a pause is searched for
MINIMUM_SECONDS = 1.0  # of the last piece, so that it is no syllable cut off
HOP = SAMPLE_RATE // 100  # 10 ms, Kaldi's frame shift
PAUSE_HOPS = 20  # 0.2 s: longer than the closure of a stop, as long as a short pause between words
ABSOLUTE_POSITIONS_SECONDS = 5.0  # a positional convolution over more than that holds absolute positions


def maximum_input_seconds(base: "Base") -> float | None:
    """The base's maximum input duration, None where it has none.

    Wav2Vec2's positions are relative, from a convolution over 128 frames, and have no end. The mini base's
    convolution adds up absolute positions over its past half, 768 frames: 15.36 s. Beyond that it drops
    words (of 31 s of read speech, the base gets 78 % of the words wrong whole and 48 % in pieces).
    """
    taps = getattr(base.model.config, "num_conv_pos_embeddings", 0)
    seconds = taps // 2 * base.stride / SAMPLE_RATE
    return seconds if seconds > ABSOLUTE_POSITIONS_SECONDS else None


def cut_at_pauses(wave: np.ndarray, maximum_seconds: float = MAXIMUM_SECONDS) -> list[tuple[int, int]]:
    """Where to cut `wave` (samples,): (first, end) of each piece, in samples, adjacent, from 0 to the end.

    A wave of at most `maximum_seconds` is one piece. Otherwise each piece but the last ends in the middle of
    the quietest 0.2 s of its last third; where several are equally quiet, of the last of them.
    """
    limit, searched = round(maximum_seconds * SAMPLE_RATE), min(SEARCH_SECONDS, maximum_seconds / 3)
    # A last piece of at least MINIMUM_SECONDS is not always possible where the limit itself is a few seconds.
    minimum = round(min(MINIMUM_SECONDS, maximum_seconds / 4) * SAMPLE_RATE)
    pieces, first = [], 0
    while len(wave) - first > limit:
        latest = min(first + limit, len(wave) - minimum)
        earliest = first + limit - round(searched * SAMPLE_RATE)
        cut = quietest(wave, earliest, latest)
        pieces.append((first, cut))
        first = cut
    return [*pieces, (first, len(wave))]


def quietest(wave: np.ndarray, earliest: int, latest: int) -> int:
    """The sample between the two around which 0.2 s of audio have the least energy."""
    half = PAUSE_HOPS // 2
    start = max(0, earliest - half * HOP)
    frames = wave[start : latest + half * HOP]
    frames = frames[: len(frames) // HOP * HOP].reshape(-1, HOP).astype(np.float64)
    sums = np.concatenate(([0.0], np.cumsum(np.square(frames).sum(axis=1))))
    energies = (
        sums[PAUSE_HOPS:] - sums[:-PAUSE_HOPS]
    )  # of hops i … i + PAUSE_HOPS - 1, centred on hop i + half
    centres = start + (np.arange(len(energies)) + half) * HOP
    inside = (earliest <= centres) & (centres <= latest)
    if not inside.any():
        return latest
    energies, centres = energies[inside], centres[inside]
    return int(centres[np.flatnonzero(energies <= energies.min())[-1]])
