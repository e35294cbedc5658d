from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rayfold.data import DataSet
from rayfold.tasks import Classification, Regression

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write arrays to an HDF5 file: ``write("a.h5", {"features": ..., "g/labels": ...})``."""

    def write_file(name: str, arrays: Mapping[str, Any], **options: Any) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for key, values in arrays.items():
                file.create_dataset(key, data=values, **options)
        return path

    return write_file


@pytest.fixture
def labelled() -> Callable[..., DataSet]:
    """Build a data set in memory whose rows are all for development."""

    def build(
        labels: list[int] | list[float],
        *,
        row_groups: list[int] | None = None,
        development_rows: list[int] | None = None,
        digest: str = "00",
    ) -> DataSet:
        is_classes = isinstance(labels[0], int)
        rows = range(len(labels)) if development_rows is None else development_rows
        return DataSet(
            features=(np.zeros((len(labels), 1), dtype=np.float32),),
            feature_names=("features",),
            labels=np.array(labels, dtype=np.int64)
            if is_classes
            else np.array(labels, dtype=np.float32)[:, None],
            row_groups=None if row_groups is None else np.array(row_groups, dtype=np.int64),
            task=Classification() if is_classes else Regression(),
            classes=("ant", "bee", "cat")[: int(max(labels)) + 1] if is_classes else None,
            digest=digest,
            development_rows=np.array(list(rows), dtype=np.int64),
            test_rows=np.setdiff1d(np.arange(len(labels)), np.array(list(rows))),
        )

    return build
