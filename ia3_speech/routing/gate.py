"""A gate: of which adapter's kind a recording is, or of none, so that the base alone should hear it.

In: the statistics of general speech and of each adapter's (`gate_statistics`). Out: probabilities of points,
the base's first. Each kind is a Gaussian around its mean, all with one covariance, within the kinds, pooled
from what the folders carry (a linear discriminant; Fisher 1936), and shrunk towards its diagonal, since a
folder may know some twenty utterances only. An adapter must be likelier than the base by a margin; it is not
taken for what is far from its own speech, wherever the base's lies; and what the Gaussians are too sure of is
divided by a temperature. scripts/choose_gate.md has these numbers, chosen on dev.
"""

from collections.abc import Sequence

import numpy as np

from ia3_speech.routing.gate_statistics import SpeechStatistics

SHRINKAGE = 0.1  # share of the diagonal in the covariance
MARGIN = 5.24  # nats by which an adapter must be likelier than the base
FARTHEST = 2.12  # squared distance from an adapter's mean, over that of its own speech on average
TEMPERATURE = 8.4  # by which nats are divided before they become probabilities
SILENT = 1e-3  # of the mean variance: that of a channel which is always the same


class GaussianGate:
    """See the module.

    Args:
        general: of general speech.
        adapters: of each adapter's, of the same base.
        shrinkage: of the covariance.
        farthest: as FARTHEST.
    """

    def __init__(
        self,
        general: SpeechStatistics,
        adapters: Sequence[SpeechStatistics],
        shrinkage: float = SHRINKAGE,
        farthest: float = FARTHEST,
    ):
        kinds = [general, *adapters]
        covariance = sum(kind.scatter for kind in kinds) / sum(kind.count - 1 for kind in kinds)
        own = np.diag(covariance) + SILENT * np.diag(covariance).mean()
        covariance = (1 - shrinkage) * covariance + shrinkage * np.diag(own)
        means = np.stack([kind.mean for kind in kinds], axis=1)
        precision = np.linalg.inv(covariance)
        self.whitening = np.linalg.cholesky(precision)  # (d, d)
        self.means = means.T @ self.whitening  # (kinds, d)
        # (kinds,): what is farther from an adapter is not its speech; from the base nothing is too far.
        own = [(precision * kind.scatter).sum() / (kind.count - 1) for kind in adapters]
        self.farthest = np.array([np.inf, *(farthest * distance for distance in own)])

    def scores(self, points: np.ndarray) -> np.ndarray:
        """(utterances, d) → (utterances, 1 + adapters): log likelihoods in nats, but for a constant; -inf for
        an adapter that is too far."""
        distances = self.distances(points)
        return np.where(distances > self.farthest, -np.inf, -0.5 * distances)

    def distances(self, points: np.ndarray) -> np.ndarray:
        """(utterances, d) → (utterances, 1 + adapters): of Mahalanobis, squared."""
        return (((points @ self.whitening)[:, None] - self.means) ** 2).sum(2)

    def probabilities(self, points: np.ndarray) -> np.ndarray:
        """(utterances, d) → (utterances, 1 + adapters): of the base, and of each adapter."""
        scores = self.scores(points)
        scores[:, 0] += MARGIN
        scores = np.exp((scores - scores.max(1, keepdims=True)) / TEMPERATURE)
        return scores / scores.sum(1, keepdims=True)
