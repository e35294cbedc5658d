"""Every source that comes with Rayfold, and one of a user's own, held to the contract."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from rayfold.data import HDF5, Source
from rayfold.testing import SourceContract
from tests.examples.made_rows import MadeRows


class TestHDF5(SourceContract):
    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path) -> None:
        """Images of 4 x 4 with channels last and ages, 12 rows in one file and 12 in another."""
        self._folder = tmp_path
        generator = np.random.default_rng(0)
        for name in ("a.h5", "b.h5"):
            with h5py.File(tmp_path / name, "w") as file:
                file["image"] = generator.integers(0, 255, (12, 4, 4, 3), dtype=np.uint8)
                file["age"] = generator.normal(size=12)
                file["kind"] = ["ant", "bee", "cat"] * 4
                file["site"] = np.arange(12) // 3

    def make_source(self) -> Source:
        return HDF5(
            self._folder / "*.h5",
            features=["image", "age"],
            labels="kind",
            row_groups="site",
            channels="last",
        )


class TestMadeRows(SourceContract):
    def make_source(self) -> Source:
        return MadeRows(num_rows=60, random_seed=3)
