"""Long recordings: cut at pauses, so that no piece exceeds a base's maximum input duration.

In: a waveform, float32 (samples,), 16 kHz. Out: the cuts. Beyond 15 s the mini base's positional embedding no
longer changes, and every base's self-attention costs the square of the length, so long recordings are decoded
in pieces, whose texts are joined.

    |<--------- 15 s, a piece --------->|
    |~~~~~~~~~~~~~~~~~~~~~~~ . ~~~~~~~ . ~~~~~~ …
                 searched:  [    ^      ]
                            the quietest 0.2 s of the last 5 s: the piece ends in their middle
"""

from dataclasses import replace

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.utterance import Utterance, load_utterance

MAXIMUM_SECONDS = 15.0  # of a piece
SEARCH_SECONDS = 5.0  # before the limit, in which the pause is searched
MINIMUM_SECONDS = 1.0  # of the last piece: see `minimum_samples`
HOP = SAMPLE_RATE // 100  # 10 ms, Kaldi's frame shift
PAUSE_HOPS = 20  # 0.2 s: longer than the closure of a stop, as long as a short pause between words


def cut_utterance(utterance: Utterance, seconds: float, maximum_seconds: float | None) -> list[Utterance]:
    """The utterance, whose duration is `seconds`, in pieces that the base can process: utterances with start,
    end and duration. An utterance within the maximum is a single piece, and its audio is not read. Raises
    AudioError as `load_utterance`."""
    if maximum_seconds is None or seconds <= maximum_seconds:
        return [replace(utterance, duration=seconds)]
    wave, offset = load_utterance(utterance), utterance.start or 0.0
    cuts = [(a / SAMPLE_RATE, b / SAMPLE_RATE) for a, b in cut_at_pauses(wave, maximum_seconds)]
    return [replace(utterance, start=offset + a, end=offset + b, duration=b - a) for a, b in cuts]


def cut_at_pauses(wave: np.ndarray, maximum_seconds: float = MAXIMUM_SECONDS) -> list[tuple[int, int]]:
    """(first, end) of each piece of `wave`, (samples,), in samples; the pieces are adjacent.

    A wave of at most `maximum_seconds` is a single piece. Otherwise each piece except the last ends in the
    middle of the quietest 0.2 s of its last third; of equally quiet places the last is taken.
    """
    limit, searched = round(maximum_seconds * SAMPLE_RATE), min(SEARCH_SECONDS, maximum_seconds / 3)
    minimum = minimum_samples(maximum_seconds)
    pieces, first = [], 0
    while len(wave) - first > limit:
        latest = min(first + limit, len(wave) - minimum)
        earliest = first + limit - round(searched * SAMPLE_RATE)
        cut = quietest(wave, earliest, latest)
        pieces.append((first, cut))
        first = cut
    return [*pieces, (first, len(wave))]


def minimum_samples(maximum_seconds: float) -> int:
    """Minimum length of the last piece, in samples. The first cut does not depend on audio that comes more
    than this after the limit, so a stream is cut as a recording is."""
    # MINIMUM_SECONDS are too much if the limit itself is a few seconds.
    return round(min(MINIMUM_SECONDS, maximum_seconds / 4) * SAMPLE_RATE)


def quietest(wave: np.ndarray, earliest: int, latest: int) -> int:
    """The sample between `earliest` and `latest` around which 0.2 s of audio have the least energy."""
    half = PAUSE_HOPS // 2
    start = max(0, earliest - half * HOP)
    frames = wave[start : latest + half * HOP]
    frames = frames[: len(frames) // HOP * HOP].reshape(-1, HOP).astype(np.float64)
    sums = np.concatenate(([0.0], np.cumsum(np.square(frames).sum(axis=1))))
    energies = sums[PAUSE_HOPS:] - sums[:-PAUSE_HOPS]  # of PAUSE_HOPS hops from i on, centred on i + half
    centres = start + (np.arange(len(energies)) + half) * HOP
    inside = (earliest <= centres) & (centres <= latest)
    energies, centres = energies[inside], centres[inside]
    return int(centres[energies <= energies.min()][-1]) if inside.any() else latest


def best_cuts(
    starts: np.ndarray, ends: np.ndarray, lefts: np.ndarray, rights: np.ndarray, maximum_seconds: float
) -> list[tuple[int, int]]:
    """(first, last) of the words, or other spans, of each segment. A segment of several spans does not exceed
    the maximum, and the sum of 1 / pause over the cuts is minimal, so the cuts are few, and in long pauses.
    `starts` and `ends` of each span are in seconds, increasing; a segment that begins or ends with the span
    begins at its `lefts`, or ends at its `rights`."""
    count = len(starts)
    costs = np.full(count + 1, np.inf)  # of the first n words
    costs[0] = 0.0
    previous = np.zeros(count + 1, np.int64)
    for last in range(count):
        for first in range(last, -1, -1):
            if rights[last] - lefts[first] > maximum_seconds and first < last:
                break
            pause = max(0.0, starts[first] - ends[first - 1]) if first else np.inf
            cost = costs[first] + 1 / (pause + 0.02)
            if cost < costs[last + 1]:
                costs[last + 1], previous[last + 1] = cost, first
    segments, end = [], count
    while end:
        segments.append((int(previous[end]), end - 1))
        end = int(previous[end])
    return segments[::-1]
