"""A gate recognises for which adapter a recording is, or that no adapter fits.

    write_gate(folder, measure_speech(base, waves), base.fingerprint)     gate.safetensors, beside the tensors
    general_gate(base)                                  of general speech, for which no adapter is
    GaussianGate(general, adapters).probabilities(points)

In: utterances, and a base without vectors. An utterance becomes a point: the deviation over time of each
channel of the base's front end, below every vector. Out: the number, mean and covariance of the points; the
file holds no audio, text or single utterance. Statistics of several adapters are pooled by addition, without
training. For other points: probabilities, the base's first.

Each kind of speech is a Gaussian around its mean. All share a covariance, pooled from the folders (a linear
discriminant; Fisher 1936) and shrunk towards its diagonal, since a folder may have only some twenty
utterances. An adapter must be likelier than the base by a margin, and a point far from an adapter's speech
never gets the adapter; a temperature makes the probabilities less certain. scripts/mini/choose_gate.md has
these numbers, chosen on dev.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ia3_speech.adapters.card import update_card
from ia3_speech.adapters.record import GATE, METADATA, describe_base, read_record, same_base, write_record
from ia3_speech.adapters.registry import home, without_writers
from ia3_speech.common.atomic import replacing
from ia3_speech.common.errors import UserError
from ia3_speech.data.audio import SAMPLE_RATE
from ia3_speech.data.kaldi.directory import read_data_directory
from ia3_speech.data.utterance import Utterance, load_utterances
from ia3_speech.model.location import GENERAL_SPEECH

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import Tensor

    from ia3_speech.model.base import Base

SCHEMA = 1
MAX_UTTERANCES = 500  # that are read of a data directory, evenly spaced
MAX_SECONDS = 12  # that are read of an utterance
SHRINKAGE = 0.1  # share of the diagonal in the covariance
MARGIN = 5.24  # nats by which an adapter must be likelier than the base
MAX_DISTANCE = 2.12  # squared, from an adapter's mean, in units of the mean squared distance of its speech
TEMPERATURE = 8.4  # by which nats are divided before they become probabilities
MAX_LOG_ODDS, MAX_FAR_LOG_ODDS = 10.0, 2.9  # that a guard's rule gets; far from an adapter no gate is sure
MAX_CHANNELS = 2_048  # of a base's front end
TENSORS = {"mean": "F32", "deviation": "F32", "correlation": "F16"}
# fp16 may lower an eigenvalue of the correlations by this; shrinkage makes up for it.
ROUNDING = SHRINKAGE / 2
CONSTANT = 1e-3  # share of the mean variance: the variance of a channel that never changes
MAX_SPREAD = 3.0  # of an adapter's speech, relative to that of general speech; beyond it, a gate is refused


@dataclass(frozen=True)
class SpeechStatistics:
    """Statistics of an adapter's speech, or of out-of-domain speech."""

    count: int  # number of utterances
    mean: np.ndarray  # (d,)
    scatter: np.ndarray  # (d, d), Σ (x − mean)(x − mean)ᵀ

    @property
    def spread(self) -> float:
        """The root of the mean variance of the channels."""
        return float(np.sqrt(np.diag(self.scatter).mean() / (self.count - 1)))


def utterance_point(base: "Base", features: "Tensor") -> np.ndarray:
    """(channels,), float64: the deviation over time of each channel of the front end."""
    frames = base.front_end(features).detach()
    return frames.float().std(0, unbiased=False).double().cpu().numpy()


def measure_speech(base: "Base", waves: Iterable[np.ndarray]) -> SpeechStatistics:
    """The statistics of utterances, float32 (samples,), 16 kHz; `base` carries no vectors. Raises UserError
    for fewer than two utterances."""
    points = points_of(base, waves)
    if len(points) < 2:
        raise UserError(f"{len(points)} utterances are too few for a gate (two are needed)")
    return speech_statistics(points)


