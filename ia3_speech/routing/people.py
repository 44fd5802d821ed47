"""Recognises which person speaks, of those who agreed to it, or that none of them does.

    background = fit_background(points, speakers)                    people.safetensors, in a base's folder
    People(background, speech).probabilities(points)                 of an unknown speaker, and of each person
    unlike_the_others(base, utterances)                utterances of a voice that may be another person's

In: the points of each person's utterances (`SpeechStatistics.points`), and a background: how points differ
within many people and between them. Out: probabilities for other points, the unknown speaker's first.

The background is a linear discriminant (Fisher 1936) with a shrunk covariance: its directions have variance 1
within people, and `between` among people. A ratio of Gaussians says how much likelier a point is of a
person than of an unknown speaker; it counts how uncertain the mean of few utterances is (two-covariance
model, Brümmer and de Villiers 2010). Enrolled people share a room and a microphone, which are not the
background's: their mean and covariances, pooled with the background's, take the place of these (Garcia-Romero
and McCree 2014). egs/voices chose the numbers, on people who are in no test.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ia3_speech.adapters.record import PEOPLE
from ia3_speech.atomic import replacing
from ia3_speech.data.utterance import Utterance, load_utterances
from ia3_speech.errors import UserError
from ia3_speech.routing.gate import (
    CONSTANT,
    MAX_CHANNELS,
    MAX_LOG_ODDS,
    SCHEMA,
    SpeechStatistics,
    checked_tensors,
    open_statistics,
    points_of,
    softmax,
)

if TYPE_CHECKING:
    from ia3_speech.model.base import Base

SHRINKAGE = 0.2  # share of the diagonal in the covariance within people
MAX_DIRECTIONS = 200  # of the discriminant
MIN_PEOPLE = 10  # of a background
TENSORS = {"mean": "F32", "projection": "F32", "between": "F32"}
# How many enrolled people count as much as the background for the mean of voices, and for the covariance of
# people; and how many of their utterances for the covariance within people
PRIOR_MEAN, PRIOR_BETWEEN, PRIOR_WITHIN = 4, 100, 300
MARGIN = -6.5  # nats by which a person must be likelier than an unknown speaker; more with more people
TEMPERATURE = 5.5  # by which nats are divided before they become probabilities
MIN_UTTERANCES = 5  # of a voice that is searched for other people
UNLIKE = -30.0  # nats, of an utterance against the others of a voice


@dataclass(frozen=True)
class Background:
    """How points differ within people, and between them.

    Attributes:
        mean: (d,), of many people.
        projection: (d, k), onto directions in which the variance within people is 1.
        between: (k,), the variance between people.
    """

    mean: np.ndarray
    projection: np.ndarray
    between: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """(utterances, d) → (utterances, k)."""
        return (points - self.mean) @ self.projection

    def adapted(self, speech: Sequence[SpeechStatistics]) -> "Background":
        """This background, for the rooms and microphones of enrolled people."""
        means = np.array([person.mean for person in speech])
        mean = self.mean + (means - self.mean).sum(0) / (len(means) + PRIOR_MEAN)
        spread = (means - means.mean(0)) @ self.projection
        between = PRIOR_BETWEEN * np.diag(self.between) + spread.T @ spread
        scatter = self.projection.T @ sum(person.scatter for person in speech) @ self.projection
        within = PRIOR_WITHIN * np.eye(len(scatter)) + scatter
        utterances = sum(person.count - 1 for person in speech)
        directions, values = discriminant(
            within / (PRIOR_WITHIN + utterances), between / (PRIOR_BETWEEN + len(means) - 1)
        )
        return Background(mean, self.projection @ directions, values)

    def log_ratios(self, points: np.ndarray, means: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(utterances, people): nats by which a point is likelier of a person than of an unknown speaker.

        Args:
            points: (utterances, k).
            means: (people, k), of `counts` utterances of each person.
            counts: (people,).
        """
        total = 1 + self.between
        known = self.between / (self.between + 1 / counts[:, None])  # (people, k), of a mean
        variances = 1 + known / counts[:, None]
        distances = ((points[:, None] - known * means) ** 2 / variances).sum(2)
        unknown = (points**2 / total).sum(1, keepdims=True)
        return 0.5 * (unknown - distances + np.log(total / variances).sum(1))


def fit_background(points: np.ndarray, speakers: np.ndarray) -> Background:
    """The background of points, (utterances, d), of speakers, (utterances,). Raises UserError for too few."""
    names, rows, counts = np.unique(speakers, return_inverse=True, return_counts=True)
    if len(names) < MIN_PEOPLE or len(points) < 2 * len(names):
        needed = f"at least {MIN_PEOPLE} are needed, with several utterances each"
        raise UserError(f"{len(names)} speakers are too few ({needed})")
    means = np.stack([points[rows == number].mean(0) for number in range(len(names))])
    inside = points - means[rows]
    covariance = inside.T @ inside / (len(points) - len(names))
    spread = means - means.mean(0)
    between = spread.T @ spread / (len(names) - 1) - covariance * (1 / counts).mean()
    variances = np.diag(covariance) + CONSTANT * np.diag(covariance).mean()
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(variances)
    return Background(means.mean(0), *discriminant(covariance, between))


