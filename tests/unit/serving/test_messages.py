import asyncio
import json
from collections.abc import AsyncIterator

import numpy as np
import pytest

from rayfold.ensemble import Input, Signature
from rayfold.errors import DataError
from rayfold.serving.messages import (
    MAX_BYTES,
    RequestError,
    check_predictions,
    check_target,
    parse_request,
    read_body,
)

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
        ({"inputs": {"age": [30, True], "images": [[1, 2]] * 2}}, "age: .* got true or false"),
        ({"inputs": {"age": [1], "images": [[1, False]]}}, "images: .* got true or false among"),
        ({"inputs": {"age": [1e39], "images": [[1, 2]]}}, "age: a number is beyond 3.4e38"),
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


def test_a_key_that_comes_twice_is_refused() -> None:
    for body in (b'{"inputs": [[1, 2]], "inputs": [[3, 4]]}', b'{"inputs": {"a": [], "a": []}}'):
        with pytest.raises(DataError, match=r"the body names '(inputs|a)' twice; give it once"):
            parse_request(body, ONE_INPUT)


def test_numbers_that_are_none_are_told_by_row() -> None:
    with pytest.raises(DataError, match="features: row 1 holds NaN or infinity"):
        parse_request(b'{"inputs": [[1, 2], [NaN, 1]]}', ONE_INPUT)
    with pytest.raises(DataError, match="features: row 0 holds NaN or infinity"):
        parse_request(b'{"inputs": [[1e999, 2]]}', ONE_INPUT)


@pytest.mark.parametrize(
    ("method", "path", "status", "match"),
    [
        ("GET", "/metrics", 404, "there is nothing at /metrics; POST rows to /"),
        ("POST", "//", 404, "there is nothing at //"),
        ("PUT", "/", 405, "PUT is not answered; POST rows"),
    ],
)
def test_only_the_root_is_answered(method: str, path: str, status: int, match: str) -> None:
    with pytest.raises(RequestError, match=match) as refused:
        check_target(method, path)
    assert refused.value.status == status
    check_target("GET", "/")


def test_a_client_that_never_ends_its_body_is_refused() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    with pytest.raises(RequestError, match=r"the body was not there within 0\.01 s") as refused:
        asyncio.run(read_body(body(), seconds=0.01))
    assert refused.value.status == 408


def test_of_a_body_without_end_no_more_is_read_than_may_be_sent() -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"0" * 2**20

    assert MAX_BYTES < len(asyncio.run(read_body(body()))) <= MAX_BYTES + 2**20


def test_a_prediction_that_json_cannot_hold_is_told_by_its_row() -> None:
    check_predictions(np.zeros((2, 1)))
    with pytest.raises(DataError, match="the prediction of row 1 is no finite number"):
        check_predictions(np.array([[3e38], [np.inf]]))
