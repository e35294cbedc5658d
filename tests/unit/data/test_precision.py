from typing import Any

import numpy as np
import pytest

from rayfold.data.labels import encode_values
from rayfold.data.precision import check_single_precision
from rayfold.errors import DataError

RANDOM = np.random.default_rng(0)
STEPS = np.arange(60) / 4


@pytest.mark.parametrize(("offset", "left"), [(5.8e6, 31), (1e8, 3), (1.7e9, 1)])
def test_labels_far_from_zero_are_refused_with_the_count(offset: float, left: int) -> None:
    """Quarters: float32 has steps of 1/2 at 5.8e6, of 8 at 1e8, of 128 at 1.7e9."""
    message = rf"^here: .* keeps {left} of 60 distinct values; subtract an offset"
    with pytest.raises(DataError, match=message):
        encode_values(offset + STEPS, where="here")


REFUSED: dict[str, Any] = {
    "ids near 2**53": 2**53 + np.arange(60),
    "two neighbouring ids": np.array([0, 2**24, 2**24 + 1]),
    "unsigned ids": np.uint32(2**31) + np.arange(60, dtype=np.uint32),
    "one column of a table": np.stack([STEPS, 1e8 + STEPS], axis=1),
    "a pixel of an image": np.stack([STEPS, 1e8 + STEPS], axis=1).reshape(60, 1, 2),
    "a step that float32 does not have": 1 + np.arange(60) * 1e-9,
    "numbers that float32 takes for 0": STEPS * 1e-50,
    "numbers whose squares are 0": STEPS * 1e-200,
    "numbers in its smallest steps": (1 + STEPS / 15) * 1e-44,
    "one value that is missing": np.append(5.8e6 + STEPS, 0),
}

ACCEPTED: dict[str, Any] = {
    "noise in the last digits": RANDOM.random(100_000),
    "normal noise": RANDOM.normal(size=(50_000, 3)),
    "noise of a wide range": RANDOM.lognormal(sigma=4, size=100_000),
    "an offset that leaves the spread": 5.8e6 + RANDOM.normal(size=1000) * 1e4,
    "whole numbers that float32 holds": np.array([2**24, 2**24 - 1, 2**30]),
    "small integers": np.arange(60),
    "a constant": np.full(60, 1e9 + 0.1),
    "bytes": np.arange(60, dtype=np.uint8),
    "float32 itself": np.arange(60, dtype=np.float32) + 2**24,
    "booleans": np.arange(60) > 7,
    "a few numbers that float32 takes for 0": np.append(STEPS, [1e-50, 1e-300]),
    "small numbers with steps that it has": STEPS * 1e-30,
    "no rows": np.zeros((0, 3)),
    "no columns": np.zeros((60, 0)),
    "a rare value": np.append(np.zeros(10_000), [0.1, 0.2]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_float32_keeps_too_little_of_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"keeps \d+ of \d+ distinct values"):
        check_single_precision(REFUSED[name], where="x")


@pytest.mark.parametrize("name", ACCEPTED)
def test_ordinary_numbers_are_accepted(name: str) -> None:
    check_single_precision(ACCEPTED[name], where="x")


def test_one_merged_pair_of_many_floats_does_no_harm_but_of_integers_it_does() -> None:
    numbers = RANDOM.permutation(1_000_000).astype(np.float64)
    numbers[:2] = 0.5, np.nextafter(0.5, 1)
    assert len(np.unique(numbers.astype(np.float32))) < len(np.unique(numbers))
    check_single_precision(numbers, where="x")
    whole = np.append(np.arange(999_998), [2**24, 2**24 + 1])
    with pytest.raises(DataError, match=r"999999 of 1000000 .* store ids as numbers from 0 on"):
        check_single_precision(whole, where="x")


def test_the_column_is_named() -> None:
    with pytest.raises(DataError, match=r"keeps 3 of 60 distinct values in column 1;"):
        check_single_precision(REFUSED["one column of a table"], where="x")


def test_float64_is_named_as_a_remedy_only_where_it_is_one() -> None:
    """Of ids that float32 merges to 1 of 60, float64 would be refused as well."""
    near, spread = 2**53 + np.arange(60), np.arange(60) * 2**30 + np.arange(60) // 2
    for values, is_remedy in ((near, False), (np.append(spread, [2**24, 2**24 + 1]), True)):
        with pytest.raises(DataError) as caught:
            check_single_precision(values, where="x")
        assert ("store them as float64" in str(caught.value)) is is_remedy
        as_floats = values.astype(np.float64)
        if is_remedy:
            check_single_precision(as_floats, where="x")
        else:
            with pytest.raises(DataError):
                check_single_precision(as_floats, where="x")
