"""Numbers that describe a data set, for telling which studies are alike.

References:
    Vanschoren, "Meta-Learning: A Survey", arXiv 1810.03548, sections 3.1 and 3.3 (meta-features
    and landmarks).
"""

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
        where rows have no classes), and ``landmarks``: cross-validated scores of the task's
        simple models on a few hundred rows: accuracy, or R² from -1 on.
    """
    entropy, strata = None, data.strata
    if strata is not None:
        counts = np.unique(strata.codes[data.development_rows], return_counts=True)[1]
        shares = counts / len(data.development_rows)
        entropy = float(-(shares * np.log2(shares)).sum())
    return {
        "rows": len(data.development_rows),
        "features": int(sum(np.prod(shape, dtype=int) for shape in data.input_shapes)),
        "classes": None if strata is None else len(strata.names),
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
    sample = data.subset(rows)
    features, labels = _columns(sample), sample.labels
    parts = generator.permutation(np.arange(len(rows)) % NUM_FOLDS)
    if (strata := data.strata) is not None:
        codes = strata.codes[rows]
        if any(len(np.unique(codes[parts != part])) < 2 for part in range(NUM_FOLDS)):
            return {}
    scores = {}
    for name, model in data.task.simple_models().items():
        folds = [
            model()
            .fit(features[parts != part], labels[parts != part])
            .score(features[parts == part], labels[parts == part])
            for part in range(NUM_FOLDS)
        ]
        scores[name] = round(max(-1.0, float(np.mean(folds))), 4)
    return scores


def _columns(data: DataSet) -> Matrix:
    """Return standardised numbers, shape ``(rows, columns)``; missing ones become the mean."""
    flat = [
        np.asarray(array, dtype=np.float64).reshape(data.num_rows, -1) for array in data.features
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
