from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t, h5z

from rayfold.data.sources.hdf5_columns import survey
from rayfold.errors import DataError

Write = Callable[..., Path]


def test_files_follow_one_another_in_the_order_given(write: Write) -> None:
    first = write("z.h5", {"x": [[1, 2], [3, 4]]})
    second = write("a.h5", {"x": [[5, 6]]})
    (column,) = survey([first, second], ["x"])
    assert column.num_rows == 3
    assert column.read().tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize("stored", ["u1", ">i2", ">u8", "f2", ">f8", "?"])
def test_values_come_back_exactly_in_native_byte_order(write: Write, stored: str) -> None:
    values = np.array([[0, 1], [1, 0]], dtype=stored)
    if np.dtype(stored) == np.dtype(">u8"):
        values[0, 0] = 2**64 - 1
    (column,) = survey([write("a.h5", {"x": values})], ["x"])
    read = column.read()
    assert read.dtype == values.dtype.newbyteorder("=")
    assert read.dtype.isnative
    assert read.tolist() == values.tolist()


def test_byte_order_may_differ_between_files(write: Write) -> None:
    first = write("a.h5", {"x": np.array([1.5], dtype="<f4")})
    second = write("b.h5", {"x": np.array([2.5], dtype=">f4")})
    (column,) = survey([first, second], ["x"])
    assert column.read().tolist() == [1.5, 2.5]


def test_fixed_and_variable_strings_are_one_text(write: Write) -> None:
    first = write("a.h5", {"x": ["ant", "b\u00e4r"]})
    second = write("b.h5", {"x": np.array([b"cat", b"elephant"])})
    (column,) = survey([first, second], ["x"])
    assert column.read().tolist() == ["ant", "b\u00e4r", "cat", "elephant"]


def test_enumerations_are_read_as_their_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        kinds = h5py.enum_dtype({"ant": 0, "bee": 7}, basetype=">i2")
        file.create_dataset("x", data=[7, 0], dtype=kinds)
    (column,) = survey([tmp_path / "a.h5"], ["x"])
    assert column.read().tolist() == [7, 0]


def test_text_in_a_wrong_encoding_is_refused(write: Write) -> None:
    path = write("a.h5", {"x": np.array(["b\u00e4r".encode("latin-1")])})
    (column,) = survey([path], ["x"])
    with pytest.raises(DataError, match=r"a\.h5, data set 'x': its text is no valid .*UTF-8"):
        column.read()


def test_rows_that_disagree_between_data_sets_are_refused_in_the_file_at_fault(
    write: Write,
) -> None:
    """Both files together have as many features as labels; the second file has not."""
    good = write("a.h5", {"features": [1, 2], "labels": [0, 1]})
    bad = write("b.h5", {"features": [1, 2, 3], "labels": [0, 1]})
    with pytest.raises(
        DataError, match=r"b\.h5: data set 'features' has 3 rows but 'labels' has 2"
    ):
        survey([good, bad], ["features", "labels"])


def test_shapes_that_disagree_between_files_are_refused(write: Write) -> None:
    files = [write("a.h5", {"x": np.zeros((2, 8))}), write("b.h5", {"x": np.zeros((2, 9))})]
    with pytest.raises(
        DataError, match=r"b\.h5, data set 'x': it has rows of shape \(9,\) but .*a\.h5 has \(8,\)"
    ):
        survey(files, ["x"])


def test_types_that_disagree_between_files_are_refused(write: Write) -> None:
    files = [write("a.h5", {"x": np.zeros(2, "f4")}), write("b.h5", {"x": ["1", "2"]})]
    with pytest.raises(
        DataError, match=r"b\.h5, data set 'x': it has values of type text but .* has float32"
    ):
        survey(files, ["x"])


