"""Voice activity: where there is speech in a recording or a stream, by its level or by Silero's model.

In: a waveform, float32 (samples,), 16 kHz. Out: the parts that hold speech; and from these the pieces of a
long recording, which leave out silence and are cut in pauses.

    energy    by the level, as Kaldi's compute-vad judges it, with a threshold that follows the stream: a hop
              of 10 ms is speech where it is well above the quietest 0.1 s of the last ten seconds and not far
              below the loudest. Needs nothing, and takes music and typing for speech
    silero    Silero's neural detector (https://github.com/snakers4/silero-vad), by the extra ia3-speech[vad]

The decision on a hop by its level depends on nothing that comes after it, so that recordings and streams are
judged alike, in portions of any size.
"""

from collections import deque
from functools import lru_cache
from importlib.util import find_spec
from math import log10
from typing import Any, Literal

import numpy as np

from ia3_speech.cli import pip_install
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.long_recordings import HOP, best_cuts, cut_at_pauses
from ia3_speech.errors import UserError

VadMethod = Literal["off", "energy", "silero"]

SMOOTHING_HOPS = 3  # 30 ms, over which a level is measured: some periods of the deepest voice
FLOOR_HOPS = 10  # 0.1 s, over which the level of the background is measured
HISTORY_HOPS = 1000  # 10 s, in which the quietest and the loudest are searched: longer than a phrase
# dB above the background: a share of the range between it and the loudest, within limits. Over ten seconds
# steady noise alone has a range of 2 dB, speech in noise of a third of its power one of 8 or more.
RANGE_SHARE, ABOVE_FLOOR = 0.4, (4.0, 10.0)
BELOW_PEAK = 35.0  # dB below the loudest: what is lower beside speech is breath, echo or another room
START_FLOOR, START_HOPS = -60.0, 300  # dB, assumed in the first 3 s: a stream may begin within a word
SILENCE = -65.0  # dB of full scale, below which nothing is speech

SILERO_CHUNK = 512  # samples, 32 ms
SILERO_THRESHOLD = 0.5  # Silero's own default; speech lasts until it falls below 0.35
SILERO_HYSTERESIS = 0.15
SHORTEST_SPEECH = 0.1  # seconds; a shorter burst is a click
SHORTEST_PAUSE = 0.1  # seconds; a shorter one is the closure of a stop
MARGIN = 0.25  # seconds kept before and after speech: soft beginnings and ends are below the threshold
SKIPPED_PAUSE = 2.0  # seconds; a shorter one is kept, as context


class SpeechDetector:
    """Tells speech from background, hop by hop, in constant memory."""

    def __init__(self) -> None:
        self.recent: deque[float] = deque(maxlen=FLOOR_HOPS)  # powers of hops
        self.backgrounds: deque[float] = deque(maxlen=HISTORY_HOPS)  # in dB, as the levels
        self.levels: deque[float] = deque(maxlen=HISTORY_HOPS)

    def feed(self, hops: np.ndarray) -> list[bool]:
        """Whether each of `hops`, (number, HOP) float32 samples, is speech."""
        return [self.is_speech(power) for power in np.square(hops, dtype=np.float64).mean(axis=1).tolist()]

    def is_speech(self, power: float) -> bool:
        """Of the next hop, whose mean square this is."""
        self.recent.append(power)
        recent = [*self.recent]
        level = decibels(sum(recent[-SMOOTHING_HOPS:]) / len(recent[-SMOOTHING_HOPS:]))
        self.backgrounds.append(decibels(sum(recent) / len(recent)))
        self.levels.append(level)
        floor, peak = min(self.backgrounds), max(self.levels)
        if len(self.backgrounds) <= START_HOPS:
            floor = min(floor, START_FLOOR)
        above = min(max(RANGE_SHARE * (peak - floor), ABOVE_FLOOR[0]), ABOVE_FLOOR[1])
        return level > max(floor + above, peak - BELOW_PEAK, SILENCE)


def decibels(power: float) -> float:
    """Relative to full scale; -100 at least."""
    return 10 * log10(max(power, 1e-10))


def choose_method(method: VadMethod | None) -> VadMethod:
    """`method`; None: silero where it is installed, else energy. Raises UserError where silero is not."""
    installed = all(map(find_spec, ("silero_vad", "onnxruntime")))
    if method == "silero" and not installed:
        raise UserError(
            f"--vad silero needs two packages (in the clone: {pip_install('.[vad]')}; --vad energy none)"
        )
    return method or ("silero" if installed else "energy")


def find_speech(wave: np.ndarray, method: Literal["energy", "silero"]) -> list[tuple[int, int]]:
    """(first, end) of each part with speech, in samples, without margins."""
    if method == "silero":
        active, hop = silero_activity(wave), SILERO_CHUNK
    else:
        active, hop = SpeechDetector().feed(np.pad(wave, (0, -len(wave) % HOP)).reshape(-1, HOP)), HOP
    edges = np.flatnonzero(np.diff([False, *active, False]))
    parts: list[tuple[int, int]] = []
    for first, end in edges.reshape(-1, 2) * hop:
        if parts and first - parts[-1][1] < SHORTEST_PAUSE * SAMPLE_RATE:
            parts[-1] = (parts[-1][0], int(end))
        else:
            parts.append((int(first), int(end)))
    return [(a, min(b, len(wave))) for a, b in parts if b - a >= SHORTEST_SPEECH * SAMPLE_RATE]


def silero_activity(wave: np.ndarray) -> list[bool]:
    """Whether there is speech in each chunk, by Silero's detector with hysteresis."""
    active, speaking = [], False
    for probability in silero_detector().audio_forward(wave).tolist():
        speaking = probability >= SILERO_THRESHOLD - SILERO_HYSTERESIS * speaking
        active.append(speaking)
    return active


@lru_cache(maxsize=1)
def silero_detector() -> Any:
    """Silero's model that takes many frames in one call (onnxruntime, one thread)."""
    from silero_vad import load_silero_vad

    return load_silero_vad(sequence=True)


def cut_speech(wave: np.ndarray, maximum_seconds: float, method: VadMethod) -> list[tuple[int, int]]:
    """(first, end) of the pieces of a recording, in samples, in order: what `cut_at_pauses` is for, without
    long silence. A wave of at most `maximum_seconds` is one piece, and so is one without any speech, to leave
    the judgement to the model, unless it is longer.

    Speech is cut in its longest pauses (`best_cuts`), which are kept where they are shorter than 2 s.
    """
    is_short = len(wave) <= round(maximum_seconds * SAMPLE_RATE)
    parts = [] if is_short or method == "off" else find_speech(wave, method)
    if not parts:
        return cut_at_pauses(wave, maximum_seconds)
    margin = round(MARGIN * SAMPLE_RATE)
    long = maximum_seconds - 2 * MARGIN
    parts = [(a + first, a + end) for a, b in parts for first, end in cut_at_pauses(wave[a:b], long)]
    starts, ends = np.array(parts).T
    between = (ends[:-1] + starts[1:]) // 2
    lefts = np.maximum(starts - margin, [0, *between])
    rights = np.minimum(ends + margin, [*between, len(wave)])
    pauses = np.flatnonzero(starts[1:] - ends[:-1] >= SKIPPED_PAUSE * SAMPLE_RATE) + 1
    pieces = []
    for a, b in zip([0, *pauses], [*pauses, len(parts)], strict=True):
        seconds = [samples[a:b] / SAMPLE_RATE for samples in (starts, ends, lefts, rights)]
        pieces += [(int(lefts[a + i]), int(rights[a + j])) for i, j in best_cuts(*seconds, maximum_seconds)]
    return pieces
