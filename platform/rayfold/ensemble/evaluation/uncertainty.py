"""Uncertainty of predictions, split into a part of the data and a part of the models.

References:
    Hüllermeier and Waegeman, "Aleatoric and Epistemic Uncertainty in Machine Learning", Machine
    Learning 110 (2021); the mutual information for ensembles as in arXiv 2110.13511.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr


@dataclass(frozen=True, kw_only=True, eq=False)
class Uncertainty:
    """The uncertainty of each row's prediction; ``total = data + model``.

    For classes: entropies in nats, shape ``(rows,)``. For values: variances in the target's unit
    squared, shape ``(rows, outputs)``.

    Attributes:
        total: Entropy of the prediction; or the expected squared error of one model, drawn by
            weight.
        data: The part that would remain if all models agreed; for values an upper bound.
        model: The disagreement of the models: the entropy's share of mutual information, as in the
            models' mean; or their variance.
    """

    total: NDArray[np.float64]
    data: NDArray[np.float64]
    model: NDArray[np.float64]


def of_classes(
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float64],
    combined: NDArray[np.float64],
) -> Uncertainty:
    """Return the entropy of the prediction, split in the shares of the models' mean.

    The entropy of the mean is the sum of the models' mean entropy and their mutual information. If
    the ensemble predicts the mean itself, these are the parts. If it predicts something else, such
    as a calibrated mean, the parts have the same shares.

    Args:
        probabilities: Probabilities of each model, shape ``(models, rows, classes)``.
        weights: Weight of each model, with sum 1, shape ``(models,)``.
        combined: The ensemble's predictions, shape ``(rows, classes)``.
    """
    of_mean = entr(np.tensordot(weights, probabilities, axes=1)).sum(axis=-1)
    mean = weights @ entr(probabilities).sum(axis=-1)
    share = np.divide(mean, of_mean, out=np.ones_like(mean), where=of_mean > 0).clip(0.0, 1.0)
    total = entr(combined).sum(axis=-1)
    return Uncertainty(total=total, data=share * total, model=(1 - share) * total)


def of_values(
    values: NDArray[np.float64], weights: NDArray[np.float64], noise: NDArray[np.float64]
) -> Uncertainty:
    """Return variances by the law of total variance.

    Args:
        values: Values of each model, shape ``(models, rows, outputs)``.
        weights: Weight of each model, with sum 1, shape ``(models,)``.
        noise: Variance of the target around its prediction on rows that models did not see, equal
            for all rows, shape ``(outputs,)``.
    """
    mean = np.tensordot(weights, values, axes=1)
    model = np.tensordot(weights, np.square(values - mean), axes=1)
    data = np.broadcast_to(noise, model.shape)
    return Uncertainty(total=data + model, data=data, model=model)
