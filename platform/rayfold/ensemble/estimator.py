"""Predictions of an ensemble, with the interface of scikit-learn's estimators."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from rayfold.ensemble.combination import WeightedMean
from rayfold.ensemble.evaluation import conformal, uncertainty
from rayfold.ensemble.predictor import (
    EnsembleModule,
    batches,
    check_features,
    predict_each,
    predict_rows,
    predict_variants,
)
from rayfold.ensemble.records import Contents
from rayfold.errors import BundleError, EnsembleError

if TYPE_CHECKING:
    from sklearn.utils import Tags

Features = ArrayLike | tuple[ArrayLike, ...]


class Predict(Protocol):
    """Predicts the arrays of ``check_features``: probabilities or values, float."""

    def __call__(self, features: Sequence[NDArray[np.generic]]) -> NDArray[np.floating]:
        """Return predictions, shape ``(rows, outputs)``."""
        ...


class Estimator:
    """Predicts with the models of an ensemble, or with a program that replaces them.

    Args:
        contents: The ensemble.
        program: Predicts instead of the models; None: the models predict.

    Attributes:
        contents: The ensemble.
        program: Predicts instead of the models, or None.
        members: Its trials, largest weight first; weights sum to 1.
        signature: Inputs and outputs.
        origin: The studies that it comes from, and how their test rows were split off.
    """

    def __init__(self, contents: Contents, program: Predict | None = None) -> None:
        self.contents, self.program = contents, program
        self.members = contents.members
        self.signature = contents.signature
        self.origin = contents.origin

    @property
    def classes_(self) -> NDArray[Any] | None:
        """The class of each column of ``predict_proba``, shape ``(classes,)``, or None."""
        classes = self.signature.classes
        return np.array(classes) if classes else None

    @property
    def n_features_in_(self) -> int:
        """Numbers per row of a single input that is a table, as in scikit-learn.

        Raises:
            AttributeError: If rows have another shape, or there are several inputs.
        """
        first, *others = self.signature.inputs
        if others or len(first.shape) != 1:
            raise AttributeError("rows are no vectors; see signature.inputs.")
        return first.shape[0]

    def predict(self, features: Features) -> NDArray[Any]:
        """Predict classes or values.

        Args:
            features: Array of shape ``(rows, ...)``, or a tuple with one for each input, as they
                are in the data file.

        Returns:
            The most probable class of each row, shape ``(rows,)``; or values, shape ``(rows,)``
            for one output, else ``(rows, outputs)``.

        Raises:
            DataError: If the features' number, shape, type or values are wrong.
        """
        return self.decide(self._combined(features))

    @property
    def predict_proba(self) -> Callable[[Features], NDArray[np.float64]]:
        """Predicts the probability of each class from features: shape ``(rows, classes)``.

        It is a property, because scikit-learn's functions expect that a regression lacks it. A
        call raises ``DataError`` if the features' number, shape, type or values are wrong.

        Raises:
            AttributeError: If the task has no probabilities.
        """
        if not self.signature.task.probabilities:
            raise AttributeError(f"{self.signature.task} has no class probabilities; use predict.")
        return self._combined

    def predict_set(self, features: Features, *, coverage: float = 0.9) -> NDArray[np.bool_]:
        """Return which classes belong to each row's conformal set, shape ``(rows, classes)``.

        Args:
            features: As for ``predict``.
            coverage: Share of the rows whose set holds the true class, in (0, 1).

        Raises:
            EnsembleError: If the task has no sets.
            RecipeError: If ``coverage`` is out of range.
            DataError: If the features' number, shape, type or values are wrong.
        """
        self._check_region("set", "predict_interval")
        scores = self.contents.nonconformity
        return conformal.class_sets(self._combined(features), scores, coverage)

    def predict_interval(
        self, features: Features, *, coverage: float = 0.9
    ) -> NDArray[np.float64]:
        """Return both ends of each value's conformal interval, shape ``(rows, outputs, 2)``.

        Args:
            features: As for ``predict``.
            coverage: Share of the rows whose interval holds the true value, in (0, 1).

        Raises:
            EnsembleError: If the task has no intervals.
            RecipeError: If ``coverage`` is out of range.
            DataError: If the features' number, shape, type or values are wrong.
        """
        self._check_region("interval", "predict_set")
        scores = self.contents.nonconformity
        return conformal.intervals(self._combined(features), scores, coverage)

    def uncertainty(self, features: Features) -> uncertainty.Uncertainty:
        """Return the uncertainty of each prediction, split into parts of data and models.

        The models are those of all members; for a stack, they are variants that take one model of
        each member. For values, the data's part is the nested squared error of the ensemble, which
        includes errors that all models share. The total is the expected squared error of one model
        drawn by weight.

        Args:
            features: As for ``predict``.

        Raises:
            DataError: If the features' number, shape, type or values are wrong.
        """
        combination, checked = self.module.combination, check_features(features, self.signature)
        is_mean = isinstance(combination, WeightedMean)
        each, weights = (predict_each if is_mean else predict_variants)(self.module, checked)
        if self.signature.task.uncertainty == "entropy":
            combined = (
                combination.of_mean(torch.from_numpy(np.tensordot(weights, each, axes=1))).numpy()
                if isinstance(combination, WeightedMean)
                else self.predict_checked(checked)
            )
            return uncertainty.of_classes(each, weights, combined)
        noise = np.square(self.contents.nonconformity).mean(axis=0)
        return uncertainty.of_values(each, weights, noise)

    def decide(self, predictions: NDArray[np.float64]) -> NDArray[Any]:
        """Turn what ``predict_checked`` returns into what ``predict`` returns."""
        return self.signature.task.decide(predictions, self.signature.classes)

    def predict_checked(self, features: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
        """Predict the arrays of ``check_features``, for callers that have checked them.

        Returns:
            Probabilities or values, shape ``(rows, outputs)``.
        """
        if self.program is None:
            return predict_rows(self.module, features)
        parts = [self.program([tensor.numpy() for tensor in batch]) for batch in batches(features)]
        return np.concatenate([np.zeros((0, self.signature.num_outputs)), *parts])

    def fit(self, features: Features, target: ArrayLike | None = None) -> Self:
        """Return the ensemble unchanged, since it is fitted; for scikit-learn's functions."""
        return self

    def score(self, features: Features, target: ArrayLike) -> float:
        """Return the accuracy of classes, or R2 of values, as scikit-learn's estimators do.

        Args:
            features: As for ``predict``.
            target: Classes, shape ``(rows,)``, or values, as ``predict`` returns them.

        Raises:
            DataError: If the features' number, shape, type or values are wrong.
        """
        from sklearn.metrics import accuracy_score, r2_score

        metric = accuracy_score if self.signature.task.probabilities else r2_score
        return float(metric(target, self.predict(features)))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return an empty mapping: a fitted ensemble has no parameters to set."""
        return {}

    def set_params(self, **params: Any) -> Self:
        """Return the ensemble unchanged.

        Raises:
            EnsembleError: If a parameter is given.
        """
        if params:
            raise EnsembleError(
                f"a fitted ensemble has no parameters to set, got {', '.join(params)}; build "
                "another one."
            )
        return self

    def __sklearn_clone__(self) -> Self:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> "Tags":
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        is_classifier = self.signature.task.probabilities
        return Tags(
            estimator_type="classifier" if is_classifier else "regressor",
            target_tags=TargetTags(required=False, multi_output=self.signature.num_outputs > 1),
            classifier_tags=ClassifierTags() if is_classifier else None,
            regressor_tags=None if is_classifier else RegressorTags(),
            input_tags=InputTags(three_d_array=True),
            requires_fit=False,
        )

    @cached_property
    def module(self) -> EnsembleModule:
        """The whole ensemble as one ``torch.nn.Module``.

        Raises:
            BundleError: If the ensemble was loaded as a program, which holds no models.
        """
        if self.program is not None:
            raise BundleError("this ensemble was loaded as a program; load its weights for this.")
        return EnsembleModule(
            [member.models for member in self.members], self.contents.combination, self.signature
        )

    def _combined(self, features: Features) -> NDArray[np.float64]:
        return self.predict_checked(check_features(features, self.signature))

    def _check_region(self, region: str, other: str) -> None:
        task = self.signature.task
        if task.region != region:
            raise EnsembleError(f"{task} has no {region}s; use {other}.")
