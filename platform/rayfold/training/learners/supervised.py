"""Supervised learning of one model with one optimiser."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayfold.errors import ModelError
from rayfold.training.hyperparameters import section
from rayfold.training.learners.base import Batch, Learner
from rayfold.training.losses import build_loss, check_loss

EXPLODED = 1e6
"""A fold has diverged once a loss is above this many times the larger of three: the loss of its
untrained model (on the first batch), that of outputs of 0 for the training rows, and 1.

No epoch of a training that learns anything comes near, the first included, since the untrained
model is what it is compared with; the 1 keeps targets of tiny scale out of it.
"""


class Supervised(Learner):
    """The model's ``forward`` gives logits ``(rows, classes)`` or values ``(rows, outputs)``.

    ``val_loss`` is always the plain loss: what is searched under ``loss.`` (label smoothing,
    say) shapes the training only, so that trials stay comparable.
    """

    def build(self) -> None:
        """Add the losses, and one optimiser of all parameters."""
        loss = check_loss(self.setup.settings.loss, self.data.task)
        self._training_loss = build_loss(loss, section(self.config, "loss"))
        self._plain_loss = build_loss(loss, {})
        self._classification = self.data.task == "classification"
        self._num_outputs = self.data.num_outputs
        self._forward = self.strategy.wrap(self.model)
        self._optimizer = self.add_optimizer("optimizer", self.model)

    def train_batch(self, batch: Batch) -> Tensor:
        """Take one optimiser step on the mean loss over the whole batch.

        Raises:
            ModelError: If the model returns no tensor ``(rows, classes or outputs)``.
        """
        self._optimizer.zero_grad(set_to_none=True)
        losses = self._training_loss(self._outputs(batch), batch.labels)
        total = self.backward(losses, batch)
        self.strategy.step(self._optimizer)
        return total

    def validate_batch(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return class probabilities or values, and plain losses."""
        outputs = self._outputs(batch).clone()  # it may be a part of the model
        losses = self._plain_loss(outputs, batch.labels)
        return (outputs.softmax(1) if self._classification else outputs), {"loss": losses}

    def has_exploded(self, loss: float, *, untrained: float, rows: NDArray[np.int64]) -> bool:
        """Compare with the untrained model and with outputs of 0; see ``EXPLODED``."""
        if loss <= EXPLODED * max(1.0, untrained):
            return False
        labels = torch.from_numpy(self.data.labels[rows])
        blank = labels.new_zeros((len(labels), self._num_outputs)).float()
        return loss > EXPLODED * float(self._plain_loss(blank, labels).mean())

    def _outputs(self, batch: Batch) -> Tensor:
        """Return what the model returns, if it can be that; else the loss would puzzle."""
        outputs: object = self.call(self._forward, *batch.features)
        expected = (len(batch.labels), self._num_outputs)
        if isinstance(outputs, Tensor) and outputs.shape == expected:
            return outputs
        got = (
            f"shape {tuple(outputs.shape)}"
            if isinstance(outputs, Tensor)
            else f"a {type(outputs).__name__}"
        )
        raise ModelError(
            f"{type(self.model).__name__}.forward must return a tensor of shape {expected}, "
            f"(rows, {'classes' if self._classification else 'values per row'}), got {got}."
        )
