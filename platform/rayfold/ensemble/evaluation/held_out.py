"""The test rows of a study, read again from its files or its source."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rayfold.data import Channels, DataSet, Holdout, Roles, Source, load, source_of
from rayfold.ensemble.records import Origin, Signature
from rayfold.errors import DataError

Paths: TypeAlias = str | Path | Sequence[str | Path]

StudyData: TypeAlias = Paths | Source
"""The data of a study: its files, or its source."""


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


def read_held_out(data: StudyData, signature: Signature, origin: Origin) -> HeldOut:
    """Read the rows that a study kept for the test.

    Args:
        data: The study's files: a file, a glob or a list of these; or its source.
        signature: What goes in.
        origin: The study.

    Raises:
        DataError: If the study kept none, or the files are refused or hold other data.
    """
    if not origin.labels or not origin.test.fraction:
        raise DataError(
            f"study {origin.study!r} kept no rows for the test; leave out held_out (in a "
            "prediction) or data (in a report)."
        )
    dataset = load_as_study(data, signature, origin)
    if dataset.digest != origin.data_digest:
        raise DataError(
            f"these are other data than study {origin.study!r} was run on, so its test rows "
            "cannot be found; give the study's own files or source, or leave out held_out (in a "
            "prediction) or data (in a report)."
        )
    kept = dataset.subset(dataset.test_rows)
    return HeldOut(dataset.test_rows, kept.features, kept.labels)


def load_as_study(data: StudyData, signature: Signature, origin: Origin) -> DataSet:
    """Load rows as the study did, with the same test rows."""
    if not isinstance(data, Source):
        roles = Roles(
            features=tuple(entry.name for entry in signature.inputs),
            labels=str(origin.labels),
            row_groups=origin.test.row_groups,
            channels=_channels(signature),
        )
        data = source_of(data, roles)
    holdout = Holdout(origin.test.fraction, random_seed=origin.test.random_seed)
    return load(data, task=signature.task.name, holdout=holdout)


def _channels(signature: Signature) -> Channels:
    return "last" if any(entry.channels == "last" for entry in signature.inputs) else "first"
