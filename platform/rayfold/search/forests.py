"""Forests of regression trees as surrogates: scikit-learn's, with a standard deviation.

scikit-optimize's forests also give one, but check their input again for every tree. That takes
70 ms a call, and a suggestion needs several calls.

References:
    Hutter et al., "Algorithm runtime prediction: Methods & evaluation", Artificial Intelligence
    206, 2014, section 4.3.2 (the variance of a forest).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Kind = Literal["extra_trees", "random_forest"]

NUM_TREES = 100
"""Trees of a surrogate."""

MIN_DEVIATION = 1e-6


class Forest:
    """Predicts scores from features; suits many observations and very conditional spaces.

    Args:
        kind: Trees with random splits, or with the best splits of resampled rows.
        num_trees: Number of trees; time is proportional to it.
    """

    def __init__(self, kind: Kind, *, num_trees: int = NUM_TREES) -> None:
        self._kind, self._num_trees = kind, num_trees

    def fit(self, features: Matrix, scores: Matrix, *, seed: int) -> None:
        """Learn from observations, shapes ``(n, p)`` and ``(n,)``; forget earlier ones."""
        from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor  # takes a second

        kind = ExtraTreesRegressor if self._kind == "extra_trees" else RandomForestRegressor
        leaf = 1 if len(scores) < 100 else 3
        forest = kind(n_estimators=self._num_trees, min_samples_leaf=leaf, random_state=seed)
        self._trees = [tree.tree_ for tree in forest.fit(features, scores).estimators_]

    def predict(self, features: Matrix) -> tuple[Matrix, Matrix]:
        """Return mean and standard deviation, shapes ``(m,)``.

        The deviation is that of a score drawn from a leaf of a random tree.
        """
        rows = features.astype(np.float32)
        total, squares = np.zeros(len(rows)), np.zeros(len(rows))
        for tree in self._trees:
            leaves = tree.apply(rows)
            values = tree.value[leaves, 0, 0]
            total += values
            squares += np.square(values) + tree.impurity[leaves]
        mean = total / len(self._trees)
        variance = np.maximum(squares / len(self._trees) - np.square(mean), 0.0)
        return mean, np.maximum(np.sqrt(variance), MIN_DEVIATION)
