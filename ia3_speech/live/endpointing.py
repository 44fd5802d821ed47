"""Endpointing: where in a stream of audio someone speaks, and where a pause has lasted long enough.

In: samples, float32, 16 kHz, in portions of any size. Out: for each hop of 10 ms whether it is speech, by its
level alone, as Kaldi's compute-vad judges it; here the threshold follows the stream. A hop is speech where it
is well above the quietest 0.1 s of the last ten seconds and not far below the loudest, so that neither the
gain of a microphone nor steady noise matters. The decision on a hop depends on nothing that comes after it,
and never on how the stream was cut into portions.
"""

from collections import deque
from math import log10

import numpy as np

SMOOTHING_HOPS = 3  # 30 ms, over which a level is measured: some periods of the deepest voice
FLOOR_HOPS = 10  # 0.1 s, over which the level of the background is measured
HISTORY_HOPS = 1000  # 10 s, in which the quietest and the loudest are searched: longer than a phrase
# dB above the background: a share of the range between it and the loudest, within limits. Over ten seconds
# steady noise alone has a range of 2 dB, speech in noise of a third of its power one of 8 or more.
RANGE_SHARE, ABOVE_FLOOR = 0.4, (4.0, 10.0)
BELOW_PEAK = 35.0  # dB below the loudest: what is lower beside speech is breath, echo or another room
START_FLOOR, START_HOPS = -60.0, 300  # dB, assumed in the first 3 s: a stream may begin within a word
SILENCE = -65.0  # dB of full scale, below which nothing is speech


class RunningMinimum:
    """The least of the last HISTORY_HOPS numbers, in constant time each.

    Attributes:
        candidates: until when each may be the least, and the number; both increase.
    """

    def __init__(self, first: float | None = None, first_hops: int = 0):
        """`first`: a number that counts as the least for the first `first_hops`, unless one is less."""
        self.count = 0
        self.candidates = deque([] if first is None else [(first_hops, first)])

    def push(self, number: float) -> float:
        """Add a number; the least of the last HISTORY_HOPS ones."""
        while self.candidates and self.candidates[-1][1] >= number:
            self.candidates.pop()
        self.candidates.append((self.count + HISTORY_HOPS, number))
        if self.candidates[0][0] <= self.count:
            self.candidates.popleft()
        self.count += 1
        return self.candidates[0][1]


class SpeechDetector:
    """Tells speech from background, hop by hop, in constant memory."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=FLOOR_HOPS)  # powers of hops
        self.floor, self.peak = RunningMinimum(START_FLOOR, START_HOPS), RunningMinimum()

    def feed(self, hops: np.ndarray) -> list[bool]:
        """Whether each of `hops`, (number, HOP) float32 samples, is speech."""
        return [self.is_speech(power) for power in np.square(hops, dtype=np.float64).mean(axis=1).tolist()]

    def is_speech(self, power: float) -> bool:
        """Whether the next hop, of that mean square, is speech."""
        self.recent.append(power)
        recent = [*self.recent]
        level = decibels(sum(recent[-SMOOTHING_HOPS:]) / len(recent[-SMOOTHING_HOPS:]))
        background = decibels(sum(recent) / len(recent))
        floor, peak = self.floor.push(background), -self.peak.push(-level)
        above = min(max(RANGE_SHARE * (peak - floor), ABOVE_FLOOR[0]), ABOVE_FLOOR[1])
        return level > max(floor + above, peak - BELOW_PEAK, SILENCE)


def decibels(power: float) -> float:
    """Relative to full scale; -100 at least."""
    return 10 * log10(max(power, 1e-10))
