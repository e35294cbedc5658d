"""A data set: what is read, how it is split and what its rows hold."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, AliasChoices, Field

from rayfold.data.columns import Column, blocks, survey
from rayfold.data.hdf5 import (
    clean_name,
    dataset_names,
    find_dataset,
    find_files,
    open_file,
    path_list,
    place,
)
from rayfold.data.holdout import split_test
from rayfold.data.inputs import Channels, Features, has_channels_last, model_shape, to_float
from rayfold.data.labels import encode_row_groups, one_column
from rayfold.data.precision import check_single_precision
from rayfold.errors import DataError, did_you_mean
from rayfold.options import options
from rayfold.options.fields import Paths, Seed, made, plain
from rayfold.tasks import TASKS, Classes, Strata, Task, find_task, infer_task

Name = Annotated[str, made(lambda name: clean_name(name))]
"""A data set's path within its file."""

Names = Annotated[
    str | Sequence[str] | None,
    made(lambda names: clean_names(names) if names not in (None, ()) else ()),
]
"""Paths of different data sets; one alone may stand without a list. Kept as a tuple."""


def _known_task(name: str) -> str:
    if name not in TASKS:
        known, hint = " or ".join(map(repr, TASKS)), did_you_mean(name, [*TASKS])
        raise ValueError(f"must be {known}, got {name!r}{hint}")
    return name


TaskName = Annotated[
    str, AfterValidator(_known_task), Field(strict=True, json_schema_extra={"enum": [*TASKS]})
]
"""A task's name."""


