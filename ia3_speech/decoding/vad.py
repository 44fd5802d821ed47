"""Voice activity: where there is speech in a recording, by Silero's model or by energy.

In: a waveform, float32 (samples,), 16 kHz. Out: the parts that hold speech; and from these the pieces of a
long recording, which leave out silence and are cut in pauses.

    energy    a part is speech where its level is 10 dB above the recording's noise, whose level is the 10th
              percentile; needs nothing, and takes music and typing for speech
    silero    Silero's neural detector (https://github.com/snakers4/silero-vad), by the extra ia3-speech[vad]
"""

from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from ia3_speech.cli import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.decoding.long_recordings import HOP, best_cuts, cut_at_pauses

Method = Literal["off", "energy", "silero"]

ABOVE_NOISE = 10.0  # dB
ABOVE_SILENCE = 3e-4  # of full scale, -70 dB: no level below it is speech
NOISE_PERCENTILE = 10
SMOOTHED_HOPS = 3  # 30 ms
SILERO_CHUNK = 512  # samples, 32 ms
SILERO_THRESHOLD = 0.5  # Silero's own default; speech lasts until it falls below 0.35
SILERO_HYSTERESIS = 0.15
SHORTEST_SPEECH = 0.1  # seconds; a shorter burst is a click
SHORTEST_PAUSE = 0.1  # seconds; a shorter one is the closure of a stop
MARGIN = 0.25  # seconds kept before and after speech: soft beginnings and ends are below the threshold
SKIPPED_PAUSE = 2.0  # seconds; a shorter one is kept, as context


def default_method() -> Method:
    """silero where the extra is installed, else energy."""
    return "silero" if has_silero() else "energy"


def has_silero() -> bool:
    """Whether the packages of the extra `vad` are there."""
    return all(map(find_spec, ("silero_vad", "onnxruntime")))


def check_method(method: Method) -> None:
    """Raises UserError where the method's package is missing."""
    if method == "silero" and not has_silero():
        raise UserError(
            "--vad silero needs two packages (pip install 'ia3-speech[vad]'; --vad energy does not)"
        )


def find_speech(wave: np.ndarray, method: Method) -> list[tuple[int, int]]:
    """(first, end) of each part with speech, in samples, without margins.

    Raises:
        UserError: `method` is silero, and it is not installed.
    """
    if method == "off" or not len(wave):
        return [(0, len(wave))]
    check_method(method)
    active, hop = silero_activity(wave) if method == "silero" else energy_activity(wave)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], active, [False])).astype(np.int8)))
    parts: list[tuple[int, int]] = []
    for first, end in edges.reshape(-1, 2) * hop:
        if parts and first - parts[-1][1] < SHORTEST_PAUSE * SAMPLE_RATE:
            parts[-1] = (parts[-1][0], int(end))
        else:
            parts.append((int(first), int(end)))
    return [(a, min(b, len(wave))) for a, b in parts if b - a >= SHORTEST_SPEECH * SAMPLE_RATE]


def energy_activity(wave: np.ndarray) -> tuple[np.ndarray, int]:
    """(hops,) whether the level is that of speech, and the samples of a hop."""
    hops = -(-len(wave) // HOP)
    padded = np.zeros(hops * HOP, np.float32)
    padded[: len(wave)] = wave
    power = np.square(padded.reshape(-1, HOP)).mean(axis=1)
    power = np.convolve(power, np.full(SMOOTHED_HOPS, 1 / SMOOTHED_HOPS), "same")
    noise = np.percentile(power, NOISE_PERCENTILE)
    return power > max(noise * 10 ** (ABOVE_NOISE / 10), ABOVE_SILENCE**2), HOP


def silero_activity(wave: np.ndarray) -> tuple[np.ndarray, int]:
    """The same by Silero's detector, with hysteresis."""
    probabilities = silero_detector().audio_forward(wave)
    active, speaking = np.zeros(len(probabilities), bool), False
    for number, probability in enumerate(probabilities.tolist()):
        speaking = probability >= SILERO_THRESHOLD - SILERO_HYSTERESIS * speaking
        active[number] = speaking
    return active, SILERO_CHUNK


@lru_cache(maxsize=1)
def silero_detector() -> Any:
    """Silero's model that takes many frames in one call (onnxruntime, one thread)."""
    from silero_vad import load_silero_vad

    return load_silero_vad(sequence=True)


def cut_speech(wave: np.ndarray, maximum_seconds: float, method: Method) -> list[tuple[int, int]]:
    """(first, end) of the pieces of a recording, in samples, in order: what `cut_at_pauses` is for, without
    long silence. A wave of at most `maximum_seconds` is one piece, and so is one without any speech, to leave
    the judgement to the model, unless it is longer.

    Speech is cut in its longest pauses (`best_cuts`), which are kept where they are shorter than 2 s.
    """
    if len(wave) <= round(maximum_seconds * SAMPLE_RATE) or method == "off":
        return cut_at_pauses(wave, maximum_seconds)
    parts = find_speech(wave, method)
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