def points_of(base: "Base", waves: Iterable[np.ndarray]) -> np.ndarray:
    """(utterances, d): the point of each waveform."""
    cut = (wave[: MAX_SECONDS * SAMPLE_RATE] for wave in waves)
    return np.array([utterance_point(base, base.features(wave)) for wave in cut])


def speech_statistics(points: np.ndarray) -> SpeechStatistics:
    """The statistics of points, (utterances, d)."""
    mean = points.mean(0)
    return SpeechStatistics(len(points), mean, (points - mean).T @ (points - mean))


def write_gate(folder: Path, speech: SpeechStatistics, fingerprint: dict[str, Any]) -> None:
    """Write gate.safetensors into the folder of an adapter, or of a base, with this front end.

    It holds `mean` and `deviation`, (d,), fp32, and `correlation`, the upper triangle of the matrix,
    (d·(d − 1)/2,), fp16: 300 kB for 544 channels. In the header, as JSON, are schema, fingerprint, depth and
    utterances.
    """
    from safetensors.numpy import save_file

    record = {"schema": SCHEMA, "depth": "front_end", "utterances": speech.count, "fingerprint": fingerprint}
    covariance = speech.scatter / (speech.count - 1)
    deviation = np.sqrt(np.diag(covariance))
    scale = np.where(deviation > 0, deviation, 1.0)  # 1 for a channel that never changes
    correlation = (covariance / np.outer(scale, scale))[np.triu_indices(len(scale), 1)]
    tensors = {"mean": speech.mean.astype(np.float32), "deviation": deviation.astype(np.float32)}
    tensors["correlation"] = correlation.astype(np.float16)
    with replacing(folder / GATE) as new:
        save_file(tensors, new, {"gate": json.dumps(record)})


def add_gate(folder: Path, base: "Base", utterances: Sequence[Utterance], name: str | None = None) -> int:
    """Write the gate of an adapter, or of a base, from utterances without their texts, and note it in the
    card of the adapter `name`; `base` carries no vectors. Returns the number of utterances, without damaged
    audio. Raises UserError as `measure_speech`."""
    speech = measure_speech(base, chosen_waves(base, utterances))
    with without_writers():  # a registered adapter may be replaced meanwhile
        write_gate(folder, speech, base.fingerprint)
        if (folder / METADATA).exists():
            write_record(folder, read_record(folder) | {"gate": {"utterances": speech.count}})
            update_card(folder, name)
    return speech.count


