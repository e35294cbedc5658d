"""Numbers that describe a data set, for telling which studies are alike.

References:
    Vanschoren, "Meta-Learning: A Survey", arXiv 1810.03548, sections 3.1 and 3.3 (meta-features
    and landmarks).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayfold.data import DataSet

NUM_ROWS = 300
"""Rows that landmarks are computed on, at most."""

NUM_COLUMNS = 256
"""Columns that landmarks see, at most: evenly spaced ones."""

NUM_FOLDS = 3

Matrix = NDArray[np.float64]


def describe_data(data: DataSet) -> dict[str, Any]:
    """Return the descriptors of a data set's development rows; takes about 0.1 s.

    Returns:
        ``rows``, ``features`` (numbers per row), ``classes`` and ``label_entropy`` in bits (None
        for regression), and ``landmarks``: cross-validated scores of simple models on a few
        hundred rows, accuracy or, for regression, R² from -1 on.
    """
    labels = data.labels[data.development_rows]
    entropy = None
    if data.task == "classification":
        shares = np.unique(labels, return_counts=True)[1] / len(labels)
        entropy = float(-(shares * np.log2(shares)).sum())
    return {
        "rows": len(labels),
        "features": int(sum(np.prod(shape, dtype=int) for shape in data.input_shapes)),
        "classes": len(data.classes) if data.classes is not None else None,
        "label_entropy": entropy,
        "landmarks": _landmarks(data),
    }


def _landmarks(data: DataSet) -> dict[str, float]:
    """Return the landmarks; none where the rows are too few, or of a single class."""
    generator = np.random.default_rng(0)
    rows = data.development_rows
    if len(rows) > NUM_ROWS:
        rows = np.sort(generator.choice(rows, NUM_ROWS, replace=False))
    if len(rows) < 2 * NUM_FOLDS:
        return {}
    features, labels = _columns(data, rows), data.labels[rows]
    parts = generator.permutation(np.arange(len(rows)) % NUM_FOLDS)
    is_classes = data.task == "classification"
    if is_classes and any(len(np.unique(labels[parts != part])) < 2 for part in range(NUM_FOLDS)):
        return {}
    scores = {}
    for name, model in _models(is_classes).items():
        folds = [
            model()
            .fit(features[parts != part], labels[parts != part])
            .score(features[parts == part], labels[parts == part])
            for part in range(NUM_FOLDS)
        ]
        scores[name] = round(max(-1.0, float(np.mean(folds))), 4)
    return scores


def _columns(data: DataSet, rows: NDArray[np.int64]) -> Matrix:
    """Return standardised numbers, shape ``(rows, columns)``; missing ones become the mean."""
    flat = [
        np.asarray(array[rows], dtype=np.float64).reshape(len(rows), -1) for array in data.features
    ]
    table = np.concatenate(flat, axis=1)
    if table.shape[1] > NUM_COLUMNS:
        table = table[:, np.linspace(0, table.shape[1] - 1, NUM_COLUMNS).astype(int)]
    table = np.where(np.isfinite(table), table, np.nan)
    known = ~np.isnan(table)
    counts = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, table - np.where(known, table, 0.0).sum(axis=0) / counts, 0.0)
    deviation = np.sqrt(np.square(centred).mean(axis=0))
    return centred / np.where(deviation > 0, deviation, 1.0)


def _models(is_classes: bool) -> dict[str, Callable[[], Any]]:
    from sklearn.linear_model import Ridge  # scikit-learn takes a second to import
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if is_classes:
        return {
            "nearest_neighbour": lambda: KNeighborsClassifier(1),
            "nearest_centroid": _NearestCentroid,
            "shallow_tree": lambda: DecisionTreeClassifier(max_depth=3, random_state=0),
        }
    return {
        "nearest_neighbour": lambda: KNeighborsRegressor(1),
        "linear": Ridge,
        "shallow_tree": lambda: DecisionTreeRegressor(max_depth=3, random_state=0),
    }


class _NearestCentroid:
    """Classifies by the nearest class mean; scikit-learn's warns of columns that are constant."""

    def fit(self, features: Matrix, labels: NDArray[Any]) -> "_NearestCentroid":
        self._classes = np.unique(labels)
        self._means = np.array([features[labels == one].mean(axis=0) for one in self._classes])
        return self

    def score(self, features: Matrix, labels: NDArray[Any]) -> float:
        distances = np.square(features[:, None] - self._means).sum(axis=2)
        return float((self._classes[distances.argmin(axis=1)] == labels).mean())
