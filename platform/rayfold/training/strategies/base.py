"""What the training loop and learners ask of the workers of a group."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.optim import Optimizer

from rayfold.training.collective import Collective

Forward: TypeAlias = Callable[..., Any]
"""Takes and returns what a module does."""


@dataclass(frozen=True)
class Share:
    """What one worker gets of a batch.

    Attributes:
        rows: Its rows within the batch.
        weight: 1, or 0 if other workers report these rows: this one computes with them, but its
            loss and its predictions do not count.
    """

    rows: slice
    weight: float = 1.0


class Strategy(ABC):
    """How the workers of a group take a training step together.

    The batch that a configuration names is the batch that the optimiser sees, however many
    workers there are. Each fold has a strategy of its own.

    All methods but ``training_share`` and ``validation_share`` are called on every worker, in the
    same order, so that they may talk to each other; while some workers take a training step
    (``backward``, ``step``), those without a share are in ``assist``.

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
            None if it trains on no batch: it calls ``assist`` instead.
        """

    @abstractmethod
    def validation_share(self, num_rows: int) -> Share:
        """Return this worker's share of a validation batch.

        Rows that count are joined in order of the ranks, so they must lie in this order.
        """

    def wrap(self, module: nn.Module) -> Forward:
        """Prepare a module for training, and return what is called in its place.

        It is called before the module's optimiser is built, and may replace its parameters.
        """
        return module

    @abstractmethod
    def backward(self, losses: Tensor, *, weight: float, num_rows: int) -> None:
        """Compute the gradients of the batch's mean loss.

        Args:
            losses: One loss for each row of this worker's share, ``(rows,)``.
            weight: The share's.
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
        """Make all workers agree after an epoch: what predicts is what is saved."""

    def full_state(self, part: nn.Module | Optimizer) -> dict[str, Any]:
        """Return the whole ``state_dict()`` of a model or an optimiser, at least on rank 0."""
        return part.state_dict()

    def load_full_state(self, part: nn.Module | Optimizer, state: dict[str, Any]) -> None:
        """Give a model or an optimiser a whole state, which may be of another world size."""
        part.load_state_dict(state)

    def state_dict(self) -> dict[str, Any]:
        """Return the strategy's own state, tensors and plain values, for the checkpoint.

        Rank 0's is written; what others hold has to be gathered there.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Go on from ``state_dict()``; it is empty in checkpoints of another strategy."""
