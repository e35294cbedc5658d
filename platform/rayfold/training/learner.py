"""What one fold learns with: a model, its optimiser and schedule, and what a step does."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rayfold.data import DataSet
from rayfold.errors import ModelError
from rayfold.isolation import Snapshot, isolated
from rayfold.model_construction import build_model, model_arguments
from rayfold.results import Config
from rayfold.training.checkpoint import ShrinkAndPerturb
from rayfold.training.hyperparameters import section
from rayfold.training.lazy_modules import blank_rows, materialise
from rayfold.training.losses import build_loss, check_loss
from rayfold.training.optimizers import build_optimizer
from rayfold.training.schedules import build_schedule
from rayfold.training.settings import StudySetup
from rayfold.training.strategies import Strategy
from rayfold.training.warm_start import (
    Loaded,
    load_initial_weights,
    output_tensors,
    parameter_groups,
    rate_factors,
)
from rayfold.training.weights_file import check_trainable


@dataclass(frozen=True)
class Batch:
    """One worker's part of a batch.

    Attributes:
        features: This worker's rows, each ``(rows, *shape)``, float32.
        labels: Labels as the task encodes them.
        total_rows: Rows of the whole batch, over all workers.
        weight: 1, or 0 where a worker got no row and holds another's to keep step.
    """

    features: tuple[Tensor, ...]
    labels: Tensor
    total_rows: int
    weight: float = 1.0

    @property
    def num_own_rows(self) -> int:
        """How many rows are this worker's own."""
        return len(self.labels) if self.weight else 0


