import numpy as np
import pytest

from rayfold.data.labels import encode_classes, encode_row_groups, encode_values, infer_task
from rayfold.errors import DataError


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (np.array([7, 3, 7], dtype=np.uint8), (3, 7)),
        (np.array([2**64 - 1, 0, 2**64 - 1], dtype=np.uint64), (0, 2**64 - 1)),
        (np.array([-1, -5, -1], dtype=np.int16), (-5, -1)),
        (np.array([True, False, True]), (False, True)),
        (np.array(["bee", "ant", "bee"], dtype=object), ("ant", "bee")),
        (np.array([2.0, 1.0, 2.0], dtype=np.float16), (1.0, 2.0)),
        (np.array([[7], [3], [7]]), (3, 7)),
    ],
)
def test_labels_become_indices_into_sorted_plain_classes(
    values: np.ndarray, classes: tuple[object, ...]
) -> None:
    codes, found = encode_classes(values, where="labels")
    assert codes.tolist() == [1, 0, 1]
    assert codes.dtype == np.int64
    assert found == classes
    assert [type(value) for value in found] == [type(value) for value in classes]


def test_a_fraction_among_class_numbers_is_refused() -> None:
    with pytest.raises(DataError, match=r"labels: expected whole numbers .*, got 2.5 in row 1"):
        encode_classes(np.array([1.0, 2.5]), where="labels")


def test_one_hot_rows_are_refused_with_their_remedy() -> None:
    with pytest.raises(DataError, match=r"rows of shape \(3,\); .*one-hot rows: their argmax"):
        encode_classes(np.eye(3, dtype=np.int64), where="labels")


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match="labels: every row has the class 'ant'"):
        encode_classes(np.array(["ant", "ant"], dtype=object), where="labels")


def test_floats_are_regression_and_all_else_classification() -> None:
    assert infer_task(np.array([1.0], dtype=np.float16)) == "regression"
    for values in (np.array([1]), np.array([True]), np.array(["a"], dtype=object)):
        assert infer_task(values) == "classification"


@pytest.mark.parametrize("values", [np.array([1, 2]), np.array([[1.0], [2.0]], dtype=">f8")])
def test_regression_values_get_a_column(values: np.ndarray) -> None:
    encoded = encode_values(values, where="labels")
    assert encoded.dtype == np.float32
    assert encoded.dtype.isnative
    assert encoded.tolist() == [[1.0], [2.0]]


def test_text_and_images_are_no_regression_values() -> None:
    with pytest.raises(DataError, match="expected numbers for task='regression', got text"):
        encode_values(np.array(["a"], dtype=object), where="labels")
    with pytest.raises(DataError, match=r"expected shape .*, got \(2, 2, 2\); flatten"):
        encode_values(np.zeros((2, 2, 2)), where="labels")


def test_row_groups_are_numbered_in_sorted_order() -> None:
    groups = np.array(["p9", "p1", "p9"], dtype=object)
    assert encode_row_groups(groups, where="groups").tolist() == [1, 0, 1]
    assert encode_row_groups(np.array([[40], [4]]), where="groups").tolist() == [1, 0]


@pytest.mark.parametrize("groups", [np.array([1.0, 2.0]), np.zeros((2, 2), dtype=np.int64)])
def test_row_groups_of_floats_or_columns_are_refused(groups: np.ndarray) -> None:
    with pytest.raises(DataError, match="groups: expected one whole number or name a row"):
        encode_row_groups(groups, where="groups")