@options("data")
class HDF5:
    """Where the data lie, and which rows are kept for the test."""

    paths: Paths = Field(validation_alias=AliasChoices("hdf5", "paths"))
    """HDF5 file or files; a glob such as data/*.h5 is allowed. Rows follow one another in this
    order, globs sorted."""
    features: Names = ()
    """Name of the data set that holds the model's input, or several names for a model with
    several inputs; none takes the one called features, or the only one beside labels and
    row groups."""
    labels: Name = "labels"
    """Name of the data set that holds what is to be predicted."""
    row_groups: Name | None = None
    """Name of a data set that tells which rows belong together (one patient, one device); these
    never part, neither in the test split nor in grouped folds."""
    task: TaskName | None = None
    """Kind of labels; null takes floats as regression, all other labels as classification."""
    test_fraction: Annotated[float, Field(strict=True, ge=0, lt=1), plain] = 0.0
    """Share of the rows that no trial sees, kept for the test."""
    random_seed: Seed = 0
    """Seed of the test split."""
    channels: Channels = "first"
    """Axis of the channels of images (rows of 3 or 4 axes), as stored; models get them first."""

    def under(self, base: Path) -> Self:
        """Return the same with relative paths that start at a folder."""
        paths = path_list(self.paths)
        return replace(self, paths=[base / Path(path).expanduser() for path in paths])

    def __post_init__(self) -> None:
        for field, named in (("features", self.features or ()), ("row_groups", [self.row_groups])):
            if self.labels in named:
                raise ValueError(
                    f"names {self.labels!r} as labels and in {field}; what is to be predicted "
                    "cannot be given too"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """All rows in memory, and which of them are for development and which for the test.

    Attributes:
        features: One array for each input, rows first, in the type and layout of the file.
        feature_names: The data sets that they come from.
        labels: Labels as the task encodes them: class indices, int64 of shape ``(rows,)``, or
            values, float32 of shape ``(rows, outputs)``.
        row_groups: Group of each row, int64 counted from 0, or None.
        task: The kind of problem.
        classes: What the class indices stand for, in sorted order; None where there are none.
        digest: SHA-256 of names, types, shapes and values, in hexadecimal; the same however the
            rows are spread over files, chunked, packed or ordered in bytes.
        development_rows: Row numbers, int64, sorted: what folds are made of.
        test_rows: Row numbers, int64, sorted: touched by nothing but the final test.
        files: The files that were read, in the order of the rows.
        label_name: The data set that the labels come from.
        channels: Where rows of 3 or 4 axes have their channels.
    """

    features: tuple[NDArray[Any], ...]
    feature_names: tuple[str, ...]
    labels: NDArray[Any]
    row_groups: NDArray[np.int64] | None
    task: Task
    classes: Classes | None
    digest: str
    development_rows: NDArray[np.int64]
    test_rows: NDArray[np.int64]
    files: tuple[Path, ...] = ()
    label_name: str = "labels"
    channels: Channels = "first"

    @property
    def num_rows(self) -> int:
        """Rows of development and test together."""
        return len(self.labels)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Features, NDArray[Any]]:
        """Return copies of some rows, as models take them.

        Args:
            rows: Row numbers, in any order.

        Returns:
            Features, one array for each input, float32 with channels first; and labels.
        """
        features = tuple(
            to_float(array.take(rows, axis=0), self.channels) for array in self.features
        )
        return features, self.labels.take(rows, axis=0)  # three times as fast as an index

    @property
    def num_bytes(self) -> int:
        """Memory that features, labels and row groups take."""
        arrays = [*self.features, self.labels]
        if self.row_groups is not None:
            arrays.append(self.row_groups)
        return sum(array.nbytes for array in arrays)

    @property
    def num_outputs(self) -> int:
        """Outputs of a model for each row."""
        return self.task.num_outputs(self.labels, self.classes)

    @property
    def strata(self) -> Strata | None:
        """The kinds of rows whose shares every split keeps; None for none."""
        return self.task.strata(self.labels, self.classes)

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of a row of each feature array as a model gets it: channels first."""
        return tuple(model_shape(array.shape[1:], self.channels) for array in self.features)

    @property
    def labels_place(self) -> str:
        """How messages name the labels: ``digits.h5, data set 'labels'``."""
        return _place(self.files, self.label_name)


def load(source: HDF5) -> DataSet:
    """Read a data set into memory, check it and split off its test rows.

    Raises:
        DataError: If a file, a data set or its values are refused; see :mod:`rayfold.data.hdf5`.
    """
    files = find_files(source.paths)
    feature_names = clean_names(source.features) if source.features else _found_in(files, source)
    names = [*feature_names, source.labels]
    if source.row_groups is not None and source.row_groups not in names:
        names.append(source.row_groups)
    columns = {column.name: column for column in survey(files, names)}
    if source.channels == "last":
        _check_images([columns[name] for name in feature_names])
    where = _place(files, source.labels)
    raw_labels = columns[source.labels].read()
    task = infer_task(raw_labels) if source.task is None else find_task(source.task)
    encoded, classes = task.encode(one_column(raw_labels), where=where)
    if task.quantities:
        check_single_precision(encoded, where=where)
    labels = np.ascontiguousarray(encoded, dtype=task.label_type)
    row_groups = None
    if source.row_groups is not None:
        row_groups = encode_row_groups(
            columns[source.row_groups].read(), where=_place(files, source.row_groups)
        )
    # after the labels, which are small: what is wrong with them is told before this takes memory
    features = _read_features([columns[name] for name in feature_names])
    for name, array in zip(feature_names, features, strict=True):
        check_single_precision(array, where=_place(files, name))
    development_rows, test_rows = split_test(
        len(labels),
        test_fraction=source.test_fraction,
        random_seed=source.random_seed,
        strata=task.strata(labels, classes),
        row_groups=row_groups,
        where=where,
    )
    others: list[tuple[str, NDArray[Any]]] = [(source.labels, labels)]
    if source.row_groups is not None and row_groups is not None:
        others.append((f"row_groups: {source.row_groups}", row_groups))
    named = list(zip(feature_names, features, strict=True))
    return DataSet(
        features=features,
        feature_names=feature_names,
        labels=labels,
        row_groups=row_groups,
        task=task,
        classes=classes,
        digest=_digest(task, classes, named, others, source.channels),
        development_rows=development_rows,
        test_rows=test_rows,
        files=files,
        label_name=source.labels,
        channels=source.channels,
    )


def _found_in(files: Sequence[Path], source: HDF5) -> tuple[str, ...]:
    """Return the name of the features of a source that names none.

    Raises:
        DataError: If the first file has no data set ``features``, and not one other.
    """
    default = "features"
    if default != source.labels and _holds(files[0], default):
        return (default,)
    with open_file(files[0]) as file:
        names = dataset_names(file)
    others = [name for name in names if name not in (source.labels, source.row_groups)]
    if len(others) == 1:
        return (others[0],)
    raise DataError(
        f"{files[0]}: which data set holds the features? Name it (features=, or fixed.data."
        f"features in a recipe); the file holds {', '.join(map(repr, others)) or 'no other'} "
        f"beside the labels, {source.labels!r}."
    )


def load_features(paths: Paths, features: str | Sequence[str]) -> tuple[NDArray[Any], ...]:
    """Read feature arrays alone, as prediction needs them; the files need no labels.

    Args:
        paths: A file, a glob or a list of these.
        features: The names of the data sets, in the order of the model's inputs.

    Returns:
        One array for each name, rows first, in the type of the file.

    Raises:
        DataError: As in :func:`load`.
    """
    return _read_features(survey(find_files(paths), clean_names(features)))


def load_labels(
    paths: Paths, name: str, *, features: str | Sequence[str] = ()
) -> NDArray[Any] | None:
    """Read labels as they are stored, or return None when the files have none of that name.

    Args:
        paths: A file, a glob or a list of these.
        name: The name of the data set.
        features: Names of the data sets that each file must hold as many rows of.

    Returns:
        Labels of shape ``(rows,)`` (of ``(rows, 1)`` too) or ``(rows, outputs)``, not re-coded;
        strings as an object array of ``str``.

    Raises:
        DataError: As in :func:`load`, and if some of the files have such a data set and some not.
    """
    files, name = find_files(paths), clean_name(name)
    without = [path for path in files if not _holds(path, name)]
    if len(without) == len(files):
        return None
    if without:
        raise DataError(
            f"{without[0]}: there is no data set {name!r}, which other files of the list have; "
            "add it there too."
        )
    beside = clean_names(features) if features else ()
    return one_column(survey(files, [*beside, name])[-1].read())


def clean_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of feature arrays as a tuple of plain paths.

    Raises:
        DataError: If there is none, or one is named twice.
    """
    cleaned = tuple(clean_name(name) for name in ([names] if isinstance(names, str) else names))
    if not cleaned:
        raise DataError("must name at least one data set.")
    for name in cleaned:
        if cleaned.count(name) > 1:
            raise DataError(f"must name {name!r} once only.")
    return cleaned