def test_a_declared_size_beyond_memory_is_refused_unread(tmp_path: Path) -> None:
    """A petabyte declared, nothing written: the file has a few kilobytes."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(10**12, 125), dtype="f8", chunks=(1024, 125))
    with pytest.raises(
        DataError,
        match=r"a\.h5, data set 'x': the data need 1,000,00\d\.\d GB of memory "
        r"\(declared shape \(1000000000000, 125\), float64\) but [\d,.]+ GB are available",
    ):
        survey([tmp_path / "a.h5"], ["x"])


def test_a_declared_size_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(2**60,), maxshape=(None,), dtype="f8", chunks=(1024,))
    with pytest.raises(DataError, match="GB of memory"):
        survey([tmp_path / "a.h5"], ["x"])


def test_long_strings_beyond_memory_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(10**6,), dtype="S1000000000", chunks=(1,))
    with pytest.raises(DataError, match=r"the data need 1,000,001\.0 GB of memory .* text\)"):
        survey([tmp_path / "a.h5"], ["x"])


@pytest.mark.skipif(
    h5py.version.hdf5_version_tuple < (2, 0), reason="HDF5 1 has no chunk of more than 4 GB"
)
def test_a_chunk_beyond_memory_is_refused_though_the_rows_are_few(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(2):
            file.create_dataset(
                f"x{number}", shape=(4,), maxshape=(None,), dtype="f8", chunks=(2**45,)
            )
    with pytest.raises(DataError, match=r"data set 'x0': the data need 281,475\.0 GB"):
        survey([tmp_path / "a.h5"], ["x0", "x1"])


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8"])
def test_nan_and_infinity_are_counted_and_the_first_row_is_named(write: Write, dtype: str) -> None:
    values = np.zeros((6, 2), dtype=dtype)
    values[3, 1], values[5, 0], values[5, 1] = np.nan, np.inf, -np.inf
    (column,) = survey([write("a.h5", {"x": values})], ["x"])
    with pytest.raises(
        DataError, match=r"data set 'x': 3 values are NaN, .* the first in row 3 \(counted from 0"
    ):
        column.read()


def test_a_fault_in_a_later_file_is_named_by_its_own_row(write: Write) -> None:
    files = [write("a.h5", {"x": [0.0, 1.0]}), write("b.h5", {"x": [0.0, np.nan]})]
    (column,) = survey(files, ["x"])
    with pytest.raises(DataError, match=r"b\.h5, data set 'x': 1 value is NaN, .* in row 1 "):
        column.read()


def test_numbers_beyond_float32_are_refused(write: Write) -> None:
    (column,) = survey([write("a.h5", {"x": [1.0, 1e39]})], ["x"])
    with pytest.raises(DataError, match=r"1 value is NaN, infinite or beyond float32"):
        column.read()


def test_a_damaged_packed_chunk_is_refused(write: Write) -> None:
    path = write("a.h5", {"x": np.arange(1000.0)}, compression="gzip", chunks=(1000,))
    with h5py.File(path) as file:
        offset = file["x"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset + 20)
        raw.write(b"\xff" * 40)
    (column,) = survey([path], ["x"])
    with pytest.raises(
        DataError, match=r"a\.h5, data set 'x': its values cannot be read, the file is damaged"
    ):
        column.read()


def test_a_flipped_bit_is_noticed_where_the_file_has_checksums(write: Write) -> None:
    path = write("a.h5", {"x": np.zeros(100)}, fletcher32=True, chunks=(100,))
    with h5py.File(path) as file:
        offset = file["x"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\x01")
    (column,) = survey([path], ["x"])
    with pytest.raises(DataError, match="the file is damaged"):
        column.read()


def test_a_filter_that_is_not_installed_is_named(tmp_path: Path) -> None:
    """32999 belongs to nobody; the chunk claims to have gone through it."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        properties = h5p.create(h5p.DATASET_CREATE)
        properties.set_chunk((4,))
        properties.set_filter(32999, h5z.FLAG_OPTIONAL, ())
        space = h5s.create_simple((4,))
        dataset = h5d.create(file.id, b"x", h5t.IEEE_F32LE, space, properties)
        dataset.write_direct_chunk((0,), b"packed", 0)
    (column,) = survey([tmp_path / "a.h5"], ["x"])
    with pytest.raises(DataError, match="packed with HDF5 filter 32999, which is not installed"):
        column.read()


def test_a_file_that_changed_since_the_survey_is_refused(write: Write) -> None:
    (column,) = survey([write("a.h5", {"x": [1, 2, 3]})], ["x"])
    write("a.h5", {"x": [1, 2, 3, 4]})
    with pytest.raises(DataError, match="it changed while the files were read"):
        column.read()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """2 GB of equal values in a file of a few kilobytes, as gzip packs them 1,032 to 1."""
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features", (2**16, 2**13), "f4", chunks=(2**10, 2**10))
    with pytest.raises(DataError) as caught:
        survey([path], ["features"])
    assert "unpacks to 2.1 GB from 0.0 MB in the file, more than 500 to 1" in str(caught.value)


def test_a_chunk_that_takes_far_more_than_its_values_is_refused(tmp_path: Path) -> None:
    """3 kB of values in a chunk of 1.6 GB, all of which HDF5 would unpack."""
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        options = {"chunks": (20_000, 20_000), "maxshape": (None, None), "compression": "gzip"}
        file.create_dataset("features", (30, 25), "f4", **options)
    with pytest.raises(DataError, match=r"unpacks to 1\.6 GB from 0\.0 MB in the file"):
        survey([path], ["features"])


def test_few_values_may_be_packed_as_they_like(tmp_path: Path) -> None:
    path = tmp_path / "zeros.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("features", (2**10, 2**10), "f4", compression="gzip")
    [column] = survey([path], ["features"])
    assert column.num_rows == 2**10
