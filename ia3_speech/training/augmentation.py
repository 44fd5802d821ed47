"""Augmentation of training audio: noise and reverberation.

    ia3-speech train --noise noises --noise-snr 5,20 --reverb rooms …

In: a folder of noises, and a folder of room impulse responses (any audio, resampled to 16 kHz). Out: a
waveform as long as before, so that its frames still fit its text. The caller's generator, seeded by step and
utterance, draws the file, the position in it and the signal-to-noise ratio. All files are in memory: 0.23 GB
an hour.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ia3_speech.common.errors import AudioError, TrainingError
from ia3_speech.common.inputs import digest_of
from ia3_speech.data.audio import load_audio
from ia3_speech.data.recordings import find_recordings
from ia3_speech.training.config import SharedOptions


@dataclass(frozen=True)
class Augmentation:
    """Noises and room impulse responses, (samples,) at 16 kHz, and the range of signal-to-noise ratios in
    dB."""

    snr_range: tuple[float, float] = (5.0, 20.0)
    noises: list[torch.Tensor] = field(default_factory=list)
    responses: list[torch.Tensor] = field(default_factory=list)

    def apply(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(samples,) → (samples,): first the reverberation of a room, then noise."""
        from torchaudio.functional import add_noise, fftconvolve

        samples = torch.from_numpy(wave)
        if self.responses:
            response = self.responses[rng.integers(len(self.responses))]
            samples = fftconvolve(samples, response)[: len(wave)]
        if self.noises:
            noise = self.noises[rng.integers(len(self.noises))]
            if len(noise) < len(wave):
                noise = noise.repeat(1 + -(-len(wave) // len(noise)))
            start = rng.integers(len(noise) - len(wave) + 1)
            noise = noise[start : start + len(wave)]
            snr = torch.tensor(rng.uniform(*self.snr_range), dtype=torch.float32)
            samples = add_noise(samples, noise, snr) if noise.any() else samples
        return samples.numpy()


def direct_path_first(response: torch.Tensor) -> torch.Tensor:
    """A room impulse response that begins at its direct path, the largest sample, scaled to energy 1."""
    response = response[int(response.abs().argmax()) :]
    return response / response.norm()


def read_augmentation(options: SharedOptions) -> Augmentation | None:
    """The augmentation of the options, or None. Raises TrainingError, AudioError for a folder without audio,
    or with a damaged or silent file."""
    if not (options.noise or options.reverb):
        return None
    noises, rooms = (
        read_waves(name, folder, digest_of(folder)) if folder else []
        for name, folder in (("noise", options.noise), ("reverb", options.reverb))
    )
    return Augmentation(options.snr_range, noises, [direct_path_first(wave) for wave in rooms])


@lru_cache(maxsize=2)
def read_waves(option: str, folder: Path, digest: str = "") -> list[torch.Tensor]:
    """The audio files of a folder, (samples,) at 16 kHz, sorted by name; `digest` identifies its contents."""
    recordings, bad = find_recordings([str(folder)])
    if bad or not folder.is_dir():
        raise TrainingError(f"`{option}`: {'; '.join(bad) or f'{folder}: is not a folder'}")
    waves = []
    for recording in recordings:
        wave = torch.from_numpy(load_audio(recording.audio))
        if not wave.isfinite().all() or not wave.any():
            raise AudioError(f"`{option}`: {recording.audio}: is silent, or holds NaN (delete it)")
        waves.append(wave)
    return waves
