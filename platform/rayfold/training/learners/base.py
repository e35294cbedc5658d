"""What every learner is: a model, its optimisers and schedules, and their state."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rayfold.data import DataSet
from rayfold.errors import ModelError
from rayfold.isolation import Guard
from rayfold.model_construction import build_model, model_arguments
from rayfold.results import Config, Mode
from rayfold.training.checkpoint import ShrinkAndPerturb
from rayfold.training.hyperparameters import section
from rayfold.training.lazy_modules import blank_rows, materialise
from rayfold.training.optimizers import build_optimizer
from rayfold.training.schedules import LearningRates, build_schedule
from rayfold.training.settings import StudySetup
from rayfold.training.strategies import Strategy
from rayfold.training.strategies.base import Forward
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
    """One worker's share of a batch.

    Attributes:
        features: Its rows, each ``(rows, *shape)``, float32.
        labels: Class indices ``(rows,)`` or values ``(rows, outputs)``.
        total_rows: Rows of the whole batch, over all workers.
        weight: 1, or 0 if other workers report these rows.
    """

    features: tuple[Tensor, ...]
    labels: Tensor
    total_rows: int
    weight: float = 1.0

    @property
    def num_own_rows(self) -> int:
        """How many rows this worker reports."""
        return len(self.labels) if self.weight else 0


class Learner(ABC):
    """Builds what one fold trains from a configuration, and trains it batch by batch.

    The model is built here: the study's model class, with the configuration's ``model.*``. It may
    hold several networks. Its ``state_dict()`` is what a fold leaves behind, what a checkpoint
    holds, and what another trial or study begins with. A subclass adds optimisers and says what a
    batch does::

        class Plain(Learner):
            def build(self) -> None:
                self.network = self.strategy.wrap(self.model)
                self.optimizer = self.add_optimizer("optimizer", self.model)

            def train_batch(self, batch: Batch) -> Tensor:
                self.optimizer.zero_grad()
                total = self.backward(self.losses(batch), batch)
                self.step(self.optimizer)
                return total

            def validate_batch(self, batch: Batch) -> tuple[None, Mapping[str, Tensor]]:
                return None, {"loss": self.losses(batch)}

    Everything random in it must come from PyTorch's, NumPy's or Python's global generators, which
    the training loop seeds and puts into checkpoints.

    Args:
        config: The configuration, searched and fixed hyperparameters together.
        setup: What all folds of the study share.
        data: The data set.
        strategy: How the workers of the group train together.
        steps_per_epoch: Batches in an epoch.
        warm: The fold and the number of the trial, if it begins with weights of earlier studies.

    Attributes:
        predicts: Whether ``validate_batch`` returns predictions. If so, they must be those that
            the model's ``forward`` gives with the task's activation: ensembles and bundles hold
            the model alone. Without predictions no ensemble can use a trial.
        reports: What ``validate_batch`` measures for each row, and whether a small or a large
            value is good. A study may search for ``"val_"`` + one of these names.
        model: What is trained.
        optimizers: Its optimisers by name.
        initial: Where the weights come from that it began with; None: it began cold.
    """

    predicts: ClassVar[bool] = True
    reports: ClassVar[Mapping[str, Mode]] = {"loss": "min"}

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
        self.config, self.setup, self.data, self.strategy = config, setup, data, strategy
        self.model = self.build_model()
        check_trainable(self.model)
        self._loaded = None if warm is None else self._load_initial_weights(*warm)
        self.initial = None if self._loaded is None else self._loaded.weights
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._schedules: list[LearningRates] = []
        self._steps_per_epoch = steps_per_epoch
        self.train(True)
        self.build()

    def build_model(self) -> nn.Module:
        """Return a new model of this configuration, on the worker's device."""
        setup, device = self.setup, self.strategy.collective.device
        arguments = model_arguments(
            setup.model_class,
            self.config,
            input_shapes=self.data.input_shapes,
            num_outputs=self.data.num_outputs,
        )
        model = build_model(setup.model_class, arguments)
        check_has_values(model)
        model = model.to(device)
        materialise(model, blank_rows(self.data.input_shapes, device))
        return model

    @abstractmethod
    def build(self) -> None:
        """Wrap the model's networks (``strategy.wrap``) and add their optimisers."""

    @abstractmethod
    def train_batch(self, batch: Batch) -> Tensor:
        """Take one training step.

        Returns:
            The loss summed over the rows that this worker reports, a scalar without gradient.
        """

    @abstractmethod
    def validate_batch(self, batch: Batch) -> tuple[Tensor | None, Mapping[str, Tensor]]:
        """Predict and measure rows, without gradients and with the model in evaluation mode.

        What it changes of the model is put back.

        Returns:
            Predictions ``(rows, classes or outputs)``, probabilities or values, None unless it
            ``predicts``; and each name of ``reports`` with a value for each row, ``(rows,)``.
        """

    def train(self, training: bool) -> None:
        """Begin to train or to validate, in the settings that PyTorch has now."""
        self.model.train(training)
        self._guard = Guard()

    def call(self, forward: Forward, *inputs: Any) -> Any:
        """Call a network, and put back what it sets of the process (see ``isolation.Guard``)."""
        outputs = forward(*inputs)
        self._guard.restore()
        return outputs

    def has_exploded(self, loss: float, *, untrained: float, rows: NDArray[np.int64]) -> bool:
        """Tell whether a finite loss says that the fold has diverged.

        Args:
            loss: Mean over the rows of an epoch, of training or validation.
            untrained: Mean over the first batch, before the first step.
            rows: The training rows.
        """
        return False

    def reload_problem(self, batch: Batch, weights: Mapping[str, Any], seed: int) -> str | None:
        """Say why a model that is built anew with the weights is not this one.

        It is called on every worker, with the model in evaluation mode, and counts on rank 0.

        Args:
            batch: Rows to predict, the same on every worker.
            weights: What the fold leaves behind, at least on rank 0.
            seed: Of the generators while the models predict.

        Returns:
            Two clauses for a message, or None: the weights hold all that counts.
        """
        return None

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take a step with the gradients of the whole batch.

        Raises:
            ModelError: If the optimiser does not take sparse gradients.
        """
        try:
            self.strategy.step(optimizer)
        except RuntimeError as error:
            if "sparse" not in str(error):
                raise
            raise ModelError(
                f"{type(self.model).__name__} gives sparse gradients, which "
                f"{type(optimizer).__name__} does not take; leave sparse=True out of "
                "nn.Embedding, or set optimizer.name to sgd without weight decay."
            ) from error

    def add_optimizer(self, name: str, module: nn.Module) -> torch.optim.Optimizer:
        """Build the optimiser and the schedule that the configuration names, for a module.

        Args:
            name: What a checkpoint calls it.
            module: The model, or one of its networks, after ``strategy.wrap``.
        """
        warm_start = self.setup.warm_start
        parameters: Iterable[Any] = module.parameters()
        factors: list[Callable[[float], float]] = []
        if warm_start is not None and warm_start.holds_back:
            parameters = parameter_groups(module)
            factors = rate_factors(self.model, module, warm_start, self._loaded)
        optimizer = build_optimizer(
            parameters, section(self.config, "optimizer"), self.setup.references
        )
        schedule = build_schedule(
            optimizer,
            section(self.config, "schedule"),
            epochs=self.setup.settings.epochs,
            steps_per_epoch=self._steps_per_epoch,
            rate_factors=factors,
            code=self.setup.references,
        )
        self.optimizers[name] = optimizer
        self._schedules.append(schedule)
        return optimizer

    def backward(self, losses: Tensor, batch: Batch) -> Tensor:
        """Compute the gradients of the mean loss of a batch, over all workers.

        Args:
            losses: One loss for each row of this worker's share, ``(rows,)``.
            batch: The share.

        Returns:
            Their sum over the rows that this worker reports, without gradient.
        """
        self.strategy.backward(losses, weight=batch.weight, num_rows=batch.total_rows)
        self._guard.restore()  # a model may have its own backward passes and hooks
        return losses.detach().sum() if batch.weight else losses.new_zeros(())

    def end_batch(self) -> None:
        """Go on in the schedules, on every worker, also one that does not train."""
        for schedule in self._schedules:
            schedule.step()

    @property
    def learning_rate(self) -> float:
        """The present learning rate, the highest if there are several."""
        return max(
            float(group["lr"])
            for optimizer in self.optimizers.values()
            for group in optimizer.param_groups
        )

    def weights(self) -> dict[str, Any]:
        """Return what a fold leaves behind, at least on rank 0; called on every worker."""
        return self.strategy.full_state(self.model)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a checkpoint needs to go on exactly here: tensors and plain values.

        It is called on every worker.
        """
        return {
            "model": self.strategy.full_state(self.model),
            **{name: self.strategy.full_state(each) for name, each in self.optimizers.items()},
            "schedule": {
                "last_epoch": self._schedules[0].num_steps,
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
                optimisers without moments; None takes the state as it is.
        """
        fresh = [tensor.detach().clone() for tensor in self.model.parameters()] if restart else []
        self.strategy.load_full_state(self.model, state["model"])
        if restart is not None:
            with torch.no_grad():
                for tensor, noise in zip(self.model.parameters(), fresh, strict=True):
                    tensor.mul_(restart.shrink).add_(noise, alpha=restart.noise)
        place = state["schedule"]
        step = round(place["last_epoch"] * self._steps_per_epoch / place["steps_per_epoch"])
        named = zip(self.optimizers.items(), self._schedules, strict=True)
        for (name, optimizer), schedule in named:
            groups = optimizer.param_groups
            own = [{k: v for k, v in group.items() if k != "params"} for group in groups]
            if restart is None:
                self.strategy.load_full_state(optimizer, state[name])
            for group, values in zip(optimizer.param_groups, own, strict=True):
                group.update(values)
            schedule.go_to(step)
            _add_momentum(optimizer)

    def _load_initial_weights(self, fold: int, number: int) -> Loaded | None:
        setup, warm_start = self.setup, self.setup.warm_start
        assert warm_start is not None
        same_outputs = all(source.same_outputs for source in warm_start.sources)
        return load_initial_weights(
            self.model,
            warm_start,
            folder=setup.folder,
            outputs=(
                () if same_outputs else output_tensors(setup.model_class, self.config, self.data)
            ),
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
