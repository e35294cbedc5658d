"""Opens HDF5 files safely: files and data sets are checked before any value is read.

An HDF5 file can point outside itself (external links, external storage, virtual data sets) and
can declare far more than it holds. Both are refused here, as are damaged files, each with a
:class:`~rayfold.errors.DataError` of one line that names the file and the data set.
"""

import math
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5l, h5z

from rayfold.errors import DataError, did_you_mean
from rayfold.options.fields import Paths

_MAX_SOFT_LINKS = 16  # HDF5's own limit for one path
_MAX_LISTED = 5
_MAX_VISITED = 10_000
# What h5py raises on damage, and on names that are no UTF-8.
_STRUCTURE_ERRORS = (OSError, RuntimeError, KeyError, TypeError, UnicodeError)


@dataclass(frozen=True)
class StoredArray:
    """One data set in one file, checked but not read.

    Attributes:
        path: The file.
        name: The data set's path within the file.
        shape: Its shape, rows first; at least one axis, none of length 0.
        dtype: bool, integer or float in native byte order, or ``object`` for strings.
        item_bytes: Memory of one value while it is read. For a string of variable length: memory
            of its reference.
        chunk_bytes: Memory that HDF5 needs to unpack one chunk; 0 without chunks.
        stored_bytes: Size of the values in the file. For strings of variable length: size of
            their references.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    item_bytes: int
    chunk_bytes: int
    stored_bytes: int

    @property
    def num_bytes(self) -> int:
        """Memory that reading all values takes."""
        return math.prod(self.shape) * self.item_bytes


def place(path: Path | str, name: str) -> str:
    """Return how messages name a data set: ``digits.h5, data set 'labels'``."""
    return f"{path}, data set {name!r}"


def clean_name(name: str) -> str:
    """Return a data set's path without leading, repeated and trailing slashes.

    Raises:
        DataError: If nothing is left.
    """
    cleaned = "/".join(_components(name)) if isinstance(name, str) else ""
    if not cleaned:
        raise DataError(f"must be the name of a data set as in the file, got {name!r}.")
    return cleaned


def clean_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of feature arrays as a tuple of plain paths.

    Raises:
        DataError: If there is no name, or a name is repeated.
    """
    cleaned = tuple(clean_name(name) for name in ([names] if isinstance(names, str) else names))
    if not cleaned:
        raise DataError("must name at least one data set.")
    for name in cleaned:
        if cleaned.count(name) > 1:
            raise DataError(f"must name {name!r} once only.")
    return cleaned


def path_list(paths: object) -> list[str | Path]:
    """Return one path or several as a list.

    Raises:
        DataError: If there is no path, or a value is not a path.
    """
    listed: list[Any] = [paths]
    if isinstance(paths, Iterable) and not isinstance(paths, str):
        listed = list(paths)
    if not all(isinstance(path, str | Path) for path in listed):
        raise DataError(
            f"HDF5 files must be named by a path, a glob or a list of these, not {paths!r}."
        )
    if not listed:
        raise DataError("the list of HDF5 files is empty; name at least one file.")
    return listed


def find_files(paths: Paths) -> tuple[Path, ...]:
    """Return the files that ``paths`` names, in the order given, globs in sorted order.

    The name of an existing file is not a glob, even with brackets in it. A glob matches no hidden
    files or folders.

    Raises:
        DataError: If nothing is named, a glob matches nothing or a file is named twice.
    """
    patterns = path_list(paths)
    files: dict[Path, Path] = {}
    for pattern in patterns:
        try:
            found = _matches(str(pattern))
            resolved = [path.resolve() for path in found]
        except (OSError, ValueError, RuntimeError) as error:
            raise DataError(f"{pattern}: it cannot be looked up ({_reason(error)}).") from error
        if not found:
            raise DataError(f"{pattern}: no file matches; check the folder and the pattern.")
        for path, key in zip(found, resolved, strict=True):
            if key in files:
                raise DataError(
                    f"{path}: the file is listed twice, so that its rows would count twice; "
                    "list each file once."
                )
            files[key] = path
    return tuple(files.values())


@contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; close it afterwards, also after an error.

    Raises:
        DataError: If the file does not exist, is not a regular file or is not complete HDF5.
    """
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; check the path.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the file cannot be read ({_reason(error)}).") from error
    if stat.S_ISDIR(status.st_mode):
        raise DataError(f"{path}: expected an HDF5 file, got a folder; add '/*.h5' to read it.")
    if not stat.S_ISREG(status.st_mode):  # opening a fifo would wait for its writer
        raise DataError(f"{path}: expected an HDF5 file, got no regular file; copy it into one.")
    if status.st_size == 0:
        raise DataError(f"{path}: the file is empty; write or copy it again.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: {_opening_fault(error)}.") from error
    with file:
        yield file


def find_dataset(file: h5py.File, path: Path, name: str) -> h5py.Dataset | None:
    """Return the data set called ``name``, or None if the file has nothing of that name.

    Checks each component of the path before it follows it, so that no other file is ever opened.
    Soft links within the file are followed.

    Raises:
        DataError: If the path contains an external or dangling link, or is not a data set.
    """
    try:
        node = _walk(file, path, name)
    except _STRUCTURE_ERRORS as error:
        raise DataError(
            f"{place(path, name)}: the file is damaged here ({_reason(error)}); write it again."
        ) from error
    if isinstance(node, h5py.Group):
        inside = _listed([f"{name}/{inner}" for inner in dataset_names(node)])
        raise DataError(
            f"{place(path, name)}: expected a data set, got a group; "
            f"{'it holds no data sets' if not inside else f'name a data set in it: {inside}'}."
        )
    if node is not None and not isinstance(node, h5py.Dataset):
        raise DataError(
            f"{place(path, name)}: expected a data set, got a named data type; name a data set."
        )
    return node


def holds(path: Path, name: str) -> bool:
    """Return whether a file has a data set called ``name``."""
    with open_file(path) as file:
        return find_dataset(file, path, name) is not None


def need_dataset(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    """Return the data set called ``name``, which must exist; otherwise like :func:`find_dataset`.

    Raises:
        DataError: Also if the file has no such data set; the message lists what it has.
    """
    dataset = find_dataset(file, path, name)
    if dataset is None:
        names = dataset_names(file)
        held = f"holds {_listed(names)}" if names else "lists no data sets"
        raise DataError(
            f"{path}: there is no data set {name!r}{did_you_mean(name, names)}; the file {held}."
        )
    return dataset


def vet(dataset: h5py.Dataset, path: Path, name: str) -> StoredArray:
    """Check a data set by its declaration, without reading values; return the declaration.

    Raises:
        DataError: If its values lie in other files, it has no rows, or its type is not a plain
            number, boolean or string.
    """
    where = place(path, name)
    try:  # before the shape, because asking for that can open a virtual data set's sources
        elsewhere = _elsewhere(dataset)
        shape, chunks = dataset.shape, dataset.chunks
    except _STRUCTURE_ERRORS as error:
        raise DataError(f"{where}: it is damaged ({_reason(error)}); write it again.") from error
    if elsewhere:
        raise DataError(
            f"{where}: it is {elsewhere}, whose values lie in other files; "
            "copy the values into this file."
        )
    if not shape:
        kind = "an empty data space" if shape is None else "a single value"
        raise DataError(f"{where}: expected an array with rows first, got {kind}.")
    if 0 in shape:
        what = "has no rows" if shape[0] == 0 else f"has no values, its shape is {shape}"
        raise DataError(f"{where}: it {what}; add rows or leave the file out.")
    stored = _stored_dtype(dataset, where)
    dtype = np.dtype(object) if _is_string(stored) else _native(stored, where)
    chunk_bytes = math.prod(chunks) * stored.itemsize if chunks else 0
    lengths = tuple(int(length) for length in shape)
    stored_bytes = dataset.id.get_storage_size()
    return StoredArray(path, name, lengths, dtype, stored.itemsize, chunk_bytes, stored_bytes)


def read_into(dataset: h5py.Dataset, stored: StoredArray, out: np.ndarray[Any, Any]) -> None:
    """Read all values of a checked data set directly into ``out``.

    Args:
        dataset: The open data set.
        stored: What :func:`vet` said about it.
        out: Contiguous array of ``stored.shape`` and ``stored.dtype``.

    Raises:
        DataError: If a value cannot be read or decoded.
    """
    where = place(stored.path, stored.name)
    try:
        if stored.dtype.kind == "O":
            out[...] = dataset.asstr()[...]
        else:
            dataset.read_direct(out)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: its text is no valid {error.encoding} ({_reason(error)}); "
            "write it as UTF-8 strings."
        ) from error
    except (OSError, RuntimeError) as error:
        raise DataError(f"{where}: {_reading_fault(dataset, error)}.") from error


def _components(name: str) -> list[str]:
    return [component for component in name.split("/") if component not in ("", ".")]


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if not any(character in pattern for character in "*?[") or path.exists():
        return [path]
    relative = path.relative_to(path.anchor)
    start = Path(path.anchor)
    return sorted(
        found
        for found in start.glob(str(relative))
        if not found.is_dir() and not _is_hidden(found, relative)
    )


def _is_hidden(found: Path, pattern: Path) -> bool:
    written_out = {name for name in pattern.parts if name.startswith(".")}
    return any(name.startswith(".") and name not in written_out for name in found.parts)


def _walk(file: h5py.File, path: Path, name: str) -> Any:
    """Return the object called ``name``, or None when there is none.

    A component that is missing behind a soft link is an error, for then ``name`` itself is there.
    """
    where = place(path, name)
    pending = _components(name)[::-1]
    node: Any = file["/"]
    num_soft_links = 0
    while pending:
        if not isinstance(node, h5py.Group):
            raise DataError(f"{where}: {node.name!r} is a data set, expected a group.")
        component = pending.pop()
        key = component.encode("utf-8", "surrogateescape")
        if not node.id.links.exists(key):  # unlike `component in node`, opens no target
            if num_soft_links:
                raise DataError(f"{where}: it is a soft link that leads nowhere; link it anew.")
            return None
        kind = node.id.links.get_info(key).type
        if kind == h5l.TYPE_HARD:
            node = node[component]
        elif kind == h5l.TYPE_SOFT:
            num_soft_links += 1
            if num_soft_links > _MAX_SOFT_LINKS:
                raise DataError(f"{where}: its soft links go in a circle; link it anew.")
            target = node.id.links.get_val(key).decode("utf-8", "surrogateescape")
            node = file["/"] if target.startswith("/") else node
            pending.extend(_components(target)[::-1])
        else:
            other = "an external" if kind == h5l.TYPE_EXTERNAL else "a user-defined"
            raise DataError(
                f"{where}: {component!r} is {other} link, which could lead into any other file; "
                "copy the values into this file, or list the other file itself."
            )
    return node


def dataset_names(group: h5py.Group) -> list[str]:
    """Return the names of the data sets below ``group``; links are not followed."""
    names: list[str] = []
    num_visited = 0

    def visit(name: str, node: Any) -> bool | None:
        nonlocal num_visited
        num_visited += 1
        if isinstance(node, h5py.Dataset):
            names.append(name)
        return True if num_visited >= _MAX_VISITED else None

    with suppress(*_STRUCTURE_ERRORS):  # only a hint: a damaged object ends the list early
        group.visititems(visit)
    return names


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MAX_LISTED])
    more = len(names) - _MAX_LISTED
    return f"{shown} and {more} more" if more > 0 else shown


def _elsewhere(dataset: h5py.Dataset) -> str | None:
    if dataset.is_virtual:
        return "a virtual data set"
    return "a data set with external storage" if dataset.external else None


def _stored_dtype(dataset: h5py.Dataset, where: str) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = dataset.dtype
    except (*_STRUCTURE_ERRORS, ValueError) as error:
        raise DataError(
            f"{where}: its type is not supported ({_reason(error)}); "
            "store plain integers, floats or text."
        ) from error
    return dtype


def _is_string(dtype: np.dtype[Any]) -> bool:
    return h5py.check_string_dtype(dtype) is not None


def _native(dtype: np.dtype[Any], where: str) -> np.dtype[Any]:
    """Return the plain NumPy type of this machine's byte order, without enumerations' names."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise DataError(
            f"{where}: its type {_type_name(dtype)} is not supported; "
            "store integers, floats of at most 64 bits, booleans or text."
        )
    return np.dtype(dtype.newbyteorder("=").str)


