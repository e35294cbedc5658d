"""A Gaussian process to which one more observation is cheap to add.

scikit-optimize's regressor fits the hyperparameters, with priors. The posterior is kept as the
inverse of a Cholesky factor, which grows by one row per observation. scikit-optimize alone fits
everything from scratch each time, which takes a minute at 1,000 observations.

References:
    Hvarfner, Hellsten and Nardi, "Vanilla Bayesian Optimization Performs Great in High
    Dimensions", arXiv 2402.02229 (the prior of the length scales).
"""

import copy
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dtrmm
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

Matrix = NDArray[np.float64]

MAX_FITTED = 256
"""Largest number of observations that hyperparameters are fitted to."""

GROWTH = 0.1
"""Hyperparameters are fitted again when the number of observations has grown by this share."""

JITTER = 1e-8


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of a Matern 5/2 kernel, for standardised scores and features in [0, 1].

    Attributes:
        amplitude: Variance of the function.
        length_scales: One per feature, shape ``(p,)``.
        noise: Variance of the observations around the function.
    """

    amplitude: float
    length_scales: Matrix
    noise: float


class GaussianProcess:
    """Predicts standardised scores from features.

    Args:
        num_features: Columns of the features, p.
    """

    def __init__(self, num_features: int) -> None:
        self._prior = _Prior(num_features)
        self.hyperparameters = self._prior.mode
        self._num_fitted = 0
        self._features = np.empty((0, num_features))
        self._scores, self._variances = np.empty(0), np.empty(0)
        self._inverse_factor = np.empty((0, 0))
        self._weights = np.empty(0)

    def fit(self, features: Matrix, scores: Matrix, variances: Matrix, *, seed: int) -> None:
        """Learn from all observations: those learnt before, then new ones.

        Args:
            features: Shape ``(n, p)``.
            scores: Shape ``(n,)``, standardised; earlier ones may have changed.
            variances: Known variance of each score, besides the fitted noise, shape ``(n,)``.
            seed: Draws the rows that hyperparameters are fitted to, if there are too many.

        Raises:
            ValueError, FloatingPointError, numpy.linalg.LinAlgError: If the fit fails numerically.
        """
        if self.outgrown(len(scores)):
            self.fit_hyperparameters(features, scores, variances, seed=seed)
        self._condition(features, scores, variances)

    def outgrown(self, num_observations: int) -> bool:
        """Tell whether that many observations need new hyperparameters."""
        return num_observations - self._num_fitted >= GROWTH * self._num_fitted

    def fit_hyperparameters(
        self, features: Matrix, scores: Matrix, variances: Matrix, *, seed: int
    ) -> None:
        """Fit the hyperparameters only, from which later fits start."""
        rows = _representative(scores, np.random.default_rng([seed, len(scores)]))
        self.hyperparameters = self._prior.fit(
            features[rows], scores[rows], variances[rows], start=self.hyperparameters
        )
        self._num_fitted = len(scores)
        self._inverse_factor = np.empty((0, 0))

    @property
    def means(self) -> Matrix:
        """Mean of the function at each observation, shape ``(n,)``; cheap."""
        noise = self.hyperparameters.noise + JITTER + self._variances
        means: Matrix = self._scores - noise * self._weights
        return means

    def predict(self, features: Matrix) -> tuple[Matrix, Matrix]:
        """Return mean and standard deviation of the function, shapes ``(m,)``."""
        covariance = self._covariance(features, self._features)
        mean = covariance @ self._weights
        factor = self._inverse_factor.T  # of a triangular matrix, half the work
        explained = np.square(dtrmm(1.0, factor, covariance, side=1)).sum(axis=1)
        variance = np.maximum(self.hyperparameters.amplitude - explained, 1e-12)
        return mean, np.sqrt(variance)

    def with_beliefs(self, features: Matrix, scores: Matrix) -> "GaussianProcess":
        """Return a process with additional assumed scores as observations.

        Args:
            features: Shape ``(m, p)``.
            scores: Shape ``(m,)``, standardised.
        """
        other = copy.copy(self)
        other._condition(
            np.concatenate([self._features, features]),
            np.concatenate([self._scores, scores]),
            np.concatenate([self._variances, np.zeros(len(scores))]),
        )
        return other

    def _condition(self, features: Matrix, scores: Matrix, variances: Matrix) -> None:
        """Update the posterior to these observations, with the present hyperparameters."""
        self._extend(features, variances)
        self._scores = scores.copy()
        self._weights = self._inverse_factor.T @ (self._inverse_factor @ scores)
        if not np.isfinite(self._weights).all():
            raise FloatingPointError("the Gaussian process has no finite posterior")

    def _extend(self, features: Matrix, variances: Matrix) -> None:
        """Extend the inverse Cholesky factor to all rows."""
        known = len(self._inverse_factor)
        same = np.array_equal(self._features[:known], features[:known]) and np.array_equal(
            self._variances[:known], variances[:known]
        )
        self._features, self._variances = features.copy(), variances.copy()
        if not same or len(features) - known > max(8, known // 8):
            self._factorize()
            return
        for row in range(known, len(features)):
            self._append(row)

    def _factorize(self) -> None:
        covariance = self._covariance(self._features, self._features)
        covariance[np.diag_indices_from(covariance)] += (
            self.hyperparameters.noise + JITTER + self._variances
        )
        factor = np.linalg.cholesky(covariance)
        self._inverse_factor = np.linalg.solve(factor, np.eye(len(factor)))

    def _append(self, row: int) -> None:
        inverse = self._inverse_factor
        covariance = self._covariance(self._features[:row], self._features[row : row + 1])[:, 0]
        projected = inverse @ covariance
        own = self.hyperparameters.amplitude + self.hyperparameters.noise + JITTER
        rest = own + self._variances[row] - projected @ projected
        if not rest > 0:
            raise FloatingPointError("the covariance of the observations is singular")
        scale = 1 / math.sqrt(rest)
        grown = np.zeros((row + 1, row + 1))
        grown[:row, :row] = inverse
        grown[row, :row] = -scale * (projected @ inverse)
        grown[row, row] = scale
        self._inverse_factor = grown

    def _covariance(self, one: Matrix, other: Matrix) -> Matrix:
        scales = self.hyperparameters.length_scales
        distance = math.sqrt(5) * cdist(one / scales, other / scales)
        covariance: Matrix = (
            self.hyperparameters.amplitude
            * (1 + distance + np.square(distance) / 3)
            * np.exp(-distance)
        )
        return covariance


class _Prior:
    """Log-normal priors of the hyperparameters, and the fit that maximises the posterior.

    Length scales follow arXiv 2402.02229: their logarithms have mean sqrt(2) + log(p) / 2 and
    standard deviation sqrt(3). The noise's have -4 and 1, the amplitude's 0 and 1/2.
    """

    def __init__(self, num_features: int) -> None:
        length = math.sqrt(2) + math.log(num_features) / 2
        self._means = np.array([0.0, *[length] * num_features, -4.0])
        self._deviations = np.array([0.5, *[math.sqrt(3)] * num_features, 1.0])

    @property
    def mode(self) -> Hyperparameters:
        """The most probable hyperparameters before any observation."""
        return _unpack(self._means - self._deviations**2)

    def fit(
        self, features: Matrix, scores: Matrix, variances: Matrix, *, start: Hyperparameters
    ) -> Hyperparameters:
        """Return the most probable hyperparameters, found from ``start`` by local search."""
        from sklearn.exceptions import ConvergenceWarning  # these take a second to import
        from skopt.learning import GaussianProcessRegressor
        from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        kernel = ConstantKernel(start.amplitude, (1e-2, 1e2)) * Matern(
            start.length_scales, [(1e-2, 1e3)] * len(start.length_scales), nu=2.5
        ) + WhiteKernel(start.noise, (1e-6, 1e1))
        regressor = GaussianProcessRegressor(
            kernel, alpha=JITTER + variances, optimizer=self._climb
        )
        with warnings.catch_warnings():  # a length scale at its bound is a feature of no effect
            warnings.simplefilter("ignore", ConvergenceWarning)
            regressor.fit(features, scores)
        return _unpack(self._found)

    def _climb(
        self,
        objective: Callable[..., tuple[float, Matrix]],
        initial_theta: Matrix,
        bounds: Matrix,
    ) -> tuple[Matrix, float]:
        """Maximise likelihood times prior; ``theta`` holds logarithms."""

        def negative_log_posterior(theta: Matrix) -> tuple[float, Matrix]:
            value, gradient = objective(theta, eval_gradient=True)
            away = (theta - self._means) / self._deviations
            prior = np.sum(theta + np.square(away) / 2)
            return value + prior, gradient + 1 + away / self._deviations

        best = minimize(
            negative_log_posterior,
            np.clip(initial_theta, bounds[:, 0], bounds[:, 1]),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": 50},
        )
        if not np.isfinite(best.fun):
            raise FloatingPointError("the likelihood of the Gaussian process is not finite")
        self._found = best.x
        return best.x, best.fun


def _unpack(theta: Matrix) -> Hyperparameters:
    values = np.exp(theta)
    return Hyperparameters(float(values[0]), values[1:-1], float(values[-1]))


def _representative(scores: Matrix, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the rows that hyperparameters are fitted to: the best half of them, and others."""
    if len(scores) <= MAX_FITTED:
        return np.arange(len(scores))
    order = np.argsort(scores, kind="stable")
    best, rest = order[: MAX_FITTED // 2], order[MAX_FITTED // 2 :]
    others = generator.choice(rest, MAX_FITTED - len(best), replace=False)
    return np.sort(np.concatenate([best, others]))
