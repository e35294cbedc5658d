from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rayfold.data import HDF5, Folds
from rayfold.search import Genetic
from rayfold.study import Study

MakeStudy = Callable[..., Study]


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """60 images of 8 x 8 numbers in 3 classes: 15,360 bytes, and 480 bytes of labels."""
    path = tmp_path / "digits.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.random.default_rng(0).random((60, 8, 8), dtype=np.float32)
        file["labels"] = np.arange(60) % 3
    return path


@pytest.fixture
def make_study(digits: Path, tmp_path: Path) -> MakeStudy:
    """A study of the mlp on the digits: ``make_study("digits", epochs=2)``."""

    def make(name: str = "digits", **changes: Any) -> Study:
        arguments: dict[str, Any] = {
            "model": "mlp",
            "data": HDF5(digits),
            "searcher": Genetic(population=4, generations=3),
            "folds": Folds(3),
            "storage": tmp_path / "store",
        }
        return Study(name, **{**arguments, **changes})

    return make
