"""One Ray and one small data set for all integration tests of a session."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.datasets import load_digits

from rayfold.groups.cluster import cluster
from rayfold.tracking.store import open_store


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """360 of scikit-learn's digits, 8 x 8 in [0, 1], in an HDF5 file."""
    data = load_digits()
    path = tmp_path_factory.mktemp("data") / "digits.h5"
    with h5py.File(path, "w") as file:
        file["features"] = (data.images[:360] / 16).astype(np.float32)
        file["labels"] = data.target[:360]
    return path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of MLflow without a study; made once, since MLflow takes seconds to make one."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_store(f"sqlite:///{file}")
    return file


@pytest.fixture
def storage(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of all studies, with an empty store and a space in its name."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    folder = tmp_path / "rayfold store"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A Ray of this machine, started once and ended with the session."""
    with cluster():
        yield
