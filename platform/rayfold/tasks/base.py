"""What a task is: what labels mean, what models learn by, and what ensembles make of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rayfold.results import Mode

if TYPE_CHECKING:
    from torch import Tensor, nn

Classes: TypeAlias = tuple[str | int | float, ...]
"""The labels that occur, sorted, as plain Python values: the meaning of class index 0, 1, ..."""

Labels: TypeAlias = NDArray[Any]
Predictions: TypeAlias = NDArray[np.float64]


class Metric(ABC):
    """A metric of predictions.

    Let the tests of your own metric inherit ``rayfold.testing.MetricContract``.

    Attributes:
        mode: Whether a small or a large value is good.
    """

    mode: Mode

    @abstractmethod
    def compute(self, labels: Labels, predictions: Predictions) -> float:
        """Return its value over some rows; NaN if it is undefined.

        Args:
            labels: Encoded labels, as ``Task.encode`` returns them.
            predictions: Predictions of the task, shape ``(rows, outputs)``.
        """

    def undefined(self, labels: Labels, classes: Classes | None) -> str | None:
        """Return why the metric is undefined for these labels, for any predictions.

        Args:
            labels: Encoded labels.
            classes: What each class index stands for; None: the labels are not classes.

        Returns:
            A clause for a message; None if the metric is defined.
        """
        return None


@dataclass(frozen=True)
class KnownMetric(Metric):
    """A metric that a task knows by name.

    Attributes:
        meaning: What it measures, in a few words, for docs and ``rayfold metrics``.
        mode: Whether a small or a large value is good.
        function: Computes it.
        reason: Says why it is undefined.
    """

    meaning: str
    mode: Mode
    function: Callable[[Labels, Predictions], float]
    reason: Callable[[Labels, Classes | None], str | None] = lambda labels, classes: None

    def compute(self, labels: Labels, predictions: Predictions) -> float:
        """Call the function."""
        return self.function(labels, predictions)

    def undefined(self, labels: Labels, classes: Classes | None) -> str | None:
        """Ask for the reason."""
        return self.reason(labels, classes)


@dataclass(frozen=True)
class Strata:
    """Kinds of rows; each part of a split gets its share of every kind.

    Attributes:
        codes: Kind of each row, int64, shape ``(rows,)``, counted from 0.
        names: What each code stands for.
    """

    codes: NDArray[np.int64]
    names: Classes


class Task(ABC):
    """A kind of problem.

    A task has no state. Two tasks of one class are equal, so that a task may be pickled.
    ``rayfold.testing.TaskContract`` tests what a task promises.

    Shapes: ``labels`` are encoded labels, as ``encode`` returns them; ``predictions`` are outputs
    after ``activate``, shape ``(..., rows, outputs)``.

    Attributes:
        name: Its name in recipes, journals and bundles.
        label_type: Type of encoded labels.
        output_noun: What the outputs of a row are, for messages: ``"classes"``.
        loss_name: What ``row_losses`` is called: ``"log loss"``.
        default_loss: Name of the loss that models learn by; a key of ``losses()``.
        metrics: The metrics by name.
        default_metrics: Names of the metrics that a study measures if it names none.
        quantities: Whether labels are quantities in some unit, so that their spread matters.
        probabilities: Whether predictions are the probabilities of classes.
        temperature: Whether mean predictions may be calibrated by a temperature.
        stacking: What stacks predictions: logistic regression of log probabilities, or ridge
            regression of values.
        region: What holds the true label as often as is asked for: a set of classes, or an
            interval around each value.
        uncertainty: How uncertainty is measured: by entropies in nats, or by variances.
    """

    name: ClassVar[str]
    label_type: ClassVar[type[np.generic]]
    output_noun: ClassVar[str]
    loss_name: ClassVar[str]
    default_loss: ClassVar[str]
    metrics: ClassVar[Mapping[str, KnownMetric]]
    default_metrics: ClassVar[tuple[str, ...]]
    quantities: ClassVar[bool]
    probabilities: ClassVar[bool]
    temperature: ClassVar[bool]
    stacking: ClassVar[Literal["logistic", "ridge"]]
    region: ClassVar[Literal["set", "interval"]]
    uncertainty: ClassVar[Literal["entropy", "variance"]]

    @abstractmethod
    def encode(self, values: Labels, *, where: str) -> tuple[Labels, Classes | None]:
        """Return what a model learns of stored labels, and the classes.

        The reader converts the labels to ``label_type`` afterwards.

        Args:
            values: Labels as stored, rows first; text as objects.
            where: How messages name the data set.

        Returns:
            Labels of shape ``target_shape(rows, num_outputs)``, and what each class index stands
            for; None where labels are no classes.

        Raises:
            DataError: If the values are no labels of this task.
        """

    @abstractmethod
    def encode_known(self, values: Labels, classes: Classes | None) -> Labels:
        """Return what stored labels of other rows are, by classes that are known.

        Raises:
            DataError: If a label is none of the classes.
        """

    @abstractmethod
    def decode(self, labels: Labels, classes: Classes | None) -> Labels:
        """Return encoded labels as ``decide`` would predict them."""

    @abstractmethod
    def decide(self, predictions: Predictions, classes: Classes | None) -> Labels:
        """Return what is predicted, from the predictions of shape ``(rows, outputs)``."""

    @abstractmethod
    def num_outputs(self, labels: Labels, classes: Classes | None) -> int:
        """Return how many outputs a model has for each row."""

    @abstractmethod
    def check_classes(self, classes: Classes | None, num_outputs: int) -> None:
        """Check classes that a bundle names.

        Raises:
            ValueError: If they do not go with this task, or with the number of outputs.
        """

    @abstractmethod
    def target_shape(self, num_rows: int, num_outputs: int) -> tuple[int, ...]:
        """Return the shape of encoded labels."""

    def stored_shape(self, num_rows: int, num_outputs: int) -> tuple[int, ...]:
        """Return the shape of labels as stored, a single column as ``(rows,)``."""
        shape = self.target_shape(num_rows, num_outputs)
        return shape[:1] if shape[1:] == (1,) else shape

    def output_shape(self, num_rows: int, num_outputs: int) -> tuple[int, ...]:
        """Return the shape that a model's outputs must have."""
        return num_rows, num_outputs

    @abstractmethod
    def strata(self, labels: Labels, classes: Classes | None) -> Strata | None:
        """Return what splits into folds and test rows keep the shares of; None for nothing."""

    @abstractmethod
    def simple_models(self) -> Mapping[str, Callable[[], Any]]:
        """Return simple models by name, whose scores describe a data set.

        Each has ``fit(features, labels)`` and ``score(features, labels)`` as scikit-learn's have.
        """

    @abstractmethod
    def losses(self) -> Mapping[str, "type[nn.Module]"]:
        """Return the losses that models can learn by, by name.

        Each class takes ``reduction="none"`` and its own arguments, and is called with outputs
        and encoded labels.
        """

    @abstractmethod
    def activate(self, outputs: "Tensor") -> "Tensor":
        """Return the predictions of a model's outputs, shape ``(..., outputs)``."""

    @abstractmethod
    def row_losses(self, predictions: NDArray[np.floating], labels: Labels) -> Predictions:
        """Return the loss of each row that ensembles minimise, shape ``(..., rows)``."""

    @abstractmethod
    def summary(self, predictions: Predictions, labels: Labels) -> dict[str, float]:
        """Return what predictions of a file are summed up by, by name."""

    @abstractmethod
    def parts(self, predictions: NDArray[np.float32], labels: Labels) -> NDArray[np.float32]:
        """Return what the loss of an average needs, shape ``(candidates, rows, parts)``.

        The average of these parts is the part of the average.
        """

    @abstractmethod
    def mean_loss(self, parts: NDArray[np.floating], labels: Labels) -> float:
        """Return the mean loss of averaged parts, shape ``(rows, parts)``; may write over them."""

    @abstractmethod
    def mean_loss_slope(self, parts: Predictions, labels: Labels) -> Predictions:
        """Return the slope of ``mean_loss`` in the averaged parts, shape ``(rows, parts)``."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
