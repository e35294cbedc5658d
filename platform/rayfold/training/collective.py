"""Communication between the workers of a group; nothing here knows of learning."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
import torch.distributed
from torch import Tensor

Result = TypeVar("Result")


class Collective(ABC):
    """The workers of a group. Every method is called on all of them, in the same order.

    Attributes:
        rank: This worker's number, counted from 0.
        world_size: Number of workers in the group.
        device: The device of this worker.
    """

    rank: int
    world_size: int
    device: torch.device

    @abstractmethod
    def broadcast(self, value: Any) -> Any:
        """Return rank 0's ``value`` on every worker."""

    @abstractmethod
    def sum(self, values: Tensor) -> Tensor:
        """Return ``values`` summed over the workers, the same on each."""

    @abstractmethod
    def gather_rows(self, rows: Tensor) -> Tensor | None:
        """Join the workers' rows in order of their ranks, on rank 0; None elsewhere.

        Args:
            rows: Any number of rows, also none, of the same shape and type on every worker.
        """

    def on_rank_0(self, write: Callable[[], Result]) -> Result:
        """Call ``write`` on rank 0 and return what it returns, on every worker.

        An error of the operating system, such as a full disk, is raised on every worker, so that
        they stay together.
        """
        value: Result | None = None
        error: OSError | None = None
        if self.rank == 0:
            try:
                value = write()
            except OSError as failure:
                error = failure
        value, error = self.broadcast((value, error))
        if error is not None:
            raise error
        return cast(Result, value)


class SingleProcess(Collective):
    """A group of one worker."""

    rank = 0
    world_size = 1

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def broadcast(self, value: Any) -> Any:
        """Return ``value`` itself."""
        return value

    def sum(self, values: Tensor) -> Tensor:
        """Return ``values`` themselves."""
        return values

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return ``rows`` themselves."""
        return rows


class Distributed(Collective):
    """The processes that ``torch.distributed`` connects.

    Args:
        device: The device of this worker.

    Raises:
        ValueError: If ``torch.distributed`` has no process group yet.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.rank = torch.distributed.get_rank()
        self.world_size = torch.distributed.get_world_size()

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's ``value`` on every worker; it is pickled on the way."""
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def sum(self, values: Tensor) -> Tensor:
        """Return ``values`` summed over the workers, the same on each."""
        total = values.to(self.device, copy=True)
        torch.distributed.all_reduce(total)
        return total

    def gather_rows(self, rows: Tensor) -> Tensor | None:
        """Join the workers' rows on rank 0; for the transfer they are padded to equal numbers."""
        sizes = [int(size) for size in self._gathered(torch.tensor([len(rows)]))]
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = self._gathered(padded)
        if self.rank != 0:
            return None
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def _gathered(self, values: Tensor) -> list[Tensor]:
        values = values.to(self.device)
        parts = [torch.empty_like(values) for _ in range(self.world_size)]
        torch.distributed.all_gather(parts, values)
        return parts
