"""The rows that a study kept for the test, read again from its files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rayfold.data import HDF5, Channels, DataSet, load
from rayfold.ensemble.records import Origin, Signature
from rayfold.errors import DataError

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows that no model of a study has seen.

    Attributes:
        rows: Row numbers in the files, int64, shape ``(n,)``.
        features: One array for each input, as stored.
        target: Labels, as the task encodes them.
    """

    rows: NDArray[np.int64]
    features: tuple[NDArray[np.generic], ...]
    target: NDArray[np.generic]


def read_held_out(paths: Paths, signature: Signature, origin: Origin) -> HeldOut:
    """Read the rows that a study kept for the test.

    Args:
        paths: The study's files: a file, a glob or a list of these.
        signature: What goes in.
        origin: The study.

    Raises:
        DataError: If the study kept none, or the files are refused or hold other data.
    """
    if not origin.labels or not origin.test.fraction:
        raise DataError(f"study {origin.study!r} kept no rows for the test; leave held_out away.")
    data = load_as_study(paths, signature, origin)
    if data.digest != origin.data_digest:
        raise DataError(
            f"these files hold other data than study {origin.study!r} was run on, so its test "
            f"rows are not known in them; give the study's files, or leave held_out away."
        )
    rows = data.test_rows
    return HeldOut(rows, tuple(array[rows] for array in data.features), data.labels[rows])


def load_as_study(paths: Paths, signature: Signature, origin: Origin) -> DataSet:
    """Load files as the study did, with the same rows kept for the test."""
    return load(
        HDF5(
            paths,
            features=[entry.name for entry in signature.inputs],
            labels=str(origin.labels),
            row_groups=origin.test.row_groups,
            task=signature.task.name,
            test_fraction=origin.test.fraction,
            random_seed=origin.test.random_seed,
            channels=_channels(signature),
        )
    )


def _channels(signature: Signature) -> Channels:
    return "last" if any(entry.channels == "last" for entry in signature.inputs) else "first"
