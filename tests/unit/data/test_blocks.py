import numpy as np

from rayfold.data.blocks import blocks


def test_blocks_cover_all_rows_once() -> None:
    """Rows of 8 MiB: two of them are a block."""
    values = np.zeros((5, 2**23), dtype=np.uint8)
    assert [(start, len(block)) for start, block in blocks(values)] == [(0, 2), (2, 2), (4, 1)]
