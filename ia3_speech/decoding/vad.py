"""Voice activity: the speech in a recording or a stream, found by its level or by Silero's model.

In: a waveform, float32 `(samples,)`, 16 kHz. Out: the parts that hold speech; and from these the pieces of a
long recording, which leave out silence and are cut in pauses.

    energy    by the level (`librosa.feature.rms`) with a threshold that follows the stream: a hop of 10 ms is
              speech if it is well above the quietest 0.1 s of the last ten seconds and not far below the
              loudest. It needs no extra, but mistakes music and typing for speech
    silero    Silero's neural detector (https://github.com/snakers4/silero-vad), by the extra ia3-speech[vad]

The decision on a hop by its level does not depend on later hops, so a stream in portions of any size and the
whole recording give the same decisions.
"""

from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ia3_speech.common.cli import pip_install
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.long_recordings import HOP, best_cuts, cut_at_pauses

VadMethod = Literal["off", "energy", "silero"]

LEVEL_HOPS = 3  # 30 ms for a level: some periods of the deepest voice
FLOOR_HOPS = 10  # 0.1 s for the level of the background
HISTORY_HOPS = 1000  # 10 s for the quietest and the loudest hops: longer than a phrase
# dB above the background: a share of the range between it and the loudest, within limits. Over ten seconds
# steady noise alone has a range of 2 dB, speech in noise of a third of its power a range of 8 dB or more.
RANGE_SHARE, ABOVE_FLOOR = 0.4, (4.0, 10.0)
BELOW_PEAK = 35.0  # dB below the loudest: a lower sound beside speech is breath, echo or another room
START_FLOOR, START_HOPS = -60.0, 300  # dB, assumed in the first 3 s: a stream may begin within a word
SILENCE = -65.0  # dB of full scale: lower sounds are not speech
MIN_LEVEL = 1e-5  # of full scale (-100 dB), so that digital silence has a logarithm

SILERO_CHUNK = 512  # samples, 32 ms
SILERO_THRESHOLD = 0.5  # Silero's own default; speech lasts until it falls below 0.35
SILERO_HYSTERESIS = 0.15
MIN_SPEECH_SECONDS = 0.1  # a shorter burst is a click
MIN_PAUSE_SECONDS = 0.1  # a shorter pause is the closure of a stop
MARGIN = 0.25  # seconds added before and after speech: soft beginnings and ends are below the threshold
SKIPPED_PAUSE = 2.0  # seconds; a shorter pause is kept, as context


class SpeechDetector:
    """Detects speech in a stream, hop by hop, in constant memory."""

    def __init__(self) -> None:
        self.hops = 0  # evaluated so far
        self.wave = np.zeros((FLOOR_HOPS - 1) * HOP, np.float32)  # the last samples
        self.levels = np.full(HISTORY_HOPS - 1, -np.inf)  # dB, of the last hops
        self.backgrounds = np.full(HISTORY_HOPS - 1, np.inf)

    def feed(self, wave: np.ndarray) -> np.ndarray:
        """bool `(hops,)`: whether each hop of the next samples is speech. `wave` is float32 `(samples,)`,
        16 kHz, of a whole number of hops."""
        if not len(wave):
            return np.zeros(0, bool)
        self.wave = np.concatenate([self.wave, wave])
        levels = level_in_db(self.wave[(FLOOR_HOPS - LEVEL_HOPS) * HOP :], LEVEL_HOPS)
        backgrounds = level_in_db(self.wave, FLOOR_HOPS)
        backgrounds[: max(0, FLOOR_HOPS - 1 - self.hops)] = np.inf  # not measured before 0.1 s
        self.levels = np.concatenate([self.levels, levels])
        self.backgrounds = np.concatenate([self.backgrounds, backgrounds])
        peak = sliding_window_view(self.levels, HISTORY_HOPS).max(axis=1)
        floor = sliding_window_view(self.backgrounds, HISTORY_HOPS).min(axis=1)
        start = floor[: max(0, START_HOPS - self.hops)]
        np.minimum(start, START_FLOOR, out=start)
        threshold = floor + np.clip(RANGE_SHARE * (peak - floor), *ABOVE_FLOOR)
        self.hops += len(levels)
        self.wave = self.wave[(1 - FLOOR_HOPS) * HOP :]
        self.levels, self.backgrounds = self.levels[1 - HISTORY_HOPS :], self.backgrounds[1 - HISTORY_HOPS :]
        return levels > np.maximum(np.maximum(threshold, peak - BELOW_PEAK), SILENCE)


def level_in_db(wave: np.ndarray, hops: int) -> np.ndarray:
    """dB of full scale `(frames,)`: the level of `hops` hops up to the end of each hop."""
    from librosa.feature import rms

    level = rms(y=wave, frame_length=hops * HOP, hop_length=HOP, center=False, dtype=np.float64)[0]
    return 20 * np.log10(np.maximum(level, MIN_LEVEL))


def choose_method(method: VadMethod | None) -> VadMethod:
    """`method`; None: silero if it is installed, else energy. Raises UserError if silero is not installed."""
    installed = all(map(find_spec, ("silero_vad", "onnxruntime")))
    if method == "silero" and not installed:
        raise UserError(
            f"`vad=silero` needs two packages (in the clone: {pip_install('.[vad]')}; or take `vad=energy`)"
        )
    return method or ("silero" if installed else "energy")


def find_speech(wave: np.ndarray, method: Literal["energy", "silero"]) -> list[tuple[int, int]]:
    """(first, end) of each part with speech, in samples, without margins."""
    if method == "energy":
        active, hop = SpeechDetector().feed(np.pad(wave, (0, -len(wave) % HOP))), HOP
    else:
        active, hop = [False], SILERO_CHUNK
        for probability in silero_detector().audio_forward(wave).tolist():
            active.append(probability >= SILERO_THRESHOLD - SILERO_HYSTERESIS * active[-1])
        active = active[1:]
    edges = np.flatnonzero(np.diff([False, *active, False]))
    parts: list[tuple[int, int]] = []
    for first, end in edges.reshape(-1, 2) * hop:
        if parts and first - parts[-1][1] < MIN_PAUSE_SECONDS * SAMPLE_RATE:
            parts[-1] = (parts[-1][0], int(end))
        else:
            parts.append((int(first), int(end)))
    return [(a, min(b, len(wave))) for a, b in parts if b - a >= MIN_SPEECH_SECONDS * SAMPLE_RATE]


@lru_cache(maxsize=1)
def silero_detector() -> Any:
    """Silero's model, which takes many frames in a call (onnxruntime, single thread)."""
    from silero_vad import load_silero_vad

    return load_silero_vad(sequence=True)


def cut_speech(wave: np.ndarray, maximum_seconds: float, method: VadMethod) -> list[tuple[int, int]]:
    """(first, end) of the pieces of a recording, in samples, in order, without long silence. A wave of at
    most `maximum_seconds` is a single piece; a longer wave without speech is cut by `cut_at_pauses`, since
    the detector may be wrong. Speech is cut in its longest pauses (`best_cuts`); pauses below 2 s stay in."""
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
