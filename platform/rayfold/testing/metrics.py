"""Tests to inherit for a metric: what every metric must do."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rayfold.tasks import Classes, Classification, Labels, Metric, Task
from rayfold.training.metrics import evaluate, find_metrics

NUM_ROWS = 40


class MetricContract:
    """Tests that a metric can judge predictions.

    Inherit them in a test module, in a class whose name begins with ``Test``::

        class TestGeometricMean(MetricContract):
            metric = "tests/examples/geometric_mean.py:GeometricMean"

    Attributes:
        metric: Reference or name of the metric.
        task: The task that the metric is for.
    """

    metric: ClassVar[str]
    task: ClassVar[Task] = Classification()

    def make_labels(self, num_rows: int) -> Labels:
        """Return labels as they are stored; three classes, or three values."""
        return np.arange(num_rows) % 3

    def test_it_is_a_number_and_the_order_of_rows_does_not_matter(self) -> None:
        """The predictions are random."""
        labels, _ = self._labels()
        predictions, order = self._random(), np.random.default_rng(0).permutation(NUM_ROWS)
        value = self._value(labels, predictions)
        assert math.isfinite(value)
        assert self._value(labels[order], predictions[order]) == pytest.approx(value)

    def test_true_predictions_are_as_good_as_any(self) -> None:
        """The mode says whether a small or a large value is good."""
        labels, classes = self._labels()
        true = np.eye(len(classes))[labels] if classes else labels.astype(np.float64)
        sign = 1 if self._found().mode == "max" else -1
        assert sign * self._value(labels, true) >= sign * self._value(labels, self._random())

    @pytest.mark.parametrize("num_rows", [1, 2, NUM_ROWS])
    def test_where_it_gives_no_number_it_says_why(self, num_rows: int) -> None:
        """Rows of one label, too: a study is refused if its metric is undefined in a fold."""
        labels, classes = self._labels()
        same = np.repeat(labels[:1], num_rows, axis=0)
        if self._found().undefined(same, classes) is None:
            assert math.isfinite(self._value(same, self._random()[:num_rows]))

    def _found(self) -> Metric:
        [metric] = find_metrics((self.metric,), self.task).values()
        return metric

    def _value(self, labels: Labels, predictions: NDArray[np.float64]) -> float:
        given = torch.from_numpy(predictions), torch.from_numpy(labels)
        return evaluate({"value": self._found()}, self.task, *given).get("value", math.nan)

    def _labels(self) -> tuple[Labels, Classes | None]:
        encoded, classes = self.task.encode(self.make_labels(NUM_ROWS), where="labels")
        return np.ascontiguousarray(encoded, dtype=self.task.label_type), classes

    def _random(self) -> NDArray[np.float64]:
        labels, classes = self._labels()
        shape = self.task.output_shape(NUM_ROWS, self.task.num_outputs(labels, classes))
        outputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        predictions: NDArray[np.float64] = self.task.activate(outputs).double().numpy()
        return predictions