def discriminant(within: np.ndarray, between: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of two covariances, (d, d): directions, (d, k), in which that within people is 1, and the variance
    between people in each, (k,), the largest first."""
    whitening = np.linalg.cholesky(np.linalg.inv(within))
    values, vectors = np.linalg.eigh(whitening.T @ between @ whitening)
    best = np.argsort(-values)[: min(MAX_DIRECTIONS, int((values > 0).sum()))]
    return whitening @ vectors[:, best], values[best]


def add_background(
    folder: Path, base: "Base", utterances: Sequence[Utterance], *, allow_pipes: bool = False
) -> int:
    """Write the background of a base, from utterances of many people; returns the number of utterances,
    without damaged audio. Raises UserError as `fit_background`."""
    options = {"minimum_samples": base.minimum_samples, "allow_pipes": allow_pipes}
    pairs = [*load_utterances(utterances, on_error="skip", **options)]
    if not pairs:
        raise UserError(f"none of {len(utterances)} utterances has audio that can be used")
    loaded, waves = zip(*pairs, strict=True)
    speakers = np.array([utterance.speaker for utterance in loaded])
    write_background(folder, fit_background(points_of(base, waves), speakers), base.fingerprint)
    return len(loaded)


def write_background(folder: Path, background: Background, fingerprint: dict[str, Any]) -> None:
    """Write people.safetensors into the folder of a base: about 300 kB for 544 channels of the front end."""
    from safetensors.numpy import save_file

    tensors = {name: getattr(background, name).astype(np.float32, order="C") for name in TENSORS}
    record = {"schema": SCHEMA, "fingerprint": fingerprint}
    with replacing(folder / PEOPLE) as new:
        save_file(tensors, new, {"people": json.dumps(record)})


def read_background(base: "Base", channels: int | None = None) -> Background:
    """The background of a base. Raises UserError if it has none, or it is damaged or of another base.

    Args:
        channels: of the base's front end; None: the file's number, up to MAX_CHANNELS.
    """
    file = Path(base.model.config.name_or_path) / PEOPLE
    if not file.is_file():
        raise UserError(
            f"{base.name}: has no statistics of voices, which auto needs to recognise people (ia3-speech "
            f"adapters gate FOLDER_OF_THE_BASE --identify yes --data DIR adds them, of many people)"
        )
    with open_statistics(file, "people", base.fingerprint) as (tensors, _):
        size = channels or min(tensors.get_slice("mean").get_shape()[0], MAX_CHANNELS)
        count = min(tensors.get_slice("between").get_shape()[0], MAX_DIRECTIONS)
        background = Background(*checked_tensors(tensors, TENSORS, [[size], [size, count], [count]]))
        if (background.between < 0).any():
            raise ValueError("holds no numbers of speech")
        return background


class People:
    """See the module. Without people everybody is an unknown speaker.

    Args:
        background: of the base; None is enough without people.
        speech: of each person, with points.
    """

    def __init__(self, background: Background | None, speech: Sequence[SpeechStatistics]):
        self.counts = np.array([person.count for person in speech])
        if background:
            self.background = background.adapted(speech)
            self.means = self.background.project(np.array([person.mean for person in speech]))

    def __len__(self) -> int:
        return len(self.counts)

    def probabilities(self, points: np.ndarray) -> np.ndarray:
        """(utterances, d) → (utterances, 1 + people): of an unknown speaker, and of each person."""
        scores = np.zeros((len(points), 1 + len(self)))
        if len(self):
            ratios = self.background.log_ratios(self.background.project(points), self.means, self.counts)
            scores[:, 1:] = (ratios - MARGIN) / TEMPERATURE - np.log(len(self))
        return softmax(scores)

    def log_odds(self, probabilities: np.ndarray) -> np.ndarray:
        """(utterances, 1 + people) → (utterances, people): of the person who is recognised against the
        unknown speaker, at most MAX_LOG_ODDS; -inf for all others."""
        unknown, people = probabilities[:, :1], probabilities[:, 1:]
        odds = np.log(np.maximum(people, 1e-12) / np.maximum(unknown, 1e-12)).clip(max=MAX_LOG_ODDS)
        return np.where(people == probabilities.max(1, keepdims=True), odds, -np.inf)


def unlike_the_others(base: "Base", utterances: Sequence[Utterance]) -> list[str]:
    """The ids of a voice's utterances that sound unlike the others: of another person, or another microphone.
    Empty if there are too few utterances, or the base, which carries no vectors, has no background."""
    folder = Path(base.model.config.name_or_path)
    if not (folder / PEOPLE).is_file():
        return []
    background = read_background(base)
    options = {"minimum_samples": base.minimum_samples, "progress": False}
    pairs = [*load_utterances(utterances, on_error="skip", **options)]
    if len(pairs) < MIN_UTTERANCES:
        return []
    loaded, waves = zip(*pairs, strict=True)
    points = background.project(points_of(base, waves))
    others = len(points) - 1
    means = (points.sum(0) - points) / others
    ratios = [
        background.log_ratios(point[None], mean[None], np.array([others])).item()
        for point, mean in zip(points, means, strict=True)
    ]
    return [each.id for each, ratio in zip(loaded, ratios, strict=True) if ratio < UNLIKE]
