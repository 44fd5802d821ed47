"""What is wrong with a waveform: empty, too short, not finite, clipped, silent.

In: float32 `(samples,)` at 16 kHz, full scale ±1. Out: a `Problem`, or None.
"""

from dataclasses import dataclass

import numpy as np

from ia3_speech.data.audio import SAMPLE_RATE

RECEPTIVE_FIELD = 400  # samples (25 ms) that a frame of a wav2vec 2.0 base sees, so the shortest usable input
# Clipping shows as flat tops: of speech that was cut off at half its peak 0.1 to 3 % of the samples, also
# after resampling or Opus; of speech that was scaled up to its peak single samples alone.
FULL_SCALE = 0.99
FLAT_TOP = 3  # samples in a row, of one sign
CLIPPED_SHARE = 0.001  # of all samples
SILENT_PEAK = 1e-4  # of full scale, -80 dB: three steps of 16 bit, below the noise of any microphone
SILENT_SECONDS = 0.5  # shorter audio is not called silent


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a waveform."""

    reason: str  # a phrase for messages, such as `too short (0.010 s, 0.025 s are needed)`
    fatal: bool = True  # whether no model can use the waveform; clipped speech and silence are only named


def find_problem(wave: np.ndarray, minimum_samples: int = RECEPTIVE_FIELD) -> Problem | None:
    """The most serious problem of `wave` (float32 `(samples,)`, 16 kHz), or None."""
    if wave.size == 0:
        return Problem("empty (no samples)")
    if wave.size < minimum_samples:
        seconds, needed = wave.size / SAMPLE_RATE, minimum_samples / SAMPLE_RATE
        return Problem(f"too short ({seconds:.3f} s, {needed:.3f} s are needed)")
    if not np.isfinite([wave.min(), wave.max()]).all():
        return Problem(f"{np.count_nonzero(~np.isfinite(wave))} samples are NaN or infinite")
    share = clipped_share(wave)
    if share >= CLIPPED_SHARE:
        return Problem(f"clipped ({100 * share:.1f} % of the samples are flat at full scale)", fatal=False)
    if is_silent(wave):
        return Problem("silent (is the microphone or the right channel recorded?)", fatal=False)
    return None


def is_silent(wave: np.ndarray) -> bool:
    """Whether there is nothing in `wave` (samples,) that a microphone could have recorded."""
    return wave.size >= SILENT_SECONDS * SAMPLE_RATE and np.ptp(wave) < 2 * SILENT_PEAK


def clipped_share(wave: np.ndarray) -> float:
    """The share of samples in runs of three or more at full scale, of one sign. `wave` is `(samples,)`."""
    if max(wave.max(), -wave.min()) < FULL_SCALE:
        return 0.0
    clipped = 0
    for is_full in (wave >= FULL_SCALE, wave <= -FULL_SCALE):
        edges = np.diff(is_full.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
        runs = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
        clipped += int(runs[runs >= FLAT_TOP].sum())
    return clipped / wave.size
