"""How uncertain predictions are: what the data leave open, and what the models disagree about.

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

    Entropies of classes in nats, shape ``(rows,)``; or variances of values in the target's unit
    squared, shape ``(rows, outputs)``.

    Attributes:
        total: Entropy of what is predicted; or the squared error that is to be expected of one
            model's prediction, drawn by weight.
        data: What would remain if all models agreed; for values an upper bound.
        model: What the models disagree about: the share of the entropy that is mutual information
            in the models' mean; or their variance.
    """

    total: NDArray[np.float64]
    data: NDArray[np.float64]
    model: NDArray[np.float64]


def of_classes(
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float64],
    combined: NDArray[np.float64],
) -> Uncertainty:
    """Return the entropy of what is predicted, split as that of the models' mean is.

    The entropy of the mean is the models' mean entropy and their mutual information. Where the
    ensemble predicts the mean itself, the parts are these; where it predicts something surer or
    less sure, as a tempered mean is, they have the same shares.

    Args:
        probabilities: Of each model, shape ``(models, rows, classes)``.
        weights: Of each model, of sum 1, shape ``(models,)``.
        combined: What the ensemble predicts, shape ``(rows, classes)``.
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
        values: Of each model, shape ``(models, rows, outputs)``.
        weights: Of each model, of sum 1, shape ``(models,)``.
        noise: Variance of the target around its prediction on rows that models did not see, the
            same for all rows, shape ``(outputs,)``.
    """
    mean = np.tensordot(weights, values, axes=1)
    model = np.tensordot(weights, np.square(values - mean), axes=1)
    data = np.broadcast_to(noise, model.shape)
    return Uncertainty(total=data + model, data=data, model=model)
