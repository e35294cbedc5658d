import numpy as np
import pytest

from rayfold.data import to_float
from rayfold.data.inputs import model_shape
from rayfold.errors import DataError


def test_bytes_are_scaled_to_one() -> None:
    scaled = to_float(np.array([[0, 51, 255]], dtype=np.uint8))
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [[0.0, np.float32(0.2), 1.0]]


def test_scaling_depends_on_the_type_and_not_on_the_values() -> None:
    """Dark images stay dark; one row alone gives what it gives among others."""
    images = np.array([[0, 1], [0, 255]], dtype=np.uint8)
    assert to_float(images[:1]).tolist() == to_float(images)[:1].tolist()


@pytest.mark.parametrize("dtype", ["i1", ">i4", "u2", ">u8", "f2", "f4", ">f8"])
def test_other_numbers_keep_their_value(dtype: str) -> None:
    converted = to_float(np.array([0, 100], dtype=dtype))
    assert converted.dtype == np.float32
    assert converted.dtype.isnative
    assert converted.tolist() == [0.0, 100.0]


def test_truth_values_become_zero_and_one() -> None:
    assert to_float(np.array([True, False])).tolist() == [1.0, 0.0]


def test_float32_is_not_copied_and_any_layout_becomes_contiguous() -> None:
    values = np.ones((3, 2), dtype=np.float32)
    assert to_float(values) is values
    for array in (values.T, np.ones((3, 2), dtype=np.uint8).T, np.ones((2, 3)).T):
        assert to_float(array).flags.c_contiguous


@pytest.mark.parametrize("values", [["a"], [1j], [None]])
def test_what_is_no_number_is_refused(values: list[object]) -> None:
    with pytest.raises(DataError, match="expected numbers; convert them first"):
        to_float(np.array(values))


def test_numbers_beyond_float32_are_refused() -> None:
    with pytest.raises(DataError, match=r"features of type float64 hold numbers beyond float32"):
        to_float(np.array([1e39]))


@pytest.mark.parametrize(
    ("stored", "moved"),
    [((4, 5, 3), (3, 4, 5)), ((2, 4, 5, 3), (3, 2, 4, 5)), ((4, 5), (4, 5)), ((7,), (7,))],
)
@pytest.mark.parametrize("dtype", ["u1", "f4", "i2"])
def test_channels_are_moved_of_rows_with_3_or_4_axes_alone(
    stored: tuple[int, ...], moved: tuple[int, ...], dtype: str
) -> None:
    rows = np.arange(2 * np.prod(stored)).reshape(2, *stored).astype(dtype)
    assert model_shape(stored, "last") == moved
    assert model_shape(stored, "first") == stored
    given = to_float(rows, "last")
    assert given.shape == (2, *moved)
    assert given.flags.c_contiguous
    assert to_float(rows).shape == rows.shape
    if moved != stored:
        assert (given[:, 2] == to_float(rows)[..., 2]).all()
