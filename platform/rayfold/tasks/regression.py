"""Regression: one value or several a row, values come out."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rayfold.errors import DataError
from rayfold.tasks.base import Classes, KnownMetric, Labels, Predictions, Strata, Task

if TYPE_CHECKING:
    from torch import Tensor, nn


def _of_values(name: str) -> Callable[[Labels, Predictions], float]:
    """Return a metric of scikit-learn of the labels and the values."""

    def compute(labels: Labels, values: Predictions) -> float:
        from sklearn import metrics

        return float(getattr(metrics, name)(labels, values))

    return compute


def _single_row(labels: Labels, classes: Classes | None) -> str | None:
    return "it has a single validation row" if len(labels) < 2 else None


class Regression(Task):
    """Values in a unit; models return values, and ensembles average them."""

    name = "regression"
    label_type = np.float32
    output_noun = "values per row"
    loss_name = "squared error"
    default_loss = "mse"
    default_metrics = ("mae",)
    quantities = True
    probabilities = False
    temperature = False
    stacking = "ridge"
    region = "interval"
    uncertainty = "variance"
    metrics: ClassVar[Mapping[str, KnownMetric]] = {
        "mse": KnownMetric("mean squared error", "min", _of_values("mean_squared_error")),
        "rmse": KnownMetric(
            "root of the mean squared error", "min", _of_values("root_mean_squared_error")
        ),
        "mae": KnownMetric("mean absolute error", "min", _of_values("mean_absolute_error")),
        "r2": KnownMetric(
            "coefficient of determination", "max", _of_values("r2_score"), _single_row
        ),
    }

    def encode(self, values: Labels, *, where: str) -> tuple[Labels, Classes | None]:
        """Return values of shape ``(rows, outputs)``, and no classes.

        Raises:
            DataError: If ``values`` are text, or have more than two axes.
        """
        if values.dtype.kind == "O":
            raise DataError(
                f"{where}: expected numbers for task='{self}', got text; "
                "store numbers or set task='classification'."
            )
        if values.ndim > 2:
            raise DataError(
                f"{where}: expected shape (rows,) or (rows, outputs), got {values.shape}; "
                "flatten the outputs of each row."
            )
        return values.reshape(len(values), -1), None

    def encode_known(self, values: Labels, classes: Classes | None) -> Labels:
        """Return values of shape ``(rows, outputs)``."""
        return np.asarray(values, np.float64).reshape(len(values), -1)

    def decode(self, labels: Labels, classes: Classes | None) -> Labels:
        """Return the values as they are."""
        return labels

    def decide(self, predictions: Predictions, classes: Classes | None) -> Labels:
        """Return the values, of a single output in shape ``(rows,)``."""
        return predictions[:, 0] if predictions.shape[1] == 1 else predictions

    def num_outputs(self, labels: Labels, classes: Classes | None) -> int:
        """Return the number of values a row."""
        return int(labels.shape[1])

    def check_classes(self, classes: Classes | None, num_outputs: int) -> None:
        """Check that there are none."""
        if classes is not None:
            raise ValueError(f"classes do not go with task {self}")

    def target_shape(self, num_rows: int, num_outputs: int) -> tuple[int, ...]:
        """Return ``(rows, outputs)``."""
        return num_rows, num_outputs

    def strata(self, labels: Labels, classes: Classes | None) -> Strata | None:
        """Return nothing."""
        return None

    def simple_models(self) -> Mapping[str, Callable[[], Any]]:
        """Return a nearest neighbour, a linear model and a shallow tree."""
        from sklearn.linear_model import Ridge
        from sklearn.neighbors import KNeighborsRegressor
        from sklearn.tree import DecisionTreeRegressor

        return {
            "nearest_neighbour": lambda: KNeighborsRegressor(1),
            "linear": Ridge,
            "shallow_tree": lambda: DecisionTreeRegressor(max_depth=3, random_state=0),
        }

    def losses(self) -> Mapping[str, "type[nn.Module]"]:
        """Return squared and absolute error, and what lies between them."""
        from torch import nn

        return {
            "mse": nn.MSELoss,
            "mae": nn.L1Loss,
            "huber": nn.HuberLoss,
            "smooth_l1": nn.SmoothL1Loss,
        }

    def activate(self, outputs: "Tensor") -> "Tensor":
        """Return the outputs as they are."""
        return outputs

    def row_losses(self, predictions: NDArray[np.floating], labels: Labels) -> Predictions:
        """Return squared errors, averaged over outputs."""
        errors = np.square(predictions - np.asarray(labels, dtype=np.float64))
        return np.asarray(errors.mean(axis=-1), dtype=np.float64)

    def summary(self, predictions: Predictions, labels: Labels) -> dict[str, float]:
        """Return the root of the mean squared error, and the mean absolute error."""
        errors = predictions - labels
        return {
            "rmse": float(np.sqrt(np.square(errors).mean())),
            "mae": float(np.abs(errors).mean()),
        }

    def parts(self, predictions: NDArray[np.float32], labels: Labels) -> NDArray[np.float32]:
        """Return the difference to the label, one part for each output."""
        return predictions - np.asarray(labels, dtype=np.float32)

    def mean_loss(self, parts: NDArray[np.floating], labels: Labels) -> float:
        """Return the mean squared error."""
        return float(np.square(parts, out=parts).mean(dtype=np.float64))

    def mean_loss_slope(self, parts: Predictions, labels: Labels) -> Predictions:
        """Return ``2 * difference / numbers``."""
        slope: Predictions = 2 * parts / parts.size
        return slope
