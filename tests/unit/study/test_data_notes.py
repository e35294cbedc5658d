"""What is told of the data before a study starts."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rayfold.data import HDF5
from rayfold.study import Study


@pytest.fixture
def study_of(make_study: Any, tmp_path: Path) -> Any:
    def make(features: Any, labels: Any = None, model: str = "cnn") -> Study:
        path = tmp_path / "data.h5"
        with h5py.File(path, "w") as file:
            file["features"] = features
            file["labels"] = np.arange(len(features)) % 3 if labels is None else labels
        study: Study = make_study(model=model, data=HDF5(path))
        return study

    return make


def lines(study: Study, first: str) -> list[str]:
    return [line for line in study.plan().lines() if line.startswith(first)]


def test_images_whose_channels_come_last_are_warned_of(study_of: Any) -> None:
    """16 x 16 pixels of 3 colours would be 16 channels of 16 x 3."""
    study = study_of(np.random.default_rng(0).random((60, 16, 16, 3), np.float32))
    assert lines(study, "input") == [
        "input      features: 16 channels of 16 x 3 (channels first), float32"
    ]
    assert lines(study, "warning") == [
        "warning    features has rows of shape (16, 16, 3), taken as 16 channels of 16 x 3 "
        "(channels first); if the last axis holds the channels, store them first: "
        "numpy.moveaxis(images, -1, 1)."
    ]


@pytest.mark.parametrize(
    ("shape", "model", "told"),
    [
        ((3, 16, 16), "cnn", "3 channels of 16 x 16 (channels first)"),
        ((16, 16), "cnn", "16 x 16 a row"),
        ((16, 16, 3), "mlp", "16 channels of 16 x 3 (channels first)"),
        ((5,), "mlp", "5 values a row"),
    ],
)
def test_no_warning_where_nothing_is_wrong(
    study_of: Any, shape: tuple[int, ...], model: str, told: str
) -> None:
    """The mlp flattens its rows, so that the order of their axes does not matter."""
    study = study_of(np.random.default_rng(0).random((60, *shape), np.float32), model=model)
    assert lines(study, "input") == [f"input      features: {told}, float32"]
    assert lines(study, "warning") == []


def test_features_and_targets_far_from_1_are_named_with_mean_and_deviation(
    study_of: Any,
) -> None:
    """Half of the rows 700, half 800: mean 750, deviation 50; targets of 0 and 4000 likewise."""
    features = np.ones((60, 2), np.float32)
    features[:, 1] = np.where(np.arange(60) % 2, 700, 800)
    labels = np.where(np.arange(60) % 2, 0.0, 4000.0)
    study = study_of(features, labels, model="mlp")
    assert lines(study, "warning") == [
        f"warning    {array} (mean {mean}, deviation {deviation}): the scale is far from 1, with "
        "which models train badly or diverge; standardise it in the file."
        for array, mean, deviation in [
            ("features, column 1", "750", "50"),
            ("labels", "2e+03", "2e+03"),
        ]
    ]


def test_a_run_tells_them_too(study_of: Any, caplog: pytest.LogCaptureFixture) -> None:
    study = study_of(np.full((60, 16, 16, 3), 900, np.float32))
    study._tell_assumptions()
    [layout, scale] = caplog.messages
    assert "taken as 16 channels of 16 x 3" in layout
    assert "features (mean 900, deviation 0): the scale is far from 1" in scale
