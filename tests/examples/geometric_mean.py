"""A metric of classification that is 0 if the model never finds one of the classes."""

import numpy as np

from rayfold.tasks import Labels, Metric, Predictions


class GeometricMean(Metric):
    """The geometric mean of the recalls of the classes that have rows."""

    mode = "max"

    def compute(self, labels: Labels, predictions: Predictions) -> float:
        """Return a value from 0 to 1."""
        found = predictions.argmax(axis=1) == labels
        recalls = np.array([found[labels == each].mean() for each in np.unique(labels)])
        return float(recalls.prod() ** (1 / len(recalls)))
