"""What is told of the data before a study starts."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rayfold.data import HDF5
from rayfold.errors import RecipeError
from rayfold.study import Study
from rayfold.study.description import check_same


@pytest.fixture
def study_of(make_study: Any, tmp_path: Path) -> Any:
    def make(
        features: Any, labels: Any = None, model: str = "cnn", channels: Any = "first"
    ) -> Study:
        path = tmp_path / "data.h5"
        with h5py.File(path, "w") as file:
            file["features"] = features
            file["labels"] = np.arange(len(features)) % 3 if labels is None else labels
        study: Study = make_study(model=model, data=HDF5(path, channels=channels))
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
        "(channels first); if the last axis holds the channels, say so: channels: last (in Python "
        'channels="last").'
    ]


def test_square_images_of_many_bands_that_come_last_are_warned_of(study_of: Any) -> None:
    """Two axes of 16 and one of 13: an image of 13 bands."""
    random = np.random.default_rng(0)
    for shape, expected in (((16, 16, 13), 1), ((13, 16, 16), 0), ((16, 16, 16), 0)):
        study = study_of(random.random((60, *shape), np.float32))
        assert len(lines(study, "warning")) == expected
    last = study_of(random.random((60, 13, 16, 16), np.float32), channels="last")
    [warning] = lines(last, "warning")
    assert warning.endswith("if the first axis holds the channels, leave channels out.")


def test_what_is_constant_is_not_to_be_standardised(study_of: Any) -> None:
    features = np.random.default_rng(0).random((60, 2), np.float32)
    features[:, 1] = 700.1
    assert lines(study_of(features, np.full(60, 0.1), model="mlp"), "warning") == [
        "warning    features, column 1 (mean 700, deviation 0): the scale is far from 1, with "
        "which models train badly or diverge; drop the constant in the file.",
        "warning    labels: all rows for development have the same value, so that there is "
        "nothing to learn; leave it out.",
    ]


def test_what_is_said_to_be_last_is_told_as_that(study_of: Any) -> None:
    images = np.random.default_rng(0).random((60, 16, 16, 3), np.float32)
    study = study_of(images, channels="last")
    assert lines(study, "input") == [
        "input      features: 3 channels of 16 x 16 (channels last), float32"
    ]
    assert lines(study, "warning") == []


def test_channels_that_look_first_though_they_are_said_to_be_last(study_of: Any) -> None:
    images = np.random.default_rng(0).random((60, 3, 16, 16), np.float32)
    assert lines(study_of(images, channels="last"), "warning") == [
        "warning    features has rows of shape (3, 16, 16), taken as 16 channels of 3 x 16 "
        "(channels last); if the first axis holds the channels, leave channels out."
    ]


def test_a_study_does_not_go_on_with_the_channels_elsewhere(study_of: Any) -> None:
    images = np.random.default_rng(0).random((60, 16, 16, 3), np.float32)
    begun, present = (
        study_of(images, channels=channels).preparation.description([])
        for channels in ("first", "last")
    )
    with pytest.raises(
        RecipeError,
        match=re.escape(
            "data.inputs.features: float32 of shape (16, 16, 3) -> float32 of shape (16, 16, 3) "
            "(channels last)"
        ),
    ):
        check_same("digits", begun, present)
    assert [entry.to_dict() for entry in begun.data.inputs] == [
        {"name": "features", "shape": [16, 16, 3], "dtype": "float32"}
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
