"""Long recordings: cut where the speaker pauses, so that each piece is as long as a base can hear.

In: a waveform, float32 `(samples,)`, 16 kHz. Out: where to cut it. The mini base's positions stand still
after 15 s, and every base's self-attention costs the square of the length, so `transcribe` decodes pieces of
at most that and joins their texts.

    |<------------- 15 s -------------->|
    |~~~~~~~~~~~~~~~~~~~~~~~ . ~~~~~~~ . ~~~~~~ …
              looked at:  [ ^             ]
                            quietest 0.2 s of the last 5 s: cut in its middle, go on from there
"""

from typing import TYPE_CHECKING

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

LONGEST = 15.0  # seconds of one piece
ABSOLUTE = 5.0  # seconds: a positional convolution that looks further back holds absolute positions
SEARCHED = 5.0  # seconds before that limit in which a pause is looked for
SHORTEST = 1.0  # seconds that a last piece has at least, so that it is no clipped-off syllable
HOP = SAMPLE_RATE // 100  # 10 ms, Kaldi's frame shift
PAUSE = 20  # hops, 0.2 s: longer than the closure of a stop, as long as a short pause between words


def maximum_input_seconds(base: "Base") -> float | None:
    """Seconds after which a base loses count of time, None where it never counts.

    Wav2Vec2's positions are relative, from a convolution over 128 frames, and know no end. The mini base
    has a convolution whose past half adds up absolute positions: 768 frames, 15.36 s. Beyond them it drops
    words (of 31 s of read speech, the stand-in base gets 78 % of the words wrong whole and 48 % cut).
    """
    taps = getattr(base.model.config, "num_conv_pos_embeddings", 0)
    seconds = taps // 2 * base.stride / SAMPLE_RATE
    return seconds if seconds > ABSOLUTE else None


def cut_at_pauses(wave: np.ndarray, longest: float = LONGEST) -> list[tuple[int, int]]:
    """Where to cut `wave` `(samples,)`: (first, end) of each piece, in samples, adjacent, from 0 to the end.

    A wave of at most `longest` seconds is one piece. Otherwise each piece but the last ends in the middle of
    the quietest 0.2 s of its last third, of equally quiet ones the last.
    """
    limit, window = round(longest * SAMPLE_RATE), min(SEARCHED, longest / 3)
    # A last piece shorter than SHORTEST can't be had where that is no small part of the limit.
    least = round(min(SHORTEST, longest / 4) * SAMPLE_RATE)
    pieces, first = [], 0
    while len(wave) - first > limit:
        latest = min(first + limit, len(wave) - least)
        earliest = first + limit - round(window * SAMPLE_RATE)
        cut = quietest(wave, earliest, latest)
        pieces.append((first, cut))
        first = cut
    return [*pieces, (first, len(wave))]


def quietest(wave: np.ndarray, earliest: int, latest: int) -> int:
    """The sample between the two in the middle of whose neighbourhood of 0.2 s the least energy lies."""
    half = PAUSE // 2
    start = max(0, earliest - half * HOP)
    frames = wave[start : latest + half * HOP]
    frames = frames[: len(frames) // HOP * HOP].reshape(-1, HOP).astype(np.float64)
    sums = np.concatenate(([0.0], np.cumsum(np.square(frames).sum(axis=1))))
    energies = sums[PAUSE:] - sums[:-PAUSE]  # of hops i … i + PAUSE - 1, whose middle is hop i + half
    middles = start + (np.arange(len(energies)) + half) * HOP
    inside = (earliest <= middles) & (middles <= latest)
    if not inside.any():
        return latest
    energies, middles = energies[inside], middles[inside]
    return int(middles[np.flatnonzero(energies <= energies.min())[-1]])
