"""The prior mean of the Gaussian process, learnt from earlier studies.

For each earlier study a forest of extra trees predicts normal scores (see ``search.portfolio``).
It says which configurations are bad, not which one is best. The prior mean is the weighted mean of
these predictions, scaled to the new scores. The Gaussian process models the rest. A study's weight
is the squared correlation of its predictions with the new scores. The weight is zero unless the
correlation is clearly positive, so an unrelated or misleading study changes nothing.

References:
    Feurer, Letham, Hutter and Bakshy, "Practical Transfer Learning for Bayesian Optimization",
    arXiv 1802.02219 (weighted surrogates, one per past task, and weight dilution).
    Salinas, Shen and Perrone, "A Quantile-based Approach for Hyperparameter Transfer Learning",
    ICML 2020, arXiv 1909.13595 (normal scores, and a process on the residual).
"""

import math

import numpy as np
from numpy.typing import NDArray

from rayfold.search.encoding import Encoding
from rayfold.search.forests import Forest
from rayfold.search.past import Past
from rayfold.search.portfolio import past_model

Matrix = NDArray[np.float64]

NUM_EQUAL = 5
"""With fewer scores, all studies with a correlation of at least 0 weigh the same."""

SIGNIFICANCE = 1.645
"""Standard deviations by which a correlation must exceed zero: a one-sided 5 % test."""

GOOD = 0.0
"""Lower normal scores, those of the better half of an earlier study, are raised to this value.

The best configuration of an earlier study need not be the best one here. When the prior mean
preferred it, the search stayed there and did not find better ones.
"""

MIN_UNIT = 0.1
"""Smallest unit of the residual, as a share of the scores' unit."""


class PastPrior:
    """The prior mean, weighted by how well it agrees with the new scores.

    Args:
        past: The earlier studies, at least one.
        encoding: Encoding of their space.
        seed: Seed of the forests.
    """

    def __init__(self, past: Past, encoding: Encoding, *, seed: int) -> None:
        self._models = [past_model(study, encoding, seed=seed) for study in past.studies]
        self._shares = np.zeros(len(self._models))
        self._slope, self._level = 0.0, 0.0
        self.unit = 1.0

    def fit(self, features: Matrix, scores: Matrix) -> Matrix:
        """Learn weights and scale from the new scores.

        Args:
            features: Shape ``(n, p)``.
            scores: Standardised, lower is better, shape ``(n,)``.

        Returns:
            The residual of the scores in units of ``unit``, shape ``(n,)``.
        """
        predictions = self._predictions(features)
        weights = np.array([_weight(row, scores) for row in predictions])
        total = float(weights.sum())
        self._shares = weights / total if total > 0 else weights
        self._slope, self._level, self.unit = 0.0, 0.0, 1.0
        mean = self._shares @ predictions
        spread = float(mean.var())
        if total > 0 and spread > 1e-12:
            centred = mean - mean.mean()
            self._slope = max(0.0, float(centred @ scores) / len(scores) / spread)
            self._level = float(scores.mean() - self._slope * mean.mean())
        left: Matrix = scores - self._level - self._slope * mean
        if self._slope > 0:
            self.unit = max(MIN_UNIT, float(left.std()))
        return left / self.unit

    @property
    def weights(self) -> Matrix:
        """Each study's share of the prior mean, shape ``(studies,)``; all zero without a prior."""
        return self._shares

    def mean(self, features: Matrix) -> Matrix:
        """Return the prior mean in units of the residual, shape ``(m,)``."""
        if self._slope == 0:
            return np.zeros(len(features))
        pairs = zip(self._shares, self._models, strict=True)
        mean = sum(share * _expected(model, features) for share, model in pairs if share)
        scaled: Matrix = (self._level + self._slope * np.asarray(mean)) / self.unit
        return scaled

    def _predictions(self, features: Matrix) -> Matrix:
        """Return each study's prediction, shape ``(studies, m)``."""
        return np.array([_expected(model, features) for model in self._models])


def _expected(model: Forest, features: Matrix) -> Matrix:
    return np.maximum(model.predict(features)[0], GOOD)


def _weight(predictions: Matrix, scores: Matrix) -> float:
    """Return the squared correlation, or zero if it is not clearly above zero.

    Ranks are not used: most trials of a search differ only by noise, and in ranks they would
    outvote the few bad trials. Predictions are quantiles and scores are flattened, so no outlier
    decides.
    """
    correlation = _correlation(predictions, scores)
    if len(scores) < NUM_EQUAL:
        return float(correlation >= 0)
    threshold = SIGNIFICANCE / math.sqrt(len(scores) - 1)
    return correlation**2 if correlation > min(threshold, 0.6) else 0.0


def _correlation(one: Matrix, other: Matrix) -> float:
    """Return Pearson's correlation; 0 if one of the two is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
