"""A Gaussian process over features of networks, small and quick: it is made anew for each proposal (Rasmussen and
Williams 2006, *Gaussian Processes for Machine Learning*, algorithm 2.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.spatial.distance import cdist, pdist
from scipy.stats import norm

SOFTENING = 0.1
_LEAST = 1e-6
_SCALES = (0.7, 1.4, 2.8)
"""Length scales, in median distances."""
_NOISES = (0.003, 0.03, 0.3)
"""Shares of the variance."""


@dataclass(frozen=True, slots=True, eq=False)
class GaussianProcess:
    """The process that explains `values` at `features`, a row each: mean 0, variance 1, Matern's kernel of smoothness
    3/2 with length `scale`, and `noise` as a share of the variance."""

    features: np.ndarray
    values: np.ndarray
    scale: float
    noise: float
    factor: np.ndarray
    weights: np.ndarray

    @classmethod
    def fitted(
        cls, features: np.ndarray, values: np.ndarray, scales: Sequence[float], noises: Sequence[float]
    ) -> "GaussianProcess":
        """The one of greatest marginal likelihood among all pairs of `scales` and `noises`."""
        distances = cdist(features, features)
        fits = []
        for scale in scales:
            covariance = _matern(distances / scale)
            for noise in noises:
                factor = cholesky(covariance + noise * np.eye(len(values)), lower=True, check_finite=False)
                weights = cho_solve((factor, True), values, check_finite=False)
                fits.append(cls(features, values, scale, noise, factor, weights))
        return max(fits, key=lambda fit: fit.log_likelihood)

    @property
    def log_likelihood(self) -> float:
        """Of the values, but for a constant."""
        return float(-0.5 * self.values @ self.weights - np.log(np.diag(self.factor)).sum())

    def mean(self, features: np.ndarray) -> np.ndarray:
        """What is expected of each row."""
        found: np.ndarray = _matern(cdist(features, self.features) / self.scale) @ self.weights
        return found

    def deviation(self, features: np.ndarray) -> np.ndarray:
        """How far each row's value, without noise, may be from that: standard deviations."""
        covariance = _matern(cdist(self.features, features) / self.scale)
        explained = np.square(solve_triangular(self.factor, covariance, lower=True, check_finite=False)).sum(axis=0)
        found: np.ndarray = np.sqrt(np.maximum(1 - explained, 0.0))
        return found


def _matern(distances: np.ndarray) -> np.ndarray:
    scaled = np.sqrt(3) * distances
    found: np.ndarray = (1 + scaled) * np.exp(-scaled)
    return found


class Model:
    """Scores (higher is better) over `features`, a row each: stretched to -log(distance from the best + a tenth of the
    median's), then a `GaussianProcess`."""

    def __init__(self, features: np.ndarray, scores: Sequence[float]) -> None:
        best, middle = max(scores), float(np.median(scores))
        gaps = (best - np.array(scores)) / max(best - middle, _LEAST)
        stretched = -np.log(gaps + SOFTENING)
        values = (stretched - stretched.mean()) / max(float(stretched.std()), _LEAST)
        distance = max(float(np.median(pdist(features))), _LEAST)
        self._best = float(values.max())
        self._process = GaussianProcess.fitted(features, values, [distance * scale for scale in _SCALES], _NOISES)

    def believe(self, features: np.ndarray) -> None:
        """Take networks of these features to have scored what is expected of them."""
        known = self._process
        self._process = GaussianProcess.fitted(
            np.concatenate([known.features, features]),
            np.concatenate([known.values, known.mean(features)]),
            [known.scale],
            [known.noise],
        )

    def expected_improvement(self, features: np.ndarray) -> np.ndarray:
        """Of each row over the best score known."""
        deviation = np.maximum(self._process.deviation(features), _LEAST)
        above = (self._process.mean(features) - self._best) / deviation
        improvement: np.ndarray = deviation * (above * norm.cdf(above) + norm.pdf(above))
        return improvement
