"""Makes a data set from a source: reads, checks, encodes and splits the rows."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayfold.data.blocks import blocks
from rayfold.data.dataset import DataSet
from rayfold.data.holdout import Holdout
from rayfold.data.inputs import Channels, has_channels_last
from rayfold.data.labels import encode_row_groups, one_column
from rayfold.data.precision import check_single_precision
from rayfold.data.sources import HDF5, Column, Roles, Source
from rayfold.data.sources.base import read_features
from rayfold.errors import DataError, RayfoldError
from rayfold.space.values import show
from rayfold.tasks import Classes, Task, find_task, infer_task
from rayfold.tracebacks import summary


def load(source: Source, *, task: str | None = None, holdout: Holdout | None = None) -> DataSet:
    """Read a data set into memory, check it and split off its test rows.

    Args:
        source: Where the rows come from.
        task: Name of the task. None means regression if labels are floats, and classification
            otherwise.
        holdout: Which rows are test rows; None: no rows.

    Raises:
        DataError: If the source, a column or its values are refused.
    """
    with told_of(source):
        roles, columns = _look_at(source)
        _check_num_rows([*columns.values()])
        feature_columns = [columns[name] for name in roles.features]
        _check_images(feature_columns, roles)
        raw_labels = columns[roles.labels].values()
    where = _place(source, columns[roles.labels])
    known_task = infer_task(raw_labels) if task is None else find_task(task)
    encoded, classes = known_task.encode(one_column(raw_labels), where=where)
    if known_task.quantities:
        check_single_precision(encoded, where=where)
    labels = np.ascontiguousarray(encoded, dtype=known_task.label_type)
    row_groups = None
    if roles.row_groups is not None:
        with told_of(source):
            groups = columns[roles.row_groups]
            row_groups = encode_row_groups(groups.values(), where=groups.where)
    # after the labels, which are small: errors in them are found before this takes memory
    with told_of(source):
        features = read_features(feature_columns)
    for column, array in zip(feature_columns, features, strict=True):
        check_single_precision(array, where=_place(source, column))
    development_rows, test_rows = (holdout or Holdout()).split(
        len(labels),
        strata=known_task.strata(labels, classes),
        row_groups=row_groups,
        where=where,
    )
    others: list[tuple[str, NDArray[Any]]] = [(roles.labels, labels)]
    if row_groups is not None:
        others.append((f"row_groups: {roles.row_groups}", row_groups))
    named = list(zip(roles.features, features, strict=True))
    return DataSet(
        features=features,
        feature_names=roles.features,
        labels=labels,
        row_groups=row_groups,
        task=known_task,
        classes=classes,
        digest=_digest(known_task, classes, named, others, roles.channels),
        development_rows=development_rows,
        test_rows=test_rows,
        label_name=roles.labels,
        labels_place=where,
        row_groups_name=roles.row_groups,
        channels=roles.channels,
    )


def columns_from(source: Source, names: Sequence[str]) -> list[Column]:
    """Return columns of a source, after a check that they are the columns asked for."""
    columns: Any = source.columns(names)
    listed = [*columns] if isinstance(columns, tuple | list) else None
    if listed is None or not all(isinstance(column, Column) for column in listed):
        inside = "" if not listed else f" of {type(listed[0]).__name__}"
        raise DataError(
            "columns(names) must return columns, got "
            f"{type(columns).__name__}{inside}; write return columns_of(arrays, names)."
        )
    if (given := [column.name for column in listed]) != [*names]:
        raise DataError(
            f"columns(names) must return a column for each name in this order: {[*names]}, "
            f"got {given}; write return columns_of(arrays, names)."
        )
    return listed


@contextmanager
def told_of(source: Source) -> Iterator[None]:
    """Report an error in a source of the user's own in one line that names the source."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{_prefix(source)}{error}") from None
    except (RayfoldError, MemoryError):
        raise
    except Exception as error:
        raise DataError(
            f"data source {type(source).__name__}: it failed with {summary(error)}; correct it."
        ) from error


def _place(source: Source, column: Column) -> str:
    return f"{_prefix(source)}{column.where}"


def _prefix(source: Source) -> str:
    """Return how messages name a source; places in HDF5 files say enough."""
    return "" if type(source) is HDF5 else f"data source {type(source).__name__}: "


def _look_at(source: Source) -> tuple[Roles, dict[str, Column]]:
    """Return the roles and columns of a source, after checks of what its methods return."""
    roles = source.roles()
    if not isinstance(roles, Roles):
        raise DataError(
            'roles() must return Roles(features=("x",), labels="y") with its own columns, got '
            f"{type(roles).__name__}."
        )
    columns = dict(zip(roles.names, columns_from(source, roles.names), strict=True))
    _check_recorded(source.describe())
    return roles, columns


def _check_recorded(recorded: object) -> None:
    """Refuse what the journal of a study cannot hold as JSON, or would give back changed."""
    try:
        same = json.loads(json.dumps(recorded, allow_nan=False)) == recorded
        why = "keys must be text, and lists no tuples" if not same else ""
    except (TypeError, ValueError) as error:
        why = str(error)
    if why or not isinstance(recorded, dict):
        raise DataError(
            "describe() must return a dict of plain, finite JSON values, got "
            f"{' '.join(show(recorded).split())}"
            f"{f' ({why})' if why else ''}; return the arguments that decide the rows."
        )


def _check_num_rows(columns: Sequence[Column]) -> None:
    first = columns[0]
    for column in columns:
        if column.num_rows != first.num_rows:
            raise DataError(
                f"{first.where} has {first.num_rows} rows but {column.where} has "
                f"{column.num_rows}; each row needs its entry in both."
            )


def _check_images(columns: Sequence[Column], roles: Roles) -> None:
    """Refuse ``channels: last`` if no features are images with channels."""
    shapes = [column.shape[1:] for column in columns]
    if roles.channels == "last" and not any(has_channels_last(shape, "last") for shape in shapes):
        shown = ", ".join(
            f"{column.name!r} {shape}" for column, shape in zip(columns, shapes, strict=True)
        )
        raise DataError(
            "channels is 'last', but no features have rows of 3 or 4 axes, such as height x "
            f"width x channels: {shown}; leave channels out."
        )


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
