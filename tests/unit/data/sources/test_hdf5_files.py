import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rayfold.data.sources.hdf5_files import (
    StoredArray,
    clean_name,
    find_dataset,
    find_files,
    need_dataset,
    open_file,
    vet,
)
from rayfold.errors import DataError

Write = Callable[..., Path]


def declaration(path: Path, name: str) -> StoredArray:
    """Open a file, find one data set and vet it."""
    with open_file(path) as file:
        return vet(need_dataset(file, path, name), path, name)


def build(path: Path, fill: Callable[[h5py.File], Any]) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


# Files


def test_globs_are_sorted_and_the_list_keeps_its_order(tmp_path: Path) -> None:
    for name in ("b-2.h5", "b-1.h5", "a.h5", ".b-0.h5", "b-3.txt"):
        (tmp_path / name).touch()
    files = find_files([tmp_path / "b-*.h5", str(tmp_path / "a.h5")])
    assert [path.name for path in files] == ["b-1.h5", "b-2.h5", "a.h5"]


def test_a_glob_can_be_relative_and_go_down_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one" / "two").mkdir(parents=True)
    (tmp_path / "one" / "two" / "deep.h5").touch()
    (tmp_path / "folder.h5").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_files("**/*.h5") == (Path("one/two/deep.h5"),)


def test_hidden_folders_match_only_when_they_are_written_out(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "a.h5").touch()
    assert find_files(tmp_path / ".cache" / "*.h5") == (tmp_path / ".cache" / "a.h5",)
    with pytest.raises(DataError, match="no file matches"):
        find_files(tmp_path / "*" / "*.h5")


