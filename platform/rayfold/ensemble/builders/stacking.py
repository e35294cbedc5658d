"""Stacking: a linear model of the candidates' predictions."""

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field

from rayfold.ensemble.builders.base import Builder, Selection
from rayfold.ensemble.combination import LEAST_STACKED, Stacking
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.options.arguments import checked
from rayfold.options.fields import Count, plain
from rayfold.results import MAX_COUNT

PENALTIES = np.logspace(-3, 3, 13)
"""Ridge penalties; leave-one-out error chooses between them."""

NEVER = -30.0
"""Logarithm of the odds of a class that no row has."""


class Stacked(Builder):
    """Fits a linear model to the out-of-fold predictions of the best candidates.

    Probabilities: logistic regression on their logarithms. Values: ridge regression, with the
    penalty chosen by leave-one-out error. Candidates that lack rows do not take part.

    Args:
        num_members: Number of best candidates, at least 1.
        inverse_penalty: Inverse penalty of the logistic regression (scikit-learn's ``C``), above
            0.

    Raises:
        RecipeError: If an argument is out of range.

    References:
        Wolpert, "Stacked Generalization", Neural Networks 5 (1992).
    """

    @checked
    def __init__(
        self,
        num_members: Count = 10,
        *,
        inverse_penalty: Annotated[float, Field(strict=True, gt=0, le=MAX_COUNT), plain] = 0.1,
    ) -> None:
        self._num_members, self._inverse_penalty = num_members, inverse_penalty

    def settings(self) -> dict[str, Any]:
        """Return ``{"stacked": {"num_members": 10, "inverse_penalty": 0.1}}``."""
        return {
            "stacked": {
                "num_members": self._num_members,
                "inverse_penalty": self._inverse_penalty,
            }
        }

    def build(self, out_of_fold: OutOfFold) -> Selection:
        """Choose from the candidates."""
        losses = np.where(out_of_fold.complete, out_of_fold.losses(), np.inf)
        order = np.argsort(losses, kind="stable")[: self._num_members]
        order = order[np.isfinite(losses[order])]
        some = out_of_fold.of_candidates(order)
        fit = self._fit_logistic if some.task.stacking == "logistic" else _fit_ridge
        stacking = fit(some)
        shares = np.array(stacking.shares)
        rank = np.argsort(-shares, kind="stable")
        coefficients = stacking.coefficients[:, torch.from_numpy(rank.copy())]
        return Selection(
            tuple(int(order[place]) for place in rank),
            Stacking(coefficients, stacking.intercept, stacking.task),
        )

    def _fit_logistic(self, some: OutOfFold) -> Stacking:
        from sklearn.linear_model import LogisticRegression

        num_members, num_rows, num_outputs = some.predictions.shape
        features = np.log(np.maximum(some.predictions.astype(np.float64), LEAST_STACKED))
        table = features.transpose(1, 0, 2).reshape(num_rows, -1)
        coefficients = np.zeros((num_outputs, num_members * num_outputs))
        intercept = np.full(num_outputs, NEVER)
        classes = np.unique(some.target)
        if len(classes) == 1:
            intercept[classes] = 0.0
        else:
            model = LogisticRegression(C=self._inverse_penalty, max_iter=1000)
            model.fit(table, some.target)
            if len(classes) == 2:  # one row, the log odds of the second class
                coefficients[classes[1]] = model.coef_[0]
                intercept[classes] = [0.0, model.intercept_[0]]
            else:
                coefficients[classes], intercept[classes] = model.coef_, model.intercept_
        shaped = coefficients.reshape(num_outputs, num_members, num_outputs)
        return Stacking(torch.from_numpy(shaped), torch.from_numpy(intercept), some.task)


def _fit_ridge(some: OutOfFold) -> Stacking:
    from sklearn.linear_model import RidgeCV

    num_members, num_rows, num_outputs = some.predictions.shape
    table = some.predictions.astype(np.float64).transpose(1, 0, 2).reshape(num_rows, -1)
    model = RidgeCV(PENALTIES).fit(table, np.asarray(some.target, dtype=np.float64))
    coefficients = np.reshape(model.coef_, (num_outputs, num_members, num_outputs))
    intercept = np.reshape(model.intercept_, num_outputs)
    return Stacking(torch.from_numpy(coefficients), torch.from_numpy(intercept), some.task)
