"""Which rows a study's models have seen, told by digests that other studies can compare."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rayfold.data.dataset import DataSet
from rayfold.data.folds import FoldPlan
from rayfold.errors import DataError
from rayfold.storage import replacing

Digests = NDArray[np.int64]

_BLOCK = 4096
"""Rows that are converted at once."""

_DIGESTS, _TRAINING, _INHERITED = "digests", "training", "inherited_"


@dataclass(frozen=True, eq=False)
class SeenRows:
    """What the models of each fold of a study have been trained with.

    Attributes:
        digests: One for each row of the data set, 64 bits of BLAKE2b over its features as
            float32, int64 of shape ``(rows,)``. Equal features have equal digests, whatever file,
            type or layout they are stored in.
        training: Whether a row trains in a fold, shape ``(folds, rows)``.
        inherited: For each fold, digests that models have seen from which its own began.
    """

    digests: Digests
    training: NDArray[np.bool_]
    inherited: Mapping[int, Digests] = field(default_factory=dict)

    @classmethod
    def of(
        cls, data: DataSet, plan: FoldPlan, inherited: Mapping[int, Digests] | None = None
    ) -> Self:
        """Return what the folds of a plan train with."""
        training = np.zeros((len(plan.folds), len(data.labels)), dtype=bool)
        for fold in plan.folds:
            training[fold.index, fold.training_rows] = True
        return cls(row_digests(data), training, inherited or {})

    def by_fold(self, fold: int) -> Digests:
        """Return the digests of all rows that the models of a fold have seen, sorted."""
        own = self.digests[self.training[fold]]
        return np.union1d(own, self.inherited.get(fold, own[:0]))

    def save(self, path: Path) -> None:
        """Write the record as safetensors, whole or not at all."""
        tensors: dict[str, NDArray[Any]] = {
            _DIGESTS: self.digests,
            _TRAINING: np.packbits(self.training, axis=1),
            **{f"{_INHERITED}{fold}": seen for fold, seen in self.inherited.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a record.

        Raises:
            DataError: If the file holds none.
        """
        try:
            tensors = load_file(path)
            digests = tensors.pop(_DIGESTS)
            packed = tensors.pop(_TRAINING)
            training = np.unpackbits(packed, axis=1, count=len(digests)).astype(bool)
            inherited = {
                int(name.removeprefix(_INHERITED)): seen for name, seen in tensors.items()
            }
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is not a valid record of seen rows: {error}.") from error
        return cls(digests, training, inherited)


def row_digests(data: DataSet) -> Digests:
    """Return a digest of the features of each row, shape ``(rows,)``."""
    num_rows = len(data.labels)
    digests = np.empty(num_rows, dtype="<i8")
    for start in range(0, num_rows, _BLOCK):
        features, _ = data.batch(np.arange(start, min(start + _BLOCK, num_rows)))
        block = [np.ascontiguousarray(array, dtype="<f4") for array in features]
        for row in range(len(block[0])):
            digest = hashlib.blake2b(digest_size=8)
            for values in block:
                digest.update(values[row].data)
            digests[start + row] = np.frombuffer(digest.digest(), dtype="<i8")[0]
    return digests.astype(np.int64, copy=False)
