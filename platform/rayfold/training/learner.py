"""What one fold learns with: a model, its optimiser and schedule, and what a step does."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rayfold.data import DataSet
from rayfold.errors import ModelError
from rayfold.isolation import Snapshot, isolated, own_generators
from rayfold.model_construction import build_model, model_arguments
from rayfold.results import Config
from rayfold.training.checkpoint import ShrinkAndPerturb
from rayfold.training.hyperparameters import section
from rayfold.training.lazy_modules import blank_rows, materialise
from rayfold.training.losses import build_loss, check_loss
from rayfold.training.optimizers import build_optimizer
from rayfold.training.reloading import kept_outside, misfit, told, unlike
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
from rayfold.training.weights_file import check_has_values, check_trainable


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
        self._model_class, self._input_shapes = setup.model_class, data.input_shapes
        self._arguments = model_arguments(
            setup.model_class,
            config,
            input_shapes=data.input_shapes,
            num_outputs=data.num_outputs,
        )
        self._strategy = strategy
        self.model = self._build()
        check_trainable(self.model)
        loaded = (
            None if warm is None else _load_initial_weights(self.model, config, setup, data, warm)
        )
        self.initial = loaded.weights if loaded is not None else None
        self._task = data.task
        self._num_outputs = data.num_outputs
        self._gradient_scale = strategy.gradient_scale
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

    def _build(self) -> nn.Module:
        model = build_model(self._model_class, self._arguments)
        check_has_values(model)
        model = model.to(self._strategy.device)
        materialise(model, blank_rows(self._input_shapes, self._strategy.device))
        return model

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
            if not outputs.requires_grad:
                raise self._wrong("outputs without a gradient (detach, no_grad or .data)")
        rows = self._training_loss(outputs, batch.labels)
        total = rows.sum() * batch.weight
        with isolated():  # a model may have its own backward passes and hooks
            (total * (self._gradient_scale / batch.total_rows)).backward()
        self._step()
        self._schedule.step()
        return total.detach()

    @torch.no_grad()
    def predict_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return predictions ``(rows, classes or outputs)`` and plain losses ``(rows,)``.

        Predictions are what the task makes of the outputs. The model is afterwards as
        it was before, so that no batch depends on another and what predicts is what is saved.
        """
        outputs = self._raw(self.model, batch)
        losses = self._plain_loss(outputs, batch.labels)
        return self._task.activate(outputs), losses

    def reload_problem(self, batch: Batch, seed: int) -> str | None:
        """Say why a model that is built anew with this one's state dict is not this one.

        An ensemble has nothing but the state dict, so that state elsewhere, in a plain list say,
        would be lost without a word. Models that draw are compared under the same seed.

        Args:
            batch: Rows to predict, the model being in evaluation mode.
            seed: Of the generators while they predict; the new model is built with others.

        Returns:
            Two clauses for a message, or None: the state dict holds all that counts.
        """
        device = self._strategy.device
        with own_generators(seed + 1, device):
            twin = self._build().eval()
        if problem := misfit(twin.state_dict(), self.model.state_dict()):
            return (
                f"the trained state does not fit the model that is built ({problem}); make all "
                "parameters and buffers in __init__, with the shapes that they keep"
            )
        twin.load_state_dict(self.model.state_dict())
        outputs = []
        for model in (self.model, twin):
            with own_generators(seed, device):
                outputs.append(self._raw(model, batch))
        if not unlike(*outputs):
            return None
        found = told(kept_outside(self.model, twin))
        return f"state_dict() lacks some of what it predicts with; {found}"

    def _step(self) -> None:
        try:
            self._optimizer.step()
        except RuntimeError as error:
            if "sparse" not in str(error):
                raise
            raise ModelError(
                f"{type(self.model).__name__} gives sparse gradients, which "
                f"{type(self._optimizer).__name__} does not take; leave sparse=True out of "
                "nn.Embedding, or set optimizer.name to sgd without weight decay."
            ) from error

    @torch.no_grad()
    def _raw(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return a model's outputs, and leave it as it was."""
        before = Snapshot(model, parameters=True)
        with isolated():
            features = [feature.clone() for feature in batch.features]
            outputs = self._checked(model(*features), len(batch.labels)).clone()
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
