"""Requests and answers of a server, without Ray.

A request::

    {"inputs": [[0.1, 0.2], [0.3, 0.4]]}                 rows of the only input
    {"inputs": {"images": [...], "ages": [30, 41]}}      rows of each input

The answer has ``predictions``, one per row, and for some tasks ``probabilities``, in the order of
``classes``.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rayfold.ensemble import Ensemble, Input, Signature
from rayfold.ensemble.predictor import check_features
from rayfold.errors import DataError

Features = tuple[NDArray[np.generic], ...]

MAX_BYTES: Final = 2**25
"""Longest body of a request, 32 MiB."""

MAX_ROWS: Final = 4096

BODY_SECONDS: Final = 30.0
"""Seconds that a client may take to send a body."""


class RequestError(Exception):
    """An error that refuses a request.

    Attributes:
        status: The HTTP status of the answer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_target(method: str, path: str) -> None:
    """Check the path and the method of a request.

    Raises:
        RequestError: 404 for any path but the root, 405 for another method.
    """
    if path not in ("", "/"):
        raise RequestError(404, f"there is nothing at {path[:100]}; POST rows to /.")
    if method not in ("GET", "HEAD", "POST"):
        error = f"{method} is not answered; POST rows, or GET what is expected."
        raise RequestError(405, error)


async def read_body(parts: AsyncIterator[bytes], *, seconds: float = BODY_SECONDS) -> bytes:
    """Read a request's body, with limits of time and size.

    Args:
        parts: The parts of the body.
        seconds: Limit of time.

    Raises:
        RequestError: 408 if it takes longer.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in parts:
                body += part
                if len(body) > MAX_BYTES:
                    break
    except TimeoutError:
        raise RequestError(408, f"the body was not there within {seconds:g} s.") from None
    return bytes(body)


def parse_request(body: bytes, signature: Signature) -> Features:
    """Return the checked features of a request.

    Args:
        body: JSON as above.
        signature: The inputs.

    Returns:
        One array for each input, as ``check_features`` returns them.

    Raises:
        DataError: If the body is not such JSON, or its rows do not fit.
    """
    if len(body) > MAX_BYTES:
        raise DataError(f"the body has more than {MAX_BYTES} bytes; send fewer rows at once.")
    try:
        request = json.loads(body, object_pairs_hook=_without_repetition)
    except json.JSONDecodeError as error:
        raise DataError(f"the body is no JSON: {error}; send {_example(signature)}.") from None
    except DataError:
        raise
    except (ValueError, RecursionError):
        raise DataError(f"the body is no JSON of numbers; send {_example(signature)}.") from None
    if not isinstance(request, dict) or set(request) != {"inputs"}:
        raise DataError(f"expected an object with 'inputs' alone; send {_example(signature)}.")
    may_hold_bools = b"true" in body or b"false" in body
    arrays = tuple(
        _array(rows, entry, may_hold_bools=may_hold_bools)
        for rows, entry in zip(_columns(request, signature), signature.inputs, strict=True)
    )
    features = check_features(arrays, signature)
    num_rows = len(features[0])
    if not 1 <= num_rows <= MAX_ROWS:
        raise DataError(f"inputs: expected 1 to {MAX_ROWS} rows, got {num_rows}.")
    return features


def check_predictions(predictions: NDArray[np.float64]) -> None:
    """Check that all predictions are numbers that JSON can hold.

    Raises:
        DataError: If one is not finite because the row's values are too large for the models.
    """
    faulty = np.flatnonzero(~np.isfinite(predictions).all(axis=1))
    if len(faulty):
        raise DataError(
            f"inputs: the prediction of row {faulty[0]} is no finite number; its values are far "
            "from those that the models were trained with."
        )


def answer(ensemble: Ensemble, predictions: NDArray[np.float64]) -> dict[str, Any]:
    """Return the answer for a result of ``Ensemble.predict_checked``."""
    answered: dict[str, Any] = {"predictions": ensemble.decide(predictions).tolist()}
    if ensemble.signature.task.probabilities:
        answered["probabilities"] = predictions.tolist()
    return answered


def description(ensemble: Ensemble) -> dict[str, Any]:
    """Return a description of an ensemble's inputs and outputs, the answer to a GET."""
    signature = ensemble.signature
    return {
        "ensemble": ensemble.origin.study,
        "task": signature.task.name,
        "inputs": [
            {
                "name": entry.name,
                "dtype": entry.dtype,
                "shape": ["rows", *entry.shape],
                **({"channels": "last"} if entry.channels == "last" else {}),
            }
            for entry in signature.inputs
        ],
        "num_outputs": signature.num_outputs,
        "classes": list(signature.classes) if signature.classes else None,
    }


def _columns(request: dict[str, Any], signature: Signature) -> list[Any]:
    """Return the rows of each input, in the order of the signature."""
    given, names = request["inputs"], [entry.name for entry in signature.inputs]
    if not isinstance(given, dict):
        if len(names) > 1:
            raise DataError(f"inputs: expected rows of {', '.join(names)} by name.")
        return [given]
    if set(given) != set(names):
        raise DataError(
            f"inputs: expected {', '.join(names)}, got {', '.join(map(repr, given)) or 'nothing'}."
        )
    return [given[name] for name in names]


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; refuse repeated keys, of which one would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the body names {twice[:100]!r} twice; give it once.")
    return found


def _holds_bools(rows: Any) -> bool:
    """Tell whether the rows hold booleans, which NumPy would convert to 0 and 1."""
    return any(map(_holds_bools, rows)) if isinstance(rows, list) else isinstance(rows, bool)


def _array(rows: Any, entry: Input, *, may_hold_bools: bool) -> NDArray[np.generic]:
    """Return an input's rows as an array of the type that was trained on."""
    if may_hold_bools and entry.dtype != "bool" and _holds_bools(rows):
        raise DataError(f"{entry.name}: expected numbers, got true or false among the rows.")
    try:
        array = np.array(rows)
    except (ValueError, OverflowError):
        shape = ", ".join(map(str, ("rows", *entry.shape)))
        raise DataError(
            f"{entry.name}: rows differ in their shape; send numbers of shape ({shape})."
        ) from None
    if array.size == 0:
        raise DataError(f"{entry.name}: expected at least one row, got none.")
    if array.dtype.kind not in ("biuf" if entry.dtype == "bool" else "iuf"):
        raise DataError(f"{entry.name}: expected numbers, got something else among the rows.")
    if entry.dtype != "uint8":
        wide = array.astype(np.float64)
        if (np.isfinite(wide) & (np.abs(wide) > np.finfo(np.float32).max)).any():
            raise DataError(
                f"{entry.name}: a number is beyond 3.4e38, the largest that models take."
            )
        return wide
    if array.dtype.kind == "f" or array.min() < 0 or array.max() > np.iinfo(np.uint8).max:
        raise DataError(
            f"{entry.name}: expected whole numbers from 0 to 255, as the data file had them."
        )
    return array.astype(np.uint8)


def _example(signature: Signature) -> str:
    names = [entry.name for entry in signature.inputs]
    if len(names) == 1:
        return '{"inputs": [row, ...]}'
    return f'{{"inputs": {{{", ".join(f"{json.dumps(name)}: [row, ...]" for name in names)}}}}}'