def _read_features(columns: Sequence[Column]) -> tuple[NDArray[Any], ...]:
    for column in columns:
        if column.dtype.kind == "O":
            raise DataError(
                f"{place(column.parts[0].path, column.name)}: features are numbers, got text; "
                "store numbers, a category as its number."
            )
    return tuple(column.read() for column in columns)


def _check_images(columns: Sequence[Column]) -> None:
    """Refuse ``channels: last`` where no features are images with channels."""
    shapes = [column.parts[0].shape[1:] for column in columns]
    if not any(has_channels_last(shape, "last") for shape in shapes):
        shown = ", ".join(
            f"{column.name!r} {shape}" for column, shape in zip(columns, shapes, strict=True)
        )
        raise DataError(
            "channels is 'last', but no features have rows of 3 or 4 axes, height x width x "
            f"channels say: {shown}; leave channels out."
        )


def _holds(path: Path, name: str) -> bool:
    with open_file(path) as file:
        return find_dataset(file, path, name) is not None


def _place(files: Sequence[Path], name: str) -> str:
    if not files:
        return f"data set {name!r}"
    more = len(files) - 1
    shown = f"{files[0]} and {more} more" if more else str(files[0])
    return place(shown, name)


def _digest(
    task: Task,
    classes: Classes | None,
    features: Sequence[tuple[str, NDArray[Any]]],
    others: Sequence[tuple[str, NDArray[Any]]],
    channels: Channels,
) -> str:
    """Hash the arrays in little-endian order, each after a line that says what it is."""
    last = {name for name, array in features if has_channels_last(array.shape[1:], channels)}
    digest = hashlib.sha256(json.dumps({"task": task.name, "classes": classes}).encode())
    for name, array in (*features, *others):
        little_endian = array.dtype.newbyteorder("<")
        header = {"name": name, "dtype": str(array.dtype), "shape": array.shape}
        if name in last:
            header["channels"] = channels
        digest.update(b"\n" + json.dumps(header).encode() + b"\n")
        for _, block in blocks(array):
            ordered = np.ascontiguousarray(block, dtype=little_endian)
            digest.update(ordered.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
