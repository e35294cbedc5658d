"""Forests of regression trees as surrogates: scikit-optimize's, with a standard deviation."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Kind = Literal["extra_trees", "random_forest"]


class Forest:
    """Predicts scores from features; for many observations and very conditional spaces.

    Args:
        kind: Trees with random splits, or with the best ones of resampled rows.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def fit(self, features: Matrix, scores: Matrix, *, seed: int) -> None:
        """Learn from observations, shapes ``(n, p)`` and ``(n,)``; whatever was learnt goes."""
        from skopt.learning import ExtraTreesRegressor, RandomForestRegressor

        kind = ExtraTreesRegressor if self._kind == "extra_trees" else RandomForestRegressor
        self._model = kind(
            n_estimators=100, min_samples_leaf=1 if len(scores) < 100 else 3, random_state=seed
        )
        self._model.fit(features, scores)

    def predict(self, features: Matrix) -> tuple[Matrix, Matrix]:
        """Return mean and standard deviation over the trees, shapes ``(m,)``."""
        mean, deviation = self._model.predict(features, return_std=True)
        return mean, np.maximum(deviation, 1e-6)
