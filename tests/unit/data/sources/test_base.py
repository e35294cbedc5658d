from typing import Any

import numpy as np
import pytest

from rayfold.data import Column, Roles, columns_of
from rayfold.errors import DataError


def test_text_becomes_objects_and_numbers_the_byte_order_of_this_machine() -> None:
    arrays = {"text": ["ant", "bee"], "number": np.array([1.5, 2.5], ">f4")}
    text, number = columns_of(arrays, ["text", "number"])
    assert (text.dtype, text.read().tolist()) == (np.dtype(object), ["ant", "bee"])
    assert (number.dtype, number.read().tolist()) == (np.dtype("=f4"), [1.5, 2.5])
    assert (number.num_rows, number.where) == (2, "column 'number'")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "column 'x': it has no rows; a source needs at least one row"),
        (np.zeros((0, 4)), "column 'x': it has no rows"),
        (np.zeros((4, 0)), r"column 'x': expected an array with rows first, got shape \(4, 0\)"),
        ([[1.0, 2.0], [1.0]], "column 'x': its rows do not make an array; give every row the sa"),
        (3, r"column 'x': expected an array with rows first, got shape \(\)"),
        ([1j], "column 'x': its type complex128 is not supported"),
        ([b"ant"], r"column 'x': its type \|S3 is not supported; give integers, floats"),
        ([None, "ant"], "column 'x': its type object is not supported"),
        (np.zeros(2, np.longdouble), "column 'x': its type .* floats of at most 64 bits"),
    ],
)
def test_what_is_no_column_is_refused(values: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        columns_of({"x": values}, ["x"])


def test_nan_is_refused_when_it_is_read() -> None:
    (column,) = columns_of({"x": [0.0, np.nan]}, ["x"])
    with pytest.raises(DataError, match=r"column 'x': 1 value is NaN, .* first in row 1"):
        column.read()


def test_a_misspelt_name_is_refused_with_what_there_is() -> None:
    with pytest.raises(
        DataError, match=r"no column 'plcae' \(did you mean 'place'\?\); the columns are"
    ):
        columns_of({"place": [1], "point": [2]}, ["plcae"])


@pytest.mark.parametrize("features", [(), ("place",)])
def test_a_source_needs_features_beside_its_labels(features: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="a source needs features, and labels that are neither"):
        Roles(features=features, labels="place")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"features": "point"}, r"a tuple of names, got 'point'; write features=\(\"x\",\)"),
        ({"features": ("a", "a")}, r"features of Roles must differ, got \('a', 'a'\)"),
        ({"channels": "Last"}, "channels of Roles is 'first' or 'last', got 'Last'"),
    ],
)
def test_roles_that_would_be_misread_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Roles(**{"features": ("a",), "labels": "place", **wrong})


@pytest.mark.parametrize(
    ("values", "came"),
    [
        (np.zeros(3), r"float64 of shape \(3,\)"),
        (np.zeros(4, np.int64), r"int64 of shape \(4,\)"),
        ([0.0, 0.0, 0.0, 0.0], "list"),
    ],
)
def test_values_are_what_the_column_says(values: Any, came: str) -> None:
    column = Column(
        name="x", where="column 'x'", shape=(4,), dtype=np.dtype(float), read=lambda: values
    )
    with pytest.raises(DataError, match=rf"float64 of shape \(4,\), as .*, got {came}\."):
        column.values()
