"""The base class of strategies, which say how the workers of a group train together."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.optim import Optimizer

from rayfold.training.collective import Collective

Forward: TypeAlias = Callable[..., Any]
"""A function with the arguments and results of a module."""


@dataclass(frozen=True)
class Share:
    """One worker's share of a batch.

    Attributes:
        rows: Its rows within the batch.
        weight: 1, or 0 if other workers report these rows: this worker computes with them, but its
            loss and its predictions do not count.
    """

    rows: slice
    weight: float = 1.0


class Strategy(ABC):
    """How the workers of a group take a training step together.

    ``batch_size`` is the batch that the optimiser sees, for any number of workers. Each fold has
    its own strategy.

    All methods except ``training_share`` and ``validation_share`` are called on every worker in
    the same order, so they may communicate. While some workers take a training step (``backward``,
    ``step``), workers without a share are in ``assist``.

    Args:
        collective: The workers.
    """

    def __init__(self, collective: Collective) -> None:
        self.collective = collective

    @abstractmethod
    def training_share(self, num_rows: int) -> Share | None:
        """Return this worker's share of a training batch.

        Args:
            num_rows: Rows of the batch.

        Returns:
            None if this worker does not train: it calls ``assist`` instead.
        """

    @abstractmethod
    def validation_share(self, num_rows: int) -> Share:
        """Return this worker's share of a validation batch.

        Rows that count are joined in order of the ranks, so they must be in this order.
        """

    def wrap(self, module: nn.Module) -> Forward:
        """Prepare a module for training, and return the function to call in its place.

        This happens before the module's optimiser is built, and may replace its parameters.
        """
        return module

    @abstractmethod
    def backward(self, losses: Tensor, *, weight: float, num_rows: int) -> None:
        """Compute the gradients of the batch's mean loss.

        Args:
            losses: One loss for each row of this worker's share, ``(rows,)``.
            weight: Weight of the share.
            num_rows: Rows of the whole batch.
        """

    def step(self, optimizer: Optimizer) -> None:
        """Take a step with the gradients of the whole batch."""
        optimizer.step()

    def assist(self, optimizers: Mapping[str, Optimizer]) -> None:  # noqa: B027
        """Do a worker's part of one batch that it does not train on."""

    def end_epoch(  # noqa: B027
        self, model: nn.Module, optimizers: Mapping[str, Optimizer]
    ) -> None:
        """Make all workers equal after an epoch: the saved model must be the one that predicts."""

    def full_state(self, part: nn.Module | Optimizer) -> dict[str, Any]:
        """Return the whole ``state_dict()`` of a model or an optimiser, at least on rank 0."""
        return part.state_dict()

    def load_full_state(self, part: nn.Module | Optimizer, state: dict[str, Any]) -> None:
        """Load a whole state of a model or optimiser, which may be of another world size."""
        part.load_state_dict(state)

    def state_dict(self) -> dict[str, Any]:
        """Return the strategy's own state, tensors and plain values, for the checkpoint.

        Only rank 0's state is written, so it must gather the state of the others.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Load ``state_dict()``; it is empty in checkpoints of another strategy."""
