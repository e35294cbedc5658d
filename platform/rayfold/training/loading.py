"""Turns row numbers into the tensors that a worker trains on."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayfold.data import DataSet
from rayfold.training.learners import Batch
from rayfold.training.strategies import Share, Strategy

BLOCK_BYTES = 2**20
"""Small training batches are read together, up to this size: each read has a fixed cost."""


class Loader:
    """Gives one worker its share of each batch, on its device.

    Args:
        data: The data set.
        strategy: Its ``training_share`` says which rows of a training batch this worker gets.
    """

    def __init__(self, data: DataSet, strategy: Strategy) -> None:
        self._data, self._strategy = data, strategy
        self._row_bytes = 4 * (1 + sum(math.prod(shape) for shape in data.input_shapes))

    def load(self, rows: NDArray[np.int64], share: Share) -> Batch:
        """Return this worker's share of one batch.

        Args:
            rows: Row numbers of the whole batch.
            share: Which of these rows this worker gets.
        """
        *features, labels = self._read(rows[share.rows])
        return Batch(tuple(features), labels, total_rows=len(rows), weight=share.weight)

    def training_batches(
        self, rows: NDArray[np.int64], batches: Sequence[slice]
    ) -> Iterator[Batch | None]:
        """Yield this worker's share of each training batch; None if it has no share.

        Args:
            rows: Row numbers of an epoch in the order of training.
            batches: The slice of ``rows`` that each batch takes.
        """
        sizes = {batch.stop - batch.start for batch in batches}
        shares = {size: self._strategy.training_share(size) for size in sizes}
        together = max(1, BLOCK_BYTES // (self._row_bytes * max(sizes)))
        for start in range(0, len(batches), together):
            block = [rows[batch] for batch in batches[start : start + together]]
            yield from self._split(block, [shares[len(batch)] for batch in block])

    def _split(
        self, batches: Sequence[NDArray[np.int64]], shares: Sequence[Share | None]
    ) -> Iterator[Batch | None]:
        """Read the rows of several batches at once, then split them into batches."""
        own = [
            rows[:0] if share is None else rows[share.rows]
            for rows, share in zip(batches, shares, strict=True)
        ]
        sizes = [len(rows) for rows in own]
        # split() returns views of one tensor, and a model could not write to its inputs
        parts = [
            tensor.unsafe_split_with_sizes(sizes) for tensor in self._read(np.concatenate(own))
        ]
        for rows, share, *features, labels in zip(batches, shares, *parts, strict=True):
            if share is None:
                yield None
            else:
                yield Batch(tuple(features), labels, total_rows=len(rows), weight=share.weight)

    def _read(self, rows: NDArray[np.int64]) -> list[Tensor]:
        """Return copies of rows on the device: the features, then the labels."""
        features, labels = self._data.batch(rows)
        device = self._strategy.collective.device
        return [torch.as_tensor(array, device=device) for array in (*features, labels)]
