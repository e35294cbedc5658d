import numpy as np
import pytest

from rayfold.errors import DataError
from rayfold.tasks import TASKS, Classification, Regression, find_task, infer_task


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (np.array([7, 3, 7], dtype=np.uint8), (3, 7)),
        (np.array([2**64 - 1, 0, 2**64 - 1], dtype=np.uint64), (0, 2**64 - 1)),
        (np.array([-1, -5, -1], dtype=np.int16), (-5, -1)),
        (np.array([True, False, True]), (False, True)),
        (np.array(["bee", "ant", "bee"], dtype=object), ("ant", "bee")),
        (np.array([2.0, 1.0, 2.0], dtype=np.float16), (1.0, 2.0)),
    ],
)
def test_labels_become_indices_into_sorted_plain_classes(
    values: np.ndarray, classes: tuple[object, ...]
) -> None:
    codes, found = Classification().encode(values, where="labels")
    assert codes.tolist() == [1, 0, 1]
    assert found == classes
    assert [type(value) for value in found] == [type(value) for value in classes]


def test_a_fraction_among_class_numbers_is_refused() -> None:
    with pytest.raises(DataError, match=r"labels: expected whole numbers .*, got 2.5 in row 1"):
        Classification().encode(np.array([1.0, 2.5]), where="labels")


def test_one_hot_rows_are_refused_with_their_remedy() -> None:
    with pytest.raises(DataError, match=r"rows of shape \(3,\); .*one-hot rows: their argmax"):
        Classification().encode(np.eye(3, dtype=np.int64), where="labels")


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match="labels: every row has the class 'ant'"):
        Classification().encode(np.array(["ant", "ant"], dtype=object), where="labels")


def test_floats_are_regression_and_all_else_classification() -> None:
    assert infer_task(np.array([1.0], dtype=np.float16)) == Regression()
    for values in (np.array([1]), np.array([True]), np.array(["a"], dtype=object)):
        assert infer_task(values) == Classification()


@pytest.mark.parametrize("values", [np.array([1, 2]), np.array([[1.0], [2.0]], dtype=">f8")])
def test_regression_values_get_a_column(values: np.ndarray) -> None:
    encoded, classes = Regression().encode(values, where="labels")
    assert classes is None
    assert encoded.tolist() == [[1.0], [2.0]]


def test_text_and_images_are_no_regression_values() -> None:
    with pytest.raises(DataError, match="expected numbers for task='regression', got text"):
        Regression().encode(np.array(["a"], dtype=object), where="labels")
    with pytest.raises(DataError, match=r"expected shape .*, got \(2, 2, 2\); flatten"):
        Regression().encode(np.zeros((2, 2, 2)), where="labels")


def test_a_task_is_found_by_its_name_and_a_misspelt_one_gets_a_hint() -> None:
    assert find_task("regression") == Regression()
    with pytest.raises(DataError, match=r"task is 'regresion', expected .* mean 'regression'\?"):
        find_task("regresion")
    with pytest.raises(DataError, match=r"'counts', expected .*; register your own task in Py"):
        find_task("counts")


def test_classes_of_a_bundle_must_fit() -> None:
    for classes, message in (
        (None, "classes do not go with task classification"),
        (("a", "a"), "classes are not all different"),
        (("a", "b", "c"), "expected 2 classes, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            Classification().check_classes(classes, 2)
    with pytest.raises(ValueError, match="classes do not go with task regression"):
        Regression().check_classes(("a", "b"), 2)


def test_labels_of_unknown_classes_are_refused() -> None:
    with pytest.raises(DataError, match="the ensemble knows no class 3; leave its rows out"):
        Classification().encode_known(np.array([1, 3]), (1, 2))


def test_a_class_is_registered_as_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "mine", Regression)
    with pytest.raises(
        DataError, match=r"^task .mine. must be registered as an object, a Task, got"
    ):
        find_task("mine")
