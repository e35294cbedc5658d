import numpy as np
import pytest

from rayfold.data.labels import encode_row_groups
from rayfold.errors import DataError


def test_row_groups_are_numbered_in_sorted_order() -> None:
    groups = np.array(["p9", "p1", "p9"], dtype=object)
    assert encode_row_groups(groups, where="groups").tolist() == [1, 0, 1]
    assert encode_row_groups(np.array([[40], [4]]), where="groups").tolist() == [1, 0]


@pytest.mark.parametrize("groups", [np.array([1.0, 2.0]), np.zeros((2, 2), dtype=np.int64)])
def test_row_groups_of_floats_or_columns_are_refused(groups: np.ndarray) -> None:
    with pytest.raises(DataError, match="groups: expected one whole number or name a row"):
        encode_row_groups(groups, where="groups")
