"""Descriptors of data, and how far two studies are apart."""

import math
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from sklearn.datasets import load_wine

from rayfold.data import HDF5, load
from rayfold.transfer.descriptors import describe_data
from rayfold.transfer.similarity import distance
from tests.descriptions import data_description

WINE = data_description(
    descriptors={
        "rows": 100,
        "features": 13,
        "classes": 2,
        "label_entropy": 1.0,
        "landmarks": {"nearest_neighbour": 0.9},
    }
)


def test_descriptors_of_real_data(tmp_path: Path) -> None:
    """Wine has 178 rows, 59, 71 and 48 of a class: 1.567 bits; its classes are easy to tell."""
    data = load_wine()
    with h5py.File(tmp_path / "wine.h5", "w") as file:
        file["features"], file["labels"] = data.data.astype(np.float32), data.target
    described = describe_data(load(HDF5(tmp_path / "wine.h5")))
    landmarks = described.pop("landmarks")
    assert described == {
        "rows": 178,
        "features": 13,
        "classes": 3,
        "label_entropy": pytest.approx(1.567, abs=1e-3),
    }
    assert set(landmarks) == {"nearest_neighbour", "nearest_centroid", "shallow_tree"}
    assert all(0.8 < accuracy <= 1 for accuracy in landmarks.values())


def test_descriptors_of_a_regression(tmp_path: Path) -> None:
    """A line is what the linear landmark finds; there are no classes."""
    features = np.random.default_rng(0).normal(size=(90, 2, 2)).astype(np.float32)
    with h5py.File(tmp_path / "line.h5", "w") as file:
        file["features"], file["labels"] = features, 2 * features[:, 0, 1]
    described = describe_data(load(HDF5(tmp_path / "line.h5")))
    assert (described["features"], described["classes"]) == (4, None)
    assert described["label_entropy"] is None
    assert described["landmarks"]["linear"] > 0.95


def test_the_same_data_are_at_no_distance() -> None:
    assert distance(WINE, replace(WINE, descriptors=None)).value == 0.0


def test_another_task_is_infinitely_far() -> None:
    far = distance(WINE, replace(WINE, task="regression"))
    assert far.value == math.inf
    assert far.reason == "its task is regression, not classification"


def test_the_distance_is_the_mean_of_its_terms() -> None:
    """Ten times the rows 1/2, four times the classes 1/2, two bits 1/2, 0.1 of accuracy 0.2."""
    other = {
        "rows": 1000,
        "features": 13,
        "classes": 8,
        "label_entropy": 3.0,
        "landmarks": {"nearest_neighbour": 0.8},
    }
    far = distance(WINE, replace(WINE, digest="b", descriptors=other))
    assert far.value == pytest.approx((0.5 + 0 + 0.5 + 0.5 + 0.2) / 5)
    assert "rows 1000 and here 100" in far.reason
    assert "nearest_neighbour 0.8 and here 0.9" in far.reason


def test_studies_from_before_descriptors_have_rows_features_and_classes() -> None:
    old = data_description(
        data_digest="b",
        inputs=[{"name": "features", "shape": [13], "dtype": "float32"}],
        classes=[0, 1, 2, 3],
        num_rows=100,
    )
    assert distance(WINE, old).value == pytest.approx((0 + 0 + 0.25) / 3)