def test_a_file_with_brackets_in_its_name_is_taken_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "run[1].h5").touch()
    (tmp_path / "run1.h5").touch()
    assert find_files(tmp_path / "run[1].h5") == (tmp_path / "run[1].h5",)


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.h5").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_files("~/*.h5") == (tmp_path / "a.h5",)


def test_a_glob_without_a_match_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"digits-\*\.h5: no file matches; check the folder"):
        find_files(tmp_path / "digits-*.h5")


def test_a_file_named_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    (tmp_path / "link.h5").symlink_to(tmp_path / "a.h5")
    with pytest.raises(DataError, match=r"link\.h5: the file is listed twice"):
        find_files(tmp_path / "*.h5")


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(DataError, match="list of HDF5 files is empty"):
        find_files([])


def test_a_pattern_that_cannot_be_looked_up_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"a\.h5: it cannot be looked up \(Could not determine home"
    ):
        find_files("~no-such-user-here/a.h5")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"none\.h5: there is no such file"),
        open_file(tmp_path / "none.h5"),
    ):
        pass


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match=r"the file cannot be read \(.*Not a directory"),
        open_file(tmp_path / "file" / "a.h5"),
    ):
        pass


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"expected an HDF5 file, got a folder; add '/\*\.h5'"),
        open_file(tmp_path),
    ):
        pass


def test_a_fifo_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    with (
        pytest.raises(DataError, match=r"pipe\.h5: expected an HDF5 file, got no regular file"),
        open_file(tmp_path / "pipe.h5"),
    ):
        pass


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("s.h5")
        with pytest.raises(DataError, match="got no regular file"), open_file(Path("s.h5")):
            pass


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").touch()
    with (
        pytest.raises(DataError, match=r"a\.h5: the file is empty"),
        open_file(tmp_path / "a.h5"),
    ):
        pass


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("row,label\n" * 100)
    with (
        pytest.raises(DataError, match=r"a\.h5: this is not an HDF5 file; convert"),
        open_file(tmp_path / "a.h5"),
    ):
        pass


def test_a_truncated_file_is_refused(write: Write) -> None:
    path = write("a.h5", {"features": np.arange(10_000)})
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match=r"a\.h5: the file is truncated; copy"), open_file(path):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(write: Write) -> None:
    path = write("a.h5", {"features": [1]})
    path.chmod(0)
    with pytest.raises(DataError, match="permission denied"), open_file(path):
        pass


def test_a_file_open_for_writing_elsewhere_is_refused(write: Write) -> None:
    path = write("a.h5", {"features": [1]})
    program = (
        "import sys, h5py\n"
        "with h5py.File(sys.argv[1], 'a'):\n"
        "    print('open', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HDF5_USE_FILE_LOCKING": "TRUE"},
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        with (
            pytest.raises(DataError, match=r"a\.h5: another program has it open for writing"),
            open_file(path),
        ):
            pass
        writer.communicate()
    assert writer.returncode == 0


def test_the_file_is_closed_after_use_and_after_an_error(write: Write) -> None:
    path = write("a.h5", {"features": [1]})
    with open_file(path) as first:
        pass
    with pytest.raises(ZeroDivisionError), open_file(path) as second:
        _ = 1 / 0
    assert not first
    assert not second
    with h5py.File(path, "a") as file:  # HDF5 refuses this while anything else has it open
        assert file.mode == "r+"


# Paths within a file


def test_slashes_around_a_name_do_not_matter() -> None:
    assert clean_name("/images//train/") == "images/train"
    with pytest.raises(DataError, match="must be the name of a data set as in the file, got '/'"):
        clean_name("/")


def test_nested_names_and_soft_links_within_the_file_are_followed(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["images/train"] = np.zeros((3, 2))
        file["absolute"] = h5py.SoftLink("/images/train")
        file["images/relative"] = h5py.SoftLink("train")
        file["folder"] = h5py.SoftLink("images")

    path = build(tmp_path / "a.h5", fill)
    for name in ("images/train", "absolute", "images/relative", "folder/train"):
        assert declaration(path, name).shape == (3, 2)


def test_a_missing_data_set_suggests_the_closest_of_all_groups(write: Write) -> None:
    path = write("a.h5", {"images/train": [1], "images/test": [1], "labels": [1]})
    with pytest.raises(
        DataError,
        match=r"a\.h5: there is no data set 'images/trian' \(did you mean 'images/train'\?\); "
        r"the file holds 'images/test', 'images/train', 'labels'\.",
    ):
        declaration(path, "images/trian")


def test_the_list_of_data_sets_stays_short(write: Write) -> None:
    path = write("a.h5", {f"column_{number}": [1] for number in range(8)})
    with pytest.raises(DataError, match=r"holds 'column_0', .*'column_4' and 3 more\.$"):
        declaration(path, "labels")


def test_a_file_without_data_sets_says_so(write: Write) -> None:
    with pytest.raises(DataError, match="no data set 'labels'; the file lists no data sets"):
        declaration(write("a.h5", {}), "labels")


def test_names_that_are_no_utf_8_end_the_list_early(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["ant"] = [1]
        name = "b\u00e4r".encode("latin-1")
        h5py.h5d.create(file.id, name, h5py.h5t.STD_I8LE, h5py.h5s.create_simple((1,)))

    path = build(tmp_path / "a.h5", fill)
    with pytest.raises(DataError, match="no data set 'labels'; the file holds 'ant'"):
        declaration(path, "labels")


def test_a_group_where_a_data_set_is_expected_is_refused(write: Write) -> None:
    path = write("a.h5", {"images/train": [1]})
    with pytest.raises(
        DataError, match=r"data set 'images': expected a data set, got a group; .*'images/train'"
    ):
        declaration(path, "images")


def test_a_data_set_where_a_group_is_expected_is_refused(write: Write) -> None:
    path = write("a.h5", {"images": [1]})
    with pytest.raises(DataError, match="'/images' is a data set, expected a group"):
        declaration(path, "images/train")


def test_a_named_data_type_is_refused(tmp_path: Path) -> None:
    path = build(tmp_path / "a.h5", lambda file: file.update({"labels": np.dtype("f4")}))
    with pytest.raises(DataError, match="expected a data set, got a named data type"):
        declaration(path, "labels")


@pytest.mark.parametrize("name", ["outside", "folder/train", "detour", "detour_folder/train"])
def test_an_external_link_anywhere_along_the_path_is_refused_unopened(
    tmp_path: Path, name: str
) -> None:
    """The links lead to a fifo: whoever opened it would wait for ever."""
    os.mkfifo(tmp_path / "target.h5")

    def fill(file: h5py.File) -> None:
        file["outside"] = h5py.ExternalLink("target.h5", "/features")
        file["folder"] = h5py.ExternalLink("target.h5", "/")
        file["detour"] = h5py.SoftLink("/outside")
        file["detour_folder"] = h5py.SoftLink("folder")

    path = build(tmp_path / "a.h5", fill)
    with pytest.raises(
        DataError, match=f"a.h5, data set '{name}': '(outside|folder)' is an external link"
    ):
        declaration(path, name)


def test_listing_what_a_file_holds_opens_no_external_link(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "target.h5")

    def fill(file: h5py.File) -> None:
        file["aside"] = h5py.ExternalLink("target.h5", "/")
        file["features"] = [1]

    path = build(tmp_path / "a.h5", fill)
    with pytest.raises(DataError, match="the file holds 'features'"):
        declaration(path, "labels")


@pytest.mark.parametrize("target", ["/nothing", "nothing/deeper", "/features_/x"])
def test_a_dangling_soft_link_is_refused(tmp_path: Path, target: str) -> None:
    path = build(tmp_path / "a.h5", lambda file: file.update({"labels": h5py.SoftLink(target)}))
    with pytest.raises(DataError, match="data set 'labels': it is a soft link that leads nowhere"):
        declaration(path, "labels")


def test_soft_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["one"] = h5py.SoftLink("/two")
        file["two"] = h5py.SoftLink("/one")

    with pytest.raises(DataError, match="data set 'one': its soft links go in a circle"):
        declaration(build(tmp_path / "a.h5", fill), "one")


def test_looking_for_a_data_set_that_is_not_there_gives_none(write: Write) -> None:
    path = write("a.h5", {"features": [1]})
    with open_file(path) as file:
        assert find_dataset(file, path, "labels") is None


# Declarations


@pytest.mark.parametrize(
    "stored", ["u1", "<i2", ">i4", ">u8", "f2", ">f4", "<f8", "?"], ids=lambda text: text
)
def test_plain_types_become_this_machine_s_own(write: Write, stored: str) -> None:
    path = write("a.h5", {"features": np.ones((2, 3), dtype=stored)})
    part = declaration(path, "features")
    assert part.shape == (2, 3)
    assert part.dtype == np.dtype(stored).newbyteorder("=")
    assert part.dtype.isnative


def test_strings_of_both_kinds_become_objects_and_enumerations_integers(tmp_path: Path) -> None:
    def fill(file: h5py.File) -> None:
        file["variable"] = ["ant", "bee"]
        file["fixed"] = np.array([b"ant", b"bee"])
        kinds = h5py.enum_dtype({"ant": 0, "bee": 1}, basetype=">i2")
        file.create_dataset("enumeration", data=[0, 1], dtype=kinds)

    path = build(tmp_path / "a.h5", fill)
    assert declaration(path, "variable").dtype == object
    assert declaration(path, "fixed").dtype == object
    assert declaration(path, "enumeration").dtype == np.int16


UNSUPPORTED = {
    "compound": (np.zeros(2, dtype=[("x", "f4"), ("y", "i4")]), r"compound \('x', 'y'\)"),
    "complex": (np.zeros(2, dtype="c8"), "complex64"),
    "opaque": (np.zeros(2, dtype="V4"), "opaque"),
    "extended": (np.zeros(2, dtype=np.longdouble), "float128"),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_unsupported_types_are_refused(write: Write, kind: str) -> None:
    values, text = UNSUPPORTED[kind]
    with pytest.raises(DataError, match=f"data set 'x': its type {text} is not supported; store"):
        declaration(write("a.h5", {"x": values}), "x")


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        (h5py.ref_dtype, "reference"),
        (h5py.vlen_dtype("i4"), "sequence of variable length"),
        (np.dtype(("f4", (3,))), r"array \(3,\) of float32"),
        (h5py.opaque_dtype("M8[s]"), r"datetime64\[s\]"),
    ],
)
def test_unsupported_special_types_are_refused(tmp_path: Path, dtype: Any, text: str) -> None:
    path = build(tmp_path / "a.h5", lambda file: file.create_dataset("x", shape=(2,), dtype=dtype))
    with pytest.raises(DataError, match=f"its type {text} is not supported"):
        declaration(path, "x")


def test_scalars_empty_spaces_and_lengths_of_zero_are_refused(write: Write) -> None:
    path = write(
        "a.h5",
        {"one": 3.0, "null": h5py.Empty("f4"), "none": np.zeros((0, 4)), "flat": np.zeros((4, 0))},
    )
    for name, text in (
        ("one", "expected an array with rows first, got a single value"),
        ("null", "expected an array with rows first, got an empty data space"),
        ("none", "data set 'none': it has no rows"),
        ("flat", r"it has no values, its shape is \(4, 0\)"),
    ):
        with pytest.raises(DataError, match=text):
            declaration(path, name)


def test_external_storage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw.bin").write_bytes(bytes(16))

    def fill(file: h5py.File) -> None:
        file.create_dataset("x", shape=(4,), dtype="f4", external=[(tmp_path / "raw.bin", 0, 16)])

    with pytest.raises(DataError, match="data set 'x': it is a data set with external storage"):
        declaration(build(tmp_path / "a.h5", fill), "x")


def test_a_virtual_data_set_is_refused(write: Write, tmp_path: Path) -> None:
    source = write("source.h5", {"features": np.ones(4)})

    def fill(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(shape=(4,), dtype="f8")
        layout[:] = h5py.VirtualSource(source, "features", shape=(4,))
        file.create_virtual_dataset("features", layout)

    with pytest.raises(DataError, match="it is a virtual data set, whose values lie in other"):
        declaration(build(tmp_path / "a.h5", fill), "features")
