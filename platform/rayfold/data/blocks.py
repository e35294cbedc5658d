"""Large arrays piece by piece."""

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

_BLOCK_BYTES = 16 * 2**20


def blocks(values: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield ``(first row, rows)`` in pieces small enough for temporary copies."""
    row_bytes = max(1, values.nbytes // max(1, len(values)))
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(values), step):
        yield start, values[start : start + step]
