"""Supervised learning of one model with one optimiser."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayfold.errors import ModelError
from rayfold.isolation import Snapshot, own_generators
from rayfold.training.hyperparameters import section
from rayfold.training.learners.base import Batch, Learner
from rayfold.training.losses import build_loss
from rayfold.training.reloading import kept_outside, misfit, told, unlike
from rayfold.training.strategies.base import Forward

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
        self._task = self.data.task
        task, code = self._task, self.setup.references
        loss = self.setup.settings.loss or task.default_loss
        self._training_loss = build_loss(task, loss, section(self.config, "loss"), code)
        self._plain_loss = build_loss(task, loss, {}, code)
        self._num_outputs = self.data.num_outputs
        self._forward = self.strategy.wrap(self.model)
        self._optimizer = self.add_optimizer("optimizer", self.model)

    def train_batch(self, batch: Batch) -> Tensor:
        """Take one optimiser step on the mean loss over the whole batch.

        Raises:
            ModelError: If the model returns no tensor ``(rows, classes or outputs)``.
        """
        self._optimizer.zero_grad(set_to_none=True)
        outputs = self._outputs(batch)
        if not outputs.requires_grad:
            raise self._wrong("outputs without a gradient (detach, no_grad or .data)")
        total = self.backward(self._training_loss(outputs, batch.labels), batch)
        self.step(self._optimizer)
        return total

    def validate_batch(self, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return what the task makes of the outputs, and plain losses."""
        outputs = self._outputs(batch).clone()  # it may be a part of the model
        losses = self._plain_loss(outputs, batch.labels)
        return self._task.activate(outputs), {"loss": losses}

    def has_exploded(self, loss: float, *, untrained: float, rows: NDArray[np.int64]) -> bool:
        """Compare with the untrained model and with outputs of 0; see ``EXPLODED``."""
        if loss <= EXPLODED * max(1.0, untrained):
            return False
        labels = torch.from_numpy(self.data.labels[rows])
        shape = self._task.output_shape(len(labels), self._num_outputs)
        blank = labels.new_zeros(shape).float()
        return loss > EXPLODED * float(self._plain_loss(blank, labels).mean())

    def _outputs(self, batch: Batch) -> Tensor:
        return self._checked(self.call(self._forward, *batch.features), len(batch.labels))

    def reload_problem(self, batch: Batch, weights: Mapping[str, Any], seed: int) -> str | None:
        """Compare predictions: an ensemble has nothing but the weights.

        State elsewhere, in a plain list say, would be lost without a word. Models that draw are
        compared under the same seed.
        """
        collective = self.strategy.collective
        trained = self._drawn(self._forward, batch, seed)
        if collective.rank != 0:
            return None
        with own_generators(seed + 1, collective.device):
            twin = self.build_model().eval()
        if problem := misfit(twin.state_dict(), weights):
            return (
                f"the trained state does not fit the model that is built ({problem}); make all "
                "parameters and buffers in __init__, with the shapes that they keep"
            )
        twin.load_state_dict(weights)
        if not unlike(trained, self._drawn(twin, batch, seed)):
            return None
        found = told(kept_outside(self.model, twin))
        return f"state_dict() lacks some of what it predicts with; {found}"

    def _drawn(self, forward: Forward, batch: Batch, seed: int) -> Tensor:
        """Return outputs under a seed; features are copies, and the model stays as it was."""
        before = Snapshot(self.model, parameters=True)
        features = tuple(feature.clone() for feature in batch.features)
        with own_generators(seed, self.strategy.collective.device):
            outputs = self._checked(self.call(forward, *features), len(batch.labels)).clone()
        before.restore()
        return outputs

    def _checked(self, outputs: object, num_rows: int) -> Tensor:
        """Return what the model has returned, if it can be that; else the loss would puzzle."""
        if not isinstance(outputs, Tensor):
            raise self._wrong(f"a {type(outputs).__name__}", num_rows)
        if outputs.layout != torch.strided or outputs.device.type == "meta":
            kind = "without values" if outputs.device.type == "meta" else f"{outputs.layout}"
            raise self._wrong(f"a tensor that is {kind.removeprefix('torch.')}")
        if outputs.shape != self._task.output_shape(num_rows, self._num_outputs):
            raise self._wrong(f"shape {tuple(outputs.shape)}", num_rows)
        if not outputs.is_floating_point():
            raise self._wrong(str(outputs.dtype).removeprefix("torch."))
        return outputs

    def _wrong(self, got: str, num_rows: int | None = None) -> ModelError:
        """Return the error for outputs of a wrong shape, or else of a wrong kind."""
        expected = "floats that depend on its parameters"
        if num_rows is not None:
            expected = (
                f"a tensor of shape {self._task.output_shape(num_rows, self._num_outputs)}, "
                f"(rows, {self._task.output_noun})"
            )
        return ModelError(
            f"{type(self.model).__name__}.forward must return {expected}, got {got}."
        )