def _type_name(dtype: np.dtype[Any]) -> str:
    if dtype.names is not None:
        return f"compound ({_listed(dtype.names)})"
    if h5py.check_ref_dtype(dtype) is not None:
        return "reference"
    if h5py.check_vlen_dtype(dtype) is not None:
        return "sequence of variable length"
    if dtype.subdtype is not None:
        return f"array {dtype.subdtype[1]} of {dtype.subdtype[0]}"
    return "opaque" if dtype.kind == "V" else str(dtype)


def _opening_fault(error: OSError) -> str:
    reason = _reason(error)
    if "truncated file" in reason:
        return "the file is truncated; copy or download it again, or close it where it is written"
    if "signature not found" in reason:
        return "this is not an HDF5 file; convert the data to HDF5 or name another file"
    if "unable to lock file" in reason or "already open for" in reason:
        return "another program has it open for writing; close it there"
    if isinstance(error, PermissionError):
        return "the file may not be read (permission denied); change its permissions"
    return f"the file cannot be opened as HDF5 ({reason}); write or copy it again"


def _reading_fault(dataset: h5py.Dataset, error: Exception) -> str:
    """Say whether a filter is not installed, or the data are damaged."""
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(index) for index in range(properties.get_nfilters())]
    for number, _, _, label in filters:
        if not h5z.filter_avail(number):
            known_as = f" ({label.decode(errors='replace')!r})" if label else ""
            return (
                f"it is packed with HDF5 filter {number}{known_as}, which is not installed here; "
                "write it again with gzip, or set HDF5_PLUGIN_PATH to the filter's folder"
            )
    return f"its values cannot be read, the file is damaged ({_reason(error)}); copy it again"


def _reason(error: BaseException) -> str:
    """Return an error's text in one line."""
    return " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())
