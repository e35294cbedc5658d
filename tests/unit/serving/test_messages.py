import json

import numpy as np
import pytest

from rayfold.ensemble import Input, Signature
from rayfold.errors import DataError
from rayfold.serving.messages import parse_request

TWO_INPUTS = Signature(
    task="regression",
    inputs=(
        Input(name="images", shape=(2,), dtype="uint8"),
        Input(name="age", shape=(), dtype="int64"),
    ),
    num_outputs=1,
    classes=None,
)
ONE_INPUT = Signature(
    task="regression",
    inputs=(Input(name="features", shape=(2,), dtype="float32"),),
    num_outputs=1,
    classes=None,
)


def test_rows_come_by_name_in_any_order() -> None:
    body = json.dumps({"inputs": {"age": [30, 41], "images": [[0, 255], [1, 2]]}}).encode()
    images, age = parse_request(body, TWO_INPUTS)
    assert images.dtype == np.uint8
    assert images.tolist() == [[0, 255], [1, 2]]
    assert age.dtype == np.float32
    assert age.tolist() == [30, 41]


def test_rows_of_the_only_input_need_no_name() -> None:
    [bare] = parse_request(b'{"inputs": [[1, 2.5]]}', ONE_INPUT)
    [named] = parse_request(b'{"inputs": {"features": [[1, 2.5]]}}', ONE_INPUT)
    assert bare.tolist() == named.tolist() == [[1, 2.5]]


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ({"inputs": [[1, 2]]}, "inputs: expected rows of images, age by name"),
        ({"inputs": {"age": [1]}}, "inputs: expected images, age, got 'age'"),
        ({"inputs": {"age": [1], "images": [[1, 2]] * 2}}, "age: expected 2 rows as in images"),
        ({"inputs": {"age": [1], "images": [[-1, 2]]}}, "images: expected whole numbers from 0"),
        ({"inputs": {"age": ["x"], "images": [[1, 2]]}}, "age: expected numbers"),
        ({"inputs": {"age": [None], "images": [[1, 2]]}}, "age: expected numbers"),
        ({"inputs": {"age": [True], "images": [[1, 2]]}}, "age: expected numbers"),
        ({"inputs": {"age": [], "images": []}}, "images: expected at least one row"),
        (
            {"rows": []},
            r'send \{"inputs": \{"images": \[row, \.\.\.\], "age": \[row, \.\.\.\]\}\}',
        ),
        ([1, 2], "expected an object with 'inputs' alone"),
    ],
)
def test_what_does_not_fit_is_told(body: object, match: str) -> None:
    with pytest.raises(DataError, match=match):
        parse_request(json.dumps(body).encode(), TWO_INPUTS)


def test_numbers_that_are_none_are_told_by_row() -> None:
    with pytest.raises(DataError, match="features: row 1 holds NaN or infinity"):
        parse_request(b'{"inputs": [[1, 2], [NaN, 1]]}', ONE_INPUT)
    with pytest.raises(DataError, match="features: row 0 holds NaN or infinity"):
        parse_request(b'{"inputs": [[1e999, 2]]}', ONE_INPUT)