class Learner:
    """Supervised learning of one model with one optimiser.

    ``val_loss`` is always the plain loss: what is searched under ``loss.`` (label smoothing,
    say) shapes the training only, so that trials stay comparable.

    Args:
        config: The configuration, searched and fixed hyperparameters together.
        setup: What all folds of the study share.
        data: The data set, for the shapes.
        strategy: How the workers of the group share a batch.
        steps_per_epoch: Batches in an epoch.
        warm: The fold and the number of the trial, if it begins with weights of earlier studies.

    Attributes:
        model: The model itself, whose ``state_dict()`` is what a fold leaves behind.
        initial: Where the weights come from that it began with; None: it began cold.
    """

    def __init__(
        self,
        config: Config,
        *,
        setup: StudySetup,
        data: DataSet,
        strategy: Strategy,
        steps_per_epoch: int,
        warm: tuple[int, int] | None = None,
    ) -> None:
        arguments = model_arguments(
            setup.model_class,
            config,
            input_shapes=data.input_shapes,
            num_outputs=data.num_outputs,
        )
        self.model = build_model(setup.model_class, arguments).to(strategy.device)
        materialise(self.model, blank_rows(data.input_shapes, strategy.device))
        check_trainable(self.model)
        loaded = (
            None if warm is None else _load_initial_weights(self.model, config, setup, data, warm)
        )
        self.initial = loaded.weights if loaded is not None else None
        self._task = data.task
        self._num_outputs = data.num_outputs
        self._gradient_scale = strategy.gradient_scale
        self._strategy = strategy
        self._forward = self.model
        self._is_wrapped = False
        loss = check_loss(setup.settings.loss, data.task)
        self._training_loss = build_loss(data.task, loss, section(config, "loss"))
        self._plain_loss = build_loss(data.task, loss, {})
        warm_start = setup.warm_start
        parameters: Iterable[Any] = self.model.parameters()
        factors: list[Callable[[float], float]] = []
        if warm_start is not None and warm_start.holds_back:
            parameters = parameter_groups(self.model)
            factors = rate_factors(self.model, warm_start, loaded)
        self._optimizer = build_optimizer(parameters, section(config, "optimizer"))
        self._steps_per_epoch = steps_per_epoch
        self._schedule = build_schedule(
            self._optimizer,
            section(config, "schedule"),
            epochs=setup.settings.epochs,
            steps_per_epoch=steps_per_epoch,
            rate_factors=factors,
        )

    def train_batch(self, batch: Batch) -> Tensor:
        """Take one optimiser step on the mean loss over the whole batch.

        Returns:
            The loss summed over this worker's rows, a scalar without gradient.

        Raises:
            ModelError: If the model returns no tensor ``(rows, classes or outputs)``.
        """
        if not self._is_wrapped:
            self._forward, self._is_wrapped = self._strategy.wrap(self.model, batch.features), True
        self._optimizer.zero_grad(set_to_none=True)
        with isolated():
            outputs = self._checked(self._forward(*batch.features), len(batch.labels))
        rows = self._training_loss(outputs, batch.labels)
        total = rows.sum() * batch.weight
        with isolated():  # a model may have its own backward passes and hooks
            (total * (self._gradient_scale / batch.total_rows)).backward()
        self._optimizer.step()
        self._schedule.step()
        return total.detach()

    @torch.no_grad()
    def predict_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return predictions ``(rows, classes or outputs)`` and plain losses ``(rows,)``.

        Predictions are what the task makes of the outputs. The model is afterwards as
        it was before, so that no batch depends on another and what predicts is what is saved.
        """
        before = Snapshot(self.model, parameters=True)
        with isolated():
            outputs = self._checked(self.model(*batch.features), len(batch.labels)).clone()
        before.restore()
        losses = self._plain_loss(outputs, batch.labels)
        return self._task.activate(outputs), losses

    def _checked(self, outputs: object, num_rows: int) -> Tensor:
        """Return what the model has returned, if it can be that; else the loss would puzzle."""
        expected = self._task.output_shape(num_rows, self._num_outputs)
        if isinstance(outputs, Tensor) and outputs.shape == expected:
            return outputs
        got = (
            f"shape {tuple(outputs.shape)}"
            if isinstance(outputs, Tensor)
            else f"a {type(outputs).__name__}"
        )
        raise ModelError(
            f"{type(self.model).__name__}.forward must return a tensor of shape {expected}, "
            f"(rows, {self._task.output_noun}), got {got}."
        )

    def blank_loss(self, labels: Tensor) -> float:
        """Return the mean plain loss of outputs that are all 0."""
        shape = self._task.output_shape(len(labels), self._num_outputs)
        losses = self._plain_loss(labels.new_zeros(shape).float(), labels)
        return float(losses.mean())

    def train(self, training: bool) -> None:
        """Switch the model between training and evaluation."""
        self._forward.train(training)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a checkpoint needs to go on exactly here: tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": {
                "last_epoch": self._schedule.last_epoch,
                "steps_per_epoch": self._steps_per_epoch,
            },
        }

    def load_state_dict(
        self, state: Mapping[str, Any], *, restart: ShrinkAndPerturb | None = None
    ) -> None:
        """Go on from ``state_dict()``, which may be that of another configuration.

        Weights, moments and the place in the schedule are taken over. What this learner's own
        configuration says stays: learning rate, momentum, weight decay and the like. A batch
        size other than the giver's gives other numbers of steps, and leaves the epoch as it is.

        Args:
            state: What ``state_dict()`` has returned.
            restart: Mixes these weights with the present ones, which are fresh, and leaves the
                optimiser without moments; None takes the state as it is.
        """
        fresh = [tensor.detach().clone() for tensor in self.model.parameters()] if restart else []
        self.model.load_state_dict(state["model"])
        if restart is not None:
            with torch.no_grad():
                for tensor, noise in zip(self.model.parameters(), fresh, strict=True):
                    tensor.mul_(restart.shrink).add_(noise, alpha=restart.noise)
        groups = self._optimizer.param_groups
        own = [{k: v for k, v in group.items() if k != "params"} for group in groups]
        if restart is None:
            self._optimizer.load_state_dict(state["optimizer"])
        place = state["schedule"]
        step = round(place["last_epoch"] * self._steps_per_epoch / place["steps_per_epoch"])
        self._schedule.last_epoch = step
        scheduled = zip(self._schedule.base_lrs, self._schedule.lr_lambdas, strict=True)
        for group, values, (rate, factor) in zip(
            self._optimizer.param_groups, own, scheduled, strict=True
        ):
            group.update(values, lr=rate * factor(step))
        _add_momentum(self._optimizer)

    @property
    def learning_rate(self) -> float:
        """The present learning rate, the highest where parameters have their own."""
        return max(float(group["lr"]) for group in self._optimizer.param_groups)


def _load_initial_weights(
    model: nn.Module, config: Config, setup: StudySetup, data: DataSet, warm: tuple[int, int]
) -> Loaded | None:
    warm_start = setup.warm_start
    assert warm_start is not None
    same_outputs = all(source.same_outputs for source in warm_start.sources)
    fold, number = warm
    return load_initial_weights(
        model,
        warm_start,
        folder=setup.folder,
        outputs=() if same_outputs else output_tensors(setup.model_class, config, data),
        fold=fold,
        number=number,
    )


def _add_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Let RMSprop begin with momentum in the middle: it makes the buffers in its first step."""
    for group in optimizer.param_groups:
        if isinstance(optimizer, torch.optim.RMSprop) and group["momentum"] > 0:
            for parameter in group["params"]:
                state = optimizer.state.get(parameter)
                if state and "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(parameter)