def chosen_waves(base: "Base", utterances: Sequence[Utterance]) -> Iterator[np.ndarray]:
    """The waveforms of at most MAX_UTTERANCES utterances, evenly spaced, without damaged audio."""
    chosen = utterances[:: max(1, -(-len(utterances) // MAX_UTTERANCES))]
    options = {"on_error": "skip", "progress": "fitting the gate"}
    loaded = load_utterances(chosen, minimum_samples=base.minimum_samples, **options)
    return (wave for _, wave in loaded)


def add_gate_of_training(out: Path, base: "Base", utterances: Sequence[Utterance]) -> None:
    """`add_gate` to OUT/adapter, which training wrote; warns if the speech is too little for a gate."""
    adapter = out / "adapter"
    try:
        add_gate(adapter, base, utterances)
    except UserError as error:
        logger.warning("%s: has no gate, so `adapter=auto` can't choose it: %s", adapter, error)


def merge_gates(folder: Path, adapters: Sequence[Path], name: str | None = None) -> None:
    """Write the gate of a mean of adapters into its folder, and note it in its card, under the mean's `name`.
    `adapters` are folders with gates, all of the same weight. Raises UserError as `read_gate`."""
    record = read_record(folder)
    gates = [read_gate(adapter, record["fingerprint"]) for adapter in adapters]
    means = np.array([gate.mean for gate in gates])
    within = sum(gate.scatter / (gate.count - 1) for gate in gates) / len(gates)
    count = min(sum(gate.count for gate in gates), 2 * MAX_UTTERANCES)
    scatter = (count - 1) * (within + np.cov(means.T, bias=True))
    write_gate(folder, SpeechStatistics(count, means.mean(0), scatter), record["fingerprint"])
    write_record(folder, record | {"gate": {"utterances": count}})
    update_card(folder, name)


def general_gate(base: "Base", channels: int | None = None) -> SpeechStatistics:
    """The statistics of general speech: the gate in the base's folder; for a base without one, of the
    package's clips, which are measured once and stored in the user's folder. Raises UserError as
    `read_gate`."""
    stored = home() / "bases" / base.fingerprint["sha256"]
    for folder in (base.folder, stored):
        if (folder / GATE).is_file():
            return read_gate(folder, base.fingerprint, channels)
    utterances = read_data_directory(GENERAL_SPEECH, spk_sort=False).utterances
    speech = measure_speech(base, chosen_waves(base, utterances))
    with suppress(OSError):  # the user's folder may be read-only
        stored.mkdir(parents=True, exist_ok=True)
        write_gate(stored, speech, base.fingerprint)
    return speech


def channels_of(base: "Base") -> int:
    """The number of channels of a base's front end."""
    return len(points_of(base, [np.zeros(base.minimum_samples, np.float32)])[0])


def read_adapters_gate(folder: Path, base: "Base", general: SpeechStatistics) -> SpeechStatistics:
    """The statistics in the gate of an adapter. All gates share a covariance, so one that spreads far wider
    than `general` speech would keep other adapters from being chosen. Raises UserError for it, and as
    `read_gate`."""
    speech = read_gate(folder, base.fingerprint, len(general.mean))
    if speech.spread > MAX_SPREAD * general.spread:
        ratio = f"{speech.spread / general.spread:.3g} times as wide as that of general speech"
        hint = f"at most {MAX_SPREAD:g} times; ia3-speech adapters gate writes it again"
        raise UserError(f"{folder / GATE}: its statistics are {ratio} ({hint})")
    return speech


def read_gate(folder: Path, base: dict[str, Any], channels: int | None = None) -> SpeechStatistics:
    """The statistics in the gate of a folder. Raises UserError if it is damaged, or of another base than the
    fingerprint `base`, or its numbers are no covariance. `channels` of the base's front end: None is the
    file's number, up to MAX_CHANNELS."""
    from safetensors import SafetensorError, safe_open

    file = folder / GATE
    try:
        with safe_open(file, "np") as tensors:
            record = json.loads((tensors.metadata() or {})["gate"])
            if record["schema"] != SCHEMA:
                raise ValueError("written by another version of ia3-speech")
            if not same_base(fingerprint := dict(record["fingerprint"]), base):
                bases = f"{describe_base(fingerprint)}); this base is {describe_base(base)}"
                raise UserError(f"{file}: is of another base ({bases}")
            if "points" in tensors.keys():  # noqa: SIM118  (no dictionary)
                raise ValueError("a voice print of version 0.2, which is not used any more")
            count = record["utterances"]
            if not (type(count) is int and 2 <= count <= 2 * MAX_UTTERANCES):
                raise ValueError("holds no number of utterances")
            size = channels or min(tensors.get_slice("mean").get_shape()[0], MAX_CHANNELS)
            shapes = [[size], [size], [size * (size - 1) // 2]]
            mean, deviation, correlation = checked_tensors(tensors, TENSORS, shapes)
        matrix = np.eye(size)
        matrix[np.triu_indices(size, 1)] = correlation
        matrix += np.triu(matrix, 1).T
        if (deviation < 0).any() or (np.abs(correlation) > 1).any():
            raise ValueError("holds no deviations and correlations")
        np.linalg.cholesky(matrix + ROUNDING * np.eye(size))  # raises if it is no correlation matrix
    except (SafetensorError, OSError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{file}: {error} (damaged: delete it; ia3-speech adapters gate writes it again)"
        ) from error
    return SpeechStatistics(count, mean, (count - 1) * np.outer(deviation, deviation) * matrix)


def checked_tensors(file: Any, types: Mapping[str, str], shapes: Sequence[list[int]]) -> list[np.ndarray]:
    """The tensors of an open safetensors file, as float64. Raises ValueError unless they have these types and
    shapes, by the header, and are finite."""
    slices = [file.get_slice(name) for name in types]  # nothing is allocated yet
    if [each.get_shape() for each in slices] != shapes:
        raise ValueError(f"its tensors are not of {shapes[0][-1]} channels")
    if [each.get_dtype() for each in slices] != [*types.values()]:  # float64 could overflow
        raise ValueError("its tensors are of another type")
    values = [file.get_tensor(name).astype(np.float64) for name in types]
    if not all(np.isfinite(value).all() for value in values):
        raise ValueError("holds no numbers of speech")
    return values


class GaussianGate:
    """Classifies kinds of speech, see the module: `general` is out-of-domain speech, `adapters` the speech of
    each adapter, all of one base. `shrinkage` of the covariance and `max_distance` are as the constants."""

    def __init__(
        self,
        general: SpeechStatistics,
        adapters: Sequence[SpeechStatistics],
        shrinkage: float = SHRINKAGE,
        max_distance: float = MAX_DISTANCE,
    ):
        kinds = [general, *adapters]
        covariance = sum(kind.scatter for kind in kinds) / sum(kind.count - 1 for kind in kinds)
        variances = np.diag(covariance) + CONSTANT * np.diag(covariance).mean()
        covariance = (1 - shrinkage) * covariance + shrinkage * np.diag(variances)
        means = np.stack([kind.mean for kind in kinds], axis=1)
        precision = np.linalg.inv(covariance)
        self.whitening = np.linalg.cholesky(precision)  # (d, d)
        self.means = means.T @ self.whitening  # (kinds, d)
        # (kinds,): a point beyond this is not an adapter's speech; no point is too far from the base.
        means = [(precision * kind.scatter).sum() / (kind.count - 1) for kind in adapters]
        self.max_distances = np.array([np.inf, *(max_distance * mean for mean in means)])

    def distances(self, points: np.ndarray) -> np.ndarray:
        """(utterances, d) → (utterances, 1 + adapters): Mahalanobis, squared."""
        return (((points @ self.whitening)[:, None] - self.means) ** 2).sum(2)

    def scores(self, points: np.ndarray) -> np.ndarray:
        """(utterances, d) → (utterances, 1 + adapters): log likelihoods in nats, up to a constant; -inf if
        the point is too far from the adapter's speech."""
        distances = self.distances(points)
        return np.where(distances > self.max_distances, -np.inf, -0.5 * distances)

    def log_odds(self, points: np.ndarray) -> np.ndarray:
        """(utterances, d) → (utterances,): of the first adapter against the base, at most MAX_LOG_ODDS in
        either direction, and at most MAX_FAR_LOG_ODDS for a point that is too far from the adapter's speech:
        unlike both, it may be nearer to the adapter's by chance."""
        base, adapter = self.distances(points).T[:2]
        maxima = np.where(adapter > self.max_distances[1], MAX_FAR_LOG_ODDS, MAX_LOG_ODDS)
        return np.clip((0.5 * (base - adapter) - MARGIN) / TEMPERATURE, -MAX_LOG_ODDS, maxima)

    def probabilities(self, points: np.ndarray) -> np.ndarray:
        """(utterances, d) → (utterances, 1 + adapters): of the base, and of each adapter."""
        scores = self.scores(points)
        scores[:, 0] += MARGIN
        return softmax(scores / TEMPERATURE)


def softmax(scores: np.ndarray) -> np.ndarray:
    """(…, classes) → (…, classes), with a sum of 1."""
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)
