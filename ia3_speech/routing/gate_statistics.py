"""What an adapter's speech is like: a mean and a scatter, kept in its folder for a gate to choose by.

    write_gate(folder, measure_speech(base, data))      gate.safetensors, beside the adapter's tensors
    read_gate(folder, base)                             or in a base's folder: general speech

In: utterances, and a base without vectors. Out: of what the base's front end makes of them, below every
vector, the deviation over time of each channel, an utterance a point; of the points their number, mean and
covariance. Those of several people's adapters are pooled by adding them up, so that nothing is trained again
where adapters meet (see `gate`). No audio, text or single utterance is in the file.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ia3_speech.adapters.card import update_card
from ia3_speech.adapters.record import GATE, METADATA, describe_base, read_record, same_base, write_record
from ia3_speech.atomic import replacing
from ia3_speech.cli import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.utterance import Utterance, load_utterances

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import Tensor

    from ia3_speech.model.base import Base

SCHEMA = 1
MOST_UTTERANCES = 500  # that are read of a data directory, evenly spaced
LONGEST = 12  # seconds that are read of an utterance


@dataclass(frozen=True)
class SpeechStatistics:
    """Of an adapter's speech, or of general speech.

    Attributes:
        fingerprint: of the base whose front end made the points.
        count: of utterances.
        mean: (d,).
        scatter: (d, d), Σ (x − mean)(x − mean)ᵀ.
    """

    fingerprint: dict[str, Any]
    count: int
    mean: np.ndarray
    scatter: np.ndarray


def utterance_point(features: "Tensor") -> np.ndarray:
    """(frames, channels) → (channels,), float64: the deviation over time of each channel."""
    return features.detach().float().std(0, unbiased=False).double().cpu().numpy()


def measure_speech(base: "Base", waves: Iterable[np.ndarray]) -> SpeechStatistics:
    """The statistics of utterances, float32 (samples,), 16 kHz; `base` carries no vectors.

    Raises:
        UserError: there are fewer than two.
    """
    points = np.array([utterance_point(base.front_end(wave[: LONGEST * SAMPLE_RATE])) for wave in waves])
    if len(points) < 2:
        raise UserError(f"{len(points)} utterances tell nothing of what speech is like (a gate needs two)")
    return speech_statistics(base.fingerprint, points)


def speech_statistics(fingerprint: dict[str, Any], points: np.ndarray) -> SpeechStatistics:
    """Of points, (utterances, d)."""
    mean = points.mean(0)
    return SpeechStatistics(fingerprint, len(points), mean, (points - mean).T @ (points - mean))


# --- the file -----------------------------------------------------------------------------------------------


def write_gate(folder: Path, speech: SpeechStatistics) -> None:
    """Write gate.safetensors into the folder of an adapter or of a base.

    It holds `mean` and `deviation`, (d,), fp32, and `correlation`, what is above the diagonal of the matrix,
    (d·(d − 1)/2,), fp16: 300 kB for 544 channels; in the header, as JSON, schema, fingerprint, depth and
    utterances.
    """
    from safetensors.numpy import save_file

    covariance = speech.scatter / (speech.count - 1)
    deviation = np.sqrt(np.diag(covariance))
    scale = np.where(deviation > 0, deviation, 1.0)  # of a channel that is always the same
    correlation = (covariance / np.outer(scale, scale))[np.triu_indices(len(scale), 1)]
    tensors = {"mean": speech.mean.astype(np.float32), "deviation": deviation.astype(np.float32)}
    tensors["correlation"] = correlation.astype(np.float16)
    record = {"schema": SCHEMA, "depth": "front_end", "utterances": speech.count}
    record["fingerprint"] = speech.fingerprint
    with replacing(folder / GATE) as new:
        save_file(tensors, new, {"gate": json.dumps(record)})


def add_gate(
    folder: Path,
    base: "Base",
    utterances: Sequence[Utterance],
    name: str | None = None,
    *,
    allow_pipes: bool = False,
) -> int:
    """Write the gate of an adapter, or of a base, from utterances, whose texts are not read; its card says
    so. Returns how many were read; damaged audio is left out.

    Args:
        base: without vectors.
        name: the adapter's, for its card.
        allow_pipes: run shell commands in wav.scp.

    Raises:
        UserError: as `measure_speech`.
    """
    chosen = utterances[:: -(-len(utterances) // MOST_UTTERANCES)]
    options = {"minimum_samples": base.minimum_samples, "allow_pipes": allow_pipes}
    waves = load_utterances(chosen, on_error="skip", **options)
    speech = measure_speech(base, (wave for _, wave in waves))
    write_gate(folder, speech)
    if (folder / METADATA).exists():
        write_record(folder, read_record(folder) | {"gate": {"utterances": speech.count}})
        update_card(folder, name)
    return speech.count


def add_gate_if_possible(
    adapter: Path, base: "Base", utterances: Sequence[Utterance], *, allow_pipes: bool = False
) -> None:
    """`add_gate` after training; warns where the speech is too little, such as a single utterance."""
    try:
        add_gate(adapter, base, utterances, allow_pipes=allow_pipes)
    except UserError as error:
        logger.warning("%s: has no gate, so --adapter auto can't choose it: %s", adapter, error)


def read_gate(folder: Path, base: dict[str, Any], missing: str) -> SpeechStatistics:
    """The statistics in a folder.

    Args:
        base: the fingerprint of the base that is to read it.
        missing: what the error says where there is no gate.

    Raises:
        UserError: there is none, it is damaged, or it belongs to another base.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / GATE
    if not file.is_file():
        raise UserError(missing)
    try:
        with safe_open(file, "np") as tensors:
            record = json.loads((tensors.metadata() or {})["gate"])
            mean, deviation, correlation = (
                tensors.get_tensor(name).astype(np.float64) for name in ("mean", "deviation", "correlation")
            )
        if record["schema"] != SCHEMA:
            raise ValueError("written by another version of ia3-speech")
        fingerprint, count = dict(record["fingerprint"]), int(record["utterances"])
        matrix = np.eye(len(mean))
        matrix[np.triu_indices(len(mean), 1)] = correlation
        scatter = (count - 1) * np.outer(deviation, deviation) * (matrix + np.triu(matrix, 1).T)
        if count < 2 or not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
            raise ValueError("holds no numbers of speech")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: {error} (damaged: ia3-speech adapters gate writes it again)") from error
    if not same_base(fingerprint, base):
        raise UserError(
            f"{file}: is of another base ({describe_base(fingerprint)}); this one is {describe_base(base)}"
        )
    return SpeechStatistics(fingerprint, count, mean, scatter)
