"""A gate: of which adapter's kind a recording is, or of none, so that the base alone should hear it.

In: the statistics of general speech and of each adapter's (`gate_statistics`). Out: probabilities of points,
the base's first. Each kind is a Gaussian around its mean, all with one covariance, within the kinds, pooled
from what the folders carry (a linear discriminant; Fisher 1936), and shrunk towards its diagonal, since a
folder may know some twenty utterances only (after Ledoit and Wolf 2004). The prior says how much more likely
than an adapter's the base must be taken to be: it was chosen on dev (scripts/choose_gate.md).
"""

from collections.abc import Sequence

import numpy as np

from ia3_speech.routing.gate_statistics import SpeechStatistics

SHRINKAGE = 0.1  # share of the diagonal in the covariance
SILENT = 1e-3  # of the mean variance: that of a channel which is always the same
BASE_PRIOR = 0.5  # of the base, before anything is heard; the adapters share the rest


class GaussianGate:
    """See the module.

    Args:
        general: of general speech.
        adapters: of each adapter's, of the same base.
    """

    def __init__(self, general: SpeechStatistics, adapters: Sequence[SpeechStatistics]):
        kinds = [general, *adapters]
        covariance = sum(kind.scatter for kind in kinds) / sum(kind.count - 1 for kind in kinds)
        own = np.diag(covariance) + SILENT * np.diag(covariance).mean()
        covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(own)
        self.means, self.covariance = np.stack([kind.mean for kind in kinds]), covariance
        self.log_priors = np.log([BASE_PRIOR, *[(1 - BASE_PRIOR) / len(adapters)] * len(adapters)])

    def probabilities(self, points: np.ndarray) -> np.ndarray:
        """(utterances, d) → (utterances, 1 + adapters): of the base, and of each adapter."""
        weights = np.linalg.solve(self.covariance, self.means.T)  # (d, kinds)
        offsets = 0.5 * (self.means.T * weights).sum(0) - self.log_priors
        scores = points @ weights - offsets
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return scores / scores.sum(1, keepdims=True)
