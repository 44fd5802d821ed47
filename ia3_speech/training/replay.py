"""Replay: other speech, without transcripts, on which training penalises divergence from the base.

    ia3-speech train --replay data/other --replay-weight 1 …

In: a data directory, whose `text` is not read, and a base without an adapter. Out: a summary of the base's
output for each frame, computed once and stored for later trainings, in `replay` beside the registry's folder;
a part of the speech for each step; and its loss, which is added to the loss of training: λ · KL(base ‖
adapted), the mean over frames (after Li and Hoiem 2016, "Learning without Forgetting", arXiv 1606.09282). The
adapted model decodes it with the masks and dropout of training, the base without.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from ia3_speech import __version__
from ia3_speech.adapters import registry
from ia3_speech.common.atomic import replacing
from ia3_speech.common.errors import TrainingError
from ia3_speech.common.inputs import digest_of
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.utterance import BadAudio, Utterance, load_utterance, load_utterances
from ia3_speech.decoding.decode_directory import read_for_decoding
from ia3_speech.decoding.long_recordings import cut_utterance
from ia3_speech.model.base import Base
from ia3_speech.model.fingerprint import tensors_sha256
from ia3_speech.training.config import SharedOptions, replay_folder
from ia3_speech.training.data import report_left_out
from ia3_speech.training.feature_cache import FeatureCache

SHARE = 0.25  # of a batch's seconds that are replayed in its step


@dataclass
class Replayed:
    """A piece of the replayed speech, not longer than the base's maximum input duration."""

    utterance: Utterance  # where its audio is, and its duration
    summary: dict[str, torch.Tensor]  # of the base's output, by `Base.summary`


def read_replay(base: Base, options: SharedOptions) -> list[Replayed]:
    """The replayed speech of the options, with the summaries of the base's output; may be empty. Raises
    DataError or AudioError if the directory is not valid (it may lack `text`), or its audio is bad (with
    `on_error: fail`); TrainingError if no audio is left."""
    if not options.replay:
        return []
    path, minimum = replay_folder(options.replay), base.minimum_samples
    bad: list[BadAudio] = []
    utterances = read_for_decoding(path, options.allow_pipes)
    reading = {"on_error": options.on_error, "bad": bad, "progress": "recognising the replayed speech"}
    waves = load_utterances(utterances, minimum_samples=minimum, **reading)
    computed = (__version__, base.dtype, base.precision, base.device.type, base.maximum_seconds)
    key = repr((digest_of(path), base.fingerprint["sha256"], *computed))
    file = registry.home() / f"replay/{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    summaries: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in (load_file(file) if file.is_file() else {}).items():
        name, _, part = key.rpartition(" ")
        summaries.setdefault(name, {})[part] = tensor
    stored, replay = len(summaries), []
    for utterance, wave in waves:
        seconds = len(wave) / SAMPLE_RATE
        for piece in cut_utterance(utterance, seconds, base.maximum_seconds):
            whole = piece.duration == seconds
            name = piece.id if whole else f"{piece.id} from {piece.start:g}"  # pieces share the id
            if name not in summaries:
                wave_of_piece = wave if whole else load_utterance(piece)
                summaries[name] = base.summary(base.logits([wave_of_piece])[0])
            replay.append(Replayed(piece, summaries[name]))
    report_left_out(path, bad, [])
    if not replay:
        raise TrainingError(f"{path}: no usable audio to replay")
    if len(summaries) > stored:
        parts = {f"{n} {part}": t.contiguous() for n, s in summaries.items() for part, t in s.items()}
        with suppress(OSError), replacing(file) as new:  # the home may be read-only
            save_file(parts, new)
    return replay


def replay_digest(replay: Sequence[Replayed]) -> str:
    """SHA-256 of the summaries: another base, or other speech, has another digest."""
    return tensors_sha256(
        tensor for piece in replay for _, tensor in sorted(piece.summary.items(), reverse=True)
    )


def draw_replay(replay: Sequence[Replayed], batch_seconds: float, seed: int, step: int) -> list[Replayed]:
    """The pieces of a step, which depend on seed and step alone: a quarter of a batch, or one piece."""
    drawn: list[Replayed] = []
    longest = 0.0
    for number in np.random.default_rng([seed, step]).permutation(len(replay)):
        longest = max(longest, replay[number].utterance.duration)
        if drawn and longest * (len(drawn) + 1) > SHARE * batch_seconds:
            break
        drawn.append(replay[number])
    return drawn


def replay_losses(cache: FeatureCache, pieces: Sequence[Replayed]) -> torch.Tensor:
    """(batch,): KL(base ‖ adapted) of each piece, the mean over its frames."""
    logits, frames = cache.logits([piece.utterance for piece in pieces])
    return cache.base.divergence(logits, frames, [piece.summary for piece in pieces])
