"""Tests to inherit for a loss: what every loss must do."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from rayfold.tasks import Classification, Labels, Task
from rayfold.training.losses import LOSSES, build_loss, check_loss

NUM_ROWS = 40


class LossContract:
    """Tests that a loss can teach a model.

    Inherit them in a test module, in a class whose name begins with ``Test``::

        class TestFocal(LossContract):
            loss = "tests/examples/focal.py:Focal"

    Attributes:
        loss: Reference of the loss.
        task: The task that the loss is for.
    """

    loss: ClassVar[str]
    task: ClassVar[Task] = Classification()

    def make_labels(self, num_rows: int) -> Labels:
        """Return labels as they are stored; three classes, or three values."""
        return np.arange(num_rows) % 3

    def test_it_is_one_number_a_row(self) -> None:
        """The value of a row does not depend on the other rows."""
        outputs, labels = self._outputs(), self._labels()
        losses = self._losses(outputs, labels)
        assert losses.shape == (NUM_ROWS,)
        assert torch.isfinite(losses).all()
        few = self._losses(outputs[:7], labels[:7])
        torch.testing.assert_close(few, losses[:7], rtol=1e-5, atol=1e-6)

    def test_its_gradient_is_finite(self) -> None:
        """The gradient is not 0 everywhere."""
        outputs = self._outputs().requires_grad_()
        self._losses(outputs, self._labels()).sum().backward()
        assert outputs.grad is not None
        assert torch.isfinite(outputs.grad).all()
        assert outputs.grad.abs().sum() > 0

    def test_outputs_of_zeros_have_a_loss(self) -> None:
        """A diverging trial is detected by comparison with this loss."""
        assert torch.isfinite(
            self._losses(torch.zeros_like(self._outputs()), self._labels())
        ).all()

    def _losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        source = LOSSES.source(self.loss)
        name, _ = check_loss(self.loss, self.task, {self.loss: source})
        return build_loss(self.task, name, {}, {self.loss: source})(outputs, labels)

    def _labels(self) -> Tensor:
        encoded, _ = self.task.encode(self.make_labels(NUM_ROWS), where="labels")
        return torch.from_numpy(np.ascontiguousarray(encoded, dtype=self.task.label_type))

    def _outputs(self) -> Tensor:
        encoded, classes = self.task.encode(self.make_labels(NUM_ROWS), where="labels")
        shape = self.task.output_shape(NUM_ROWS, self.task.num_outputs(encoded, classes))
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))
