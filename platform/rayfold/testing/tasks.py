"""What every task promises, as tests to inherit."""

import pickle
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rayfold.tasks import Classes, Labels, Task, find_task
from rayfold.training.losses import build_loss
from rayfold.training.metrics import evaluate

NUM_CANDIDATES, NUM_ROWS = 3, 40


@dataclass(frozen=True)
class Example:
    """Labels, and random predictions of them.

    Attributes:
        task: The task.
        stored: Labels as they are stored.
        labels: The same, encoded.
        classes: The classes.
        outputs: Of models, float32, shape ``(candidates, rows, outputs)``.
        predictions: What the task makes of them.
    """

    task: Task
    stored: Labels
    labels: Labels
    classes: Classes | None
    outputs: torch.Tensor
    predictions: NDArray[np.float32]

    @property
    def num_outputs(self) -> int:
        """Outputs of a row."""
        return self.task.num_outputs(self.labels, self.classes)


class TaskContract(ABC):
    """Tests that a task keeps the promises of ``rayfold.tasks.Task``.

    Register the task in ``rayfold.tasks.TASKS``, and inherit the tests in a test module, in a
    class whose name begins with ``Test``::

        class TestMine(TaskContract):
            def make_task(self) -> Task:
                return Mine()

            def make_labels(self, num_rows: int) -> Labels:
                return np.arange(num_rows) % 3
    """

    @abstractmethod
    def make_task(self) -> Task:
        """Return the task."""

    @abstractmethod
    def make_labels(self, num_rows: int) -> Labels:
        """Return labels as they are stored, of several kinds, rows first."""

    @pytest.fixture
    def example(self) -> Example:
        """Three candidates' predictions of forty rows."""
        task, stored = self.make_task(), self.make_labels(NUM_ROWS)
        encoded, classes = task.encode(stored, where="labels")
        labels = np.ascontiguousarray(encoded, dtype=task.label_type)
        shape = task.output_shape(NUM_ROWS, task.num_outputs(labels, classes))
        generator = torch.Generator().manual_seed(0)
        outputs = torch.randn((NUM_CANDIDATES, *shape), generator=generator)
        predictions = task.activate(outputs).numpy()
        return Example(task, stored, labels, classes, outputs, predictions)

    def test_it_is_found_by_its_name_and_equals_its_copies(self) -> None:
        """A worker gets a copy."""
        task = self.make_task()
        assert find_task(task.name) == task == pickle.loads(pickle.dumps(task))  # noqa: S301
        assert hash(task) == hash(self.make_task())
        assert str(task) == task.name

    def test_labels_are_encoded_and_decoded(self, example: Example) -> None:
        """Also those of other rows, by known classes."""
        task = example.task
        assert example.labels.shape == task.target_shape(NUM_ROWS, example.num_outputs)
        assert example.stored.shape == task.stored_shape(NUM_ROWS, example.num_outputs)
        decoded = task.decode(example.labels, example.classes).reshape(example.stored.shape)
        assert decoded.tolist() == example.stored.tolist()
        again = task.encode_known(example.stored[:5], example.classes)
        assert again.tolist() == example.labels[:5].tolist()
        task.check_classes(example.classes, example.num_outputs)

    def test_what_is_decided_has_the_shape_of_stored_labels(self, example: Example) -> None:
        """Of no rows, too."""
        for rows in (NUM_ROWS, 0):
            predictions = example.predictions[0][:rows].astype(np.float64)
            decided = example.task.decide(predictions, example.classes)
            assert decided.shape == example.task.stored_shape(rows, example.num_outputs)

    def test_strata_are_one_known_kind_a_row(self, example: Example) -> None:
        """Or there are none."""
        strata = example.task.strata(example.labels, example.classes)
        if strata is not None:
            assert strata.codes.shape == (NUM_ROWS,)
            assert {*strata.codes.tolist()} <= {*range(len(strata.names))}

    def test_every_loss_is_one_number_a_row_and_has_a_gradient(self, example: Example) -> None:
        """The default one is among them."""
        task = example.task
        assert task.default_loss in task.losses()
        for name in task.losses():
            outputs = example.outputs[0].clone().requires_grad_()
            losses = build_loss(task, name, {})(outputs, torch.from_numpy(example.labels))
            assert losses.shape == (NUM_ROWS,)
            losses.sum().backward()
            assert outputs.grad is not None
            assert torch.isfinite(outputs.grad).all()
            assert outputs.grad.abs().sum() > 0

    def test_outputs_of_zeros_have_a_loss(self, example: Example) -> None:
        """It is what a diverging trial is compared with."""
        zeros = torch.zeros_like(example.outputs[0])
        loss = build_loss(example.task, example.task.default_loss, {})
        assert torch.isfinite(loss(zeros, torch.from_numpy(example.labels))).all()

    def test_every_metric_is_a_number(self, example: Example) -> None:
        """The default ones are among them."""
        task, metrics = example.task, example.task.metrics
        assert {*task.default_metrics} <= {*metrics}
        labels = torch.from_numpy(example.labels)
        measured = evaluate(metrics, task, torch.from_numpy(example.predictions[0]), labels)
        assert {*measured} == {*metrics}
        summary = task.summary(example.predictions[0].astype(np.float64), example.labels)
        assert all(np.isfinite(value) for value in summary.values())

    def test_predictions_are_finite_and_keep_their_shape(self, example: Example) -> None:
        """Probabilities sum to 1."""
        assert example.predictions.shape == example.outputs.shape
        assert np.isfinite(example.predictions).all()
        if example.task.probabilities:
            assert example.predictions.min() >= 0
            assert example.predictions.sum(axis=-1) == pytest.approx(1)

    def test_an_average_is_no_worse_than_its_members_on_average(self, example: Example) -> None:
        """So that it pays to average."""
        losses = example.task.row_losses(example.predictions, example.labels)
        assert losses.shape == (NUM_CANDIDATES, NUM_ROWS)
        average = example.predictions.mean(axis=0)
        of_average = example.task.row_losses(average, example.labels)
        assert of_average.mean() <= losses.mean()

    def test_the_loss_of_averaged_parts_is_that_of_the_average(self, example: Example) -> None:
        """What greedy selection counts on."""
        task, labels = example.task, example.labels
        average = example.predictions.mean(axis=0)
        parts = task.parts(example.predictions, labels).mean(axis=0)
        expected = task.row_losses(average, labels).mean()
        assert task.mean_loss(parts, labels) == pytest.approx(expected, rel=1e-5)

    def test_the_slope_is_that_of_the_loss(self, example: Example) -> None:
        """By finite differences."""
        task, labels, step = example.task, example.labels, 1e-6
        parts = task.parts(example.predictions, labels).mean(axis=0).astype(np.float64)
        slope = task.mean_loss_slope(parts.copy(), labels)
        direction = np.random.default_rng(0).normal(size=parts.shape)
        ahead, behind = (
            task.mean_loss(parts + sign * step * direction, labels) for sign in (1, -1)
        )
        expected = (ahead - behind) / (2 * step)
        assert (slope * direction).sum() == pytest.approx(expected, rel=1e-3, abs=1e-6)
