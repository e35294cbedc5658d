from typing import Any

import numpy as np
import pytest

from rayfold.data import DataSet
from rayfold.data.scales import FarScale, far_scales
from rayfold.tasks import Classification, Regression

ALTERNATING = np.tile([-1.0, 1.0], 30)


def data_set(features: Any, labels: Any = None, rows: Any = None) -> DataSet:
    features = np.asarray(features)
    values = np.zeros(len(features), np.int64) if labels is None else np.asarray(labels)
    return DataSet(
        features=(features,),
        feature_names=("x",),
        labels=values if labels is None else values.reshape(len(features), -1),
        row_groups=None,
        task=Classification() if labels is None else Regression(),
        classes=(0, 1) if labels is None else None,
        digest="d" * 64,
        development_rows=np.arange(len(features)) if rows is None else rows,
        test_rows=np.arange(0),
        label_name="y",
    )


def test_the_farthest_column_of_a_table_is_named() -> None:
    table = np.stack([ALTERNATING, 40 + ALTERNATING, 746 + 3 * ALTERNATING], axis=1)
    [scale] = far_scales(data_set(table))
    assert scale == FarScale("x", 2, mean=746.0, deviation=3.0, num_others=1)
    assert str(scale) == "x, column 2 and 1 more (mean 746, deviation 3)"


def test_targets_count_for_regression_only() -> None:
    data = data_set(ALTERNATING, 200 + ALTERNATING)
    assert far_scales(data) == (FarScale("y", None, mean=200.0, deviation=1.0),)
    assert str(far_scales(data)[0]) == "y (mean 200, deviation 1)"


@pytest.mark.parametrize(
    ("features", "is_far"),
    [
        (ALTERNATING, False),
        (19 * ALTERNATING, False),
        (21 * ALTERNATING, True),
        (0.06 * ALTERNATING, False),
        (0.04 * ALTERNATING, True),
        (np.full(60, 0.001), False),  # tells nothing, but does no harm
        (np.arange(60) == 7, False),  # a rare value of a category
        (np.arange(60, dtype=np.uint8) * 4, False),  # divided by 255
        (np.arange(240).reshape(60, 2, 2), True),  # an image, as a whole
        (np.zeros((60, 0)), False),
    ],
)
def test_a_scale_is_far_from_1_beyond_a_factor_of_20(features: Any, is_far: bool) -> None:
    assert bool(far_scales(data_set(features))) is is_far


def test_a_target_that_hardly_varies_is_far_whatever_its_mean() -> None:
    assert far_scales(data_set(ALTERNATING, 1 + 0.04 * ALTERNATING))
    assert not far_scales(data_set(ALTERNATING, 1 + 0.06 * ALTERNATING))


def test_test_rows_are_not_looked_at_and_large_data_in_part() -> None:
    values = np.tile(ALTERNATING, 1000)
    values[:2] = 1e9
    assert not far_scales(data_set(values, rows=np.arange(2, len(values))))
    assert far_scales(data_set(values))
