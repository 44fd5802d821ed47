"""Replay: other speech, without transcripts, on which training holds the adapted model to its base.

    ia3-speech train --replay data/other --replay-weight 1 …

In: a data directory, whose `text` is not read, and a base into which nothing has been put yet. Out: what the
base says of each frame, computed once and kept for later trainings too, in `replay` beside the registry's
folder; a part of the speech for each step; and its loss, which is added to CTC's: λ · KL(base ‖ adapted), the
mean over frames (after Li and Hoiem 2016, "Learning without Forgetting", arXiv 1606.09282). The adapted model
hears it with the masks and dropout of training, the base did without.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ia3_speech import __version__
from ia3_speech.adapters import registry
from ia3_speech.atomic import replacing
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterance, load_utterances
from ia3_speech.decoding.decode_directory import read_for_decoding
from ia3_speech.decoding.long_recordings import cut_utterance
from ia3_speech.errors import TrainingError
from ia3_speech.inputs import digest_of
from ia3_speech.model.base import Base
from ia3_speech.model.fingerprint import tensors_sha256
from ia3_speech.training.config import SharedOptions, replay_folder
from ia3_speech.training.data import report_left_out
from ia3_speech.training.feature_cache import FeatureCache

logger = logging.getLogger(__name__)

SHARE = 0.25  # of a batch's seconds that are replayed in its step


@dataclass
class Replayed:
    """A piece of the replayed speech, at most as long as the base's longest input."""

    utterance: Utterance  # where its audio is, and its duration
    summary: dict[str, torch.Tensor]  # what the base says of it, as `Base.summary` gives it

    @property
    def seconds(self) -> float:
        return self.utterance.duration


def read_replay(base: Base, options: SharedOptions) -> list[Replayed]:
    """Read the other speech that the options name, and keep what the base says of it; none: an empty list.

    Raises:
        DataError, AudioError: the directory is not valid (it may lack `text`), or its audio is bad (with
            `on_error: fail`).
        TrainingError: no audio is left.
    """
    if not options.replay:
        return []
    path = replay_folder(options.replay)
    bad: list[BadAudio] = []
    waves = load_utterances(
        read_for_decoding(path, options.allow_pipes),
        minimum_samples=base.minimum_samples,
        on_error=options.on_error,
        bad=bad,
        allow_pipes=options.allow_pipes,
    )
    file = kept_file(base, path)
    kept: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in (load_file(file) if file.is_file() else {}).items():
        name, _, part = key.rpartition(" ")
        kept.setdefault(name, {})[part] = tensor
    found, replay = len(kept), []
    for utterance, wave in waves:
        seconds, pipes = len(wave) / SAMPLE_RATE, options.allow_pipes
        for piece in cut_utterance(utterance, seconds, base.maximum_seconds, allow_pipes=pipes):
            whole = piece.duration == seconds
            name = piece.id if whole else f"{piece.id} from {piece.start:g}"  # pieces have their whole's id
            if name not in kept:
                row = base.logits([wave if whole else load_utterance(piece, allow_pipes=pipes)])[0]
                kept[name] = base.summary(row)
            replay.append(Replayed(piece, kept[name]))
    report_left_out(path, bad, [], options)
    name_other_rates(path, [piece.utterance for piece in replay])
    if not replay:
        raise TrainingError(f"{path}: no usable audio to replay")
    if len(kept) > found:
        with suppress(OSError), replacing(file) as new:  # a home that is read-only: training needs no file
            save_file(
                {f"{n} {part}": t.contiguous() for n, parts in kept.items() for part, t in parts.items()}, new
            )
    return replay


def name_other_rates(path: Path, utterances: Sequence[Utterance]) -> None:
    """Say how many files have other sampling rates than the base's input; they were resampled."""
    import soundfile

    rates: Counter[int] = Counter()
    for source in {utterance.source for utterance in utterances if not utterance.is_piped}:
        with suppress(RuntimeError, OSError):  # a container, which libsndfile does not read
            rates[soundfile.info(source).samplerate] += 1
    if others := [f"{count} of {rate} Hz" for rate, count in sorted(rates.items()) if rate != SAMPLE_RATE]:
        logger.warning("%s: audio is resampled to %d Hz (files: %s)", path, SAMPLE_RATE, ", ".join(others))


def kept_file(base: Base, path: Path) -> Path:
    """Where it is kept what this base says of a data directory's speech, as this version computes it."""
    computed = (__version__, base.dtype, base.precision, base.device.type, base.maximum_seconds)
    key = repr((digest_of(path), base.fingerprint["sha256"], *computed))
    return registry.home() / f"replay/{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"


def replay_digest(replay: Sequence[Replayed]) -> str:
    """SHA-256 of what the base says of the speech: another base, or other speech, is another digest."""
    return tensors_sha256(
        tensor for piece in replay for _, tensor in sorted(piece.summary.items(), reverse=True)
    )


def draw_replay(replay: Sequence[Replayed], batch_seconds: float, seed: int, step: int) -> list[Replayed]:
    """The pieces of a step, which depend on seed and step alone: a quarter of a batch, or one piece."""
    drawn: list[Replayed] = []
    longest = 0.0
    for number in np.random.default_rng([seed, step]).permutation(len(replay)):
        longest = max(longest, replay[number].seconds)
        if drawn and longest * (len(drawn) + 1) > SHARE * batch_seconds:
            break
        drawn.append(replay[number])
    return drawn


def replay_losses(cache: FeatureCache, pieces: Sequence[Replayed]) -> torch.Tensor:
    """(batch,): KL(base ‖ adapted) of each piece, the mean over its frames."""
    logits, frames = cache.logits([piece.utterance for piece in pieces])
    return cache.base.divergence(logits, frames, [piece.summary for piece in pieces])
