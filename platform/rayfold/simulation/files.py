"""Tables in files: CSV with a header, or HDF5 with a data set per column.

===========================  ====================================================================
column                       holds
===========================  ====================================================================
a parameter's name           its value; what stands where the parameter does not apply is ignored
``score``                    the score of every fold
``score_0``, ``score_1`` ..  or the score of each fold
``repeat_0``, ``repeat_1``   or repeated measurements, of which every fold draws one
``seconds``                  running time of a fold
``seconds_0`` ..             or of each of the scores or repetitions above
``epoch_seconds``            or of one epoch; the study's epochs multiply it
===========================  ====================================================================

One row per configuration; other columns are ignored. A score that is empty or NaN is that of a
fold that failed.
"""

import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rayfold.data.sources.hdf5_files import find_dataset, open_file, read_into, vet
from rayfold.errors import DataError, did_you_mean
from rayfold.results import Config, Value
from rayfold.simulation.table import Table
from rayfold.space import Choice, Domain, Int, SearchSpace

Columns: TypeAlias = Callable[[str], Sequence[Any] | None]
"""Gives a column by its name, or None."""


def read_table(path: str | Path, space: SearchSpace, *, epochs: int = 1) -> Table:
    """Read a table of configurations, scores and running times.

    Args:
        path: A file in HDF5 (``.h5``, ``.hdf5``), else in CSV; see the module for its columns.
        space: The search space, whose parameters are columns.
        epochs: Epochs of a fold, for a table with ``epoch_seconds``.

    Raises:
        DataError: If the file cannot be read, or a column is missing or holds what it must not;
            the message names file, row and column.
    """
    path = Path(path)
    if path.suffix.lower() in (".h5", ".hdf5"):
        with open_file(path) as file:
            return _table(path, lambda name: _read_dataset(file, path, name), (), space, epochs)
    columns = _read_csv(path)
    return _table(path, columns.get, tuple(columns), space, epochs)


def _table(
    path: Path, columns: Columns, known: tuple[str, ...], space: SearchSpace, epochs: int
) -> Table:
    parameters = {name: _need(path, columns, known, name) for name in space}
    configs = _configs(path, space, parameters)
    _check_numbers(path, columns, [name for name in known if name not in space])
    measured, repeated = _scores(path, columns, known)
    scores = np.column_stack([_numbers(path, *entry, may_lack=True) for entry in measured])
    seconds = _seconds(path, columns, known, len(measured), epochs)
    if len(scores) != len(configs) or len(seconds) != len(configs):
        raise DataError(
            f"{path}: columns must be equally long, got {len(configs)} configurations, "
            f"{len(scores)} scores and {len(seconds)} running times."
        )
    seconds = np.broadcast_to(seconds, scores.shape)
    return Table(space, configs, scores, seconds, repeated=repeated, source=str(path))


def _check_numbers(path: Path, columns: Columns, names: Sequence[str]) -> None:
    """Refuse columns that would go unread: their numbers have gaps, or are written otherwise."""
    for kind in ("score", "repeat", "seconds"):
        counted = {name for name, _ in _numbered(columns, kind)}
        for name in names:
            if re.fullmatch(rf"{kind}_\d+", name) and name not in counted:
                raise DataError(
                    f"{path}: there is a column {name!r} but no {kind}_{len(counted)}; number "
                    f"them {kind}_0, {kind}_1, ... without a gap."
                )


def _scores(
    path: Path, columns: Columns, known: tuple[str, ...]
) -> tuple[list[tuple[str, Sequence[Any]]], bool]:
    """Return the columns of scores by name, and whether they are repetitions."""
    found = {kind: list(_numbered(columns, kind)) for kind in ("score", "repeat")}
    single = columns("score")
    if single is not None:
        found["score alone"] = [("score", single)]
    given = [kind for kind, entries in found.items() if entries]
    if not given:
        hint = next((hint for name in known if (hint := did_you_mean("score", [name]))), "")
        raise DataError(
            f"{path}: there is no column of scores{hint}; name it score, or score_0, score_1, ... "
            "for folds, or repeat_0, repeat_1, ... for repetitions."
        )
    if len(given) > 1:
        raise DataError(
            f"{path}: scores are given twice, as {found[given[0]][0][0]} and "
            f"{found[given[1]][0][0]}; keep one of the two."
        )
    (kind,) = given
    return found[kind], kind != "score"


def _seconds(
    path: Path, columns: Columns, known: tuple[str, ...], count: int, epochs: int
) -> NDArray[np.float64]:
    """Return running times, shape ``(rows, 1)`` or ``(rows, count)``."""
    single = {
        name: column
        for name in ("seconds", "epoch_seconds")
        if (column := columns(name)) is not None
    }
    entries = list(_numbered(columns, "seconds"))
    given = [*single, *(name for name, _ in entries[:1])]
    if len(given) > 1:
        raise DataError(
            f"{path}: running times are given twice, as {given[0]} and {given[1]}; keep one of "
            "the two."
        )
    if single:
        ((name, column),) = single.items()
        factor = epochs if name == "epoch_seconds" else 1
        return factor * _numbers(path, name, column)[:, None]
    if not entries:
        hint = did_you_mean("seconds", list(known))
        raise DataError(
            f"{path}: there is no column of running times{hint}; name it seconds or "
            "epoch_seconds, or seconds_0, seconds_1, ..."
        )
    if len(entries) != count:
        raise DataError(
            f"{path}: {len(entries)} columns seconds_0, ... stand beside {count} of scores; "
            "give one for each, or a single one called seconds."
        )
    return np.column_stack([_numbers(path, *entry) for entry in entries])


def _numbered(columns: Columns, name: str) -> Iterator[tuple[str, Sequence[Any]]]:
    number = 0
    while (column := columns(f"{name}_{number}")) is not None:
        yield f"{name}_{number}", column
        number += 1


def _need(path: Path, columns: Columns, known: tuple[str, ...], name: str) -> Sequence[Any]:
    column = columns(name)
    if column is None:
        raise DataError(
            f"{path}: there is no column {name!r}{did_you_mean(name, known)}; "
            "the table needs one, parted by commas, for every parameter of the space."
        )
    return column


def _configs(path: Path, space: SearchSpace, parameters: dict[str, Sequence[Any]]) -> list[Config]:
    if len({len(column) for column in parameters.values()}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in parameters.items())
        raise DataError(f"{path}: columns must be equally long, got {lengths}.")
    read = {name: [*_values(space[name], column)] for name, column in parameters.items()}
    conditional = any(space[name].when for name in space)
    configs: list[Config] = []
    for number, values in enumerate(zip(*read.values(), strict=True)):
        whole: dict[str, Any] = dict(zip(read, values, strict=True))
        names = space.active(whole) if conditional else space.names
        for name in names:
            if whole[name] is None:
                raw = parameters[name][number]
                raise DataError(
                    f"{path} row {number + 1}: {name} must be {space[name].allowed}, got {raw!r}."
                )
        configs.append({name: whole[name] for name in names})
    return configs


def _values(domain: Domain, column: Sequence[Any]) -> Iterator[Value | None]:
    """Yield a column's values as the domain has them; None for what it does not have."""
    known: dict[Any, Value | None] = {}
    for raw in column:
        if raw not in known:
            known[raw] = _value(domain, raw)
        yield known[raw]


def _value(domain: Domain, raw: object) -> Value | None:
    plain = raw.item() if isinstance(raw, np.generic) else raw
    number = _number(plain)
    if isinstance(domain, Choice):
        text = str(plain).strip()
        for value in domain.values:
            if str(value) == (text.capitalize() if isinstance(value, bool) else text):
                return value
        for value in domain.values:
            if not isinstance(value, bool | str) and value == number:
                return value
        return None
    value = int(number) if isinstance(domain, Int) and number.is_integer() else number
    return value if domain.check(value) is None else None


def _numbers(
    path: Path, name: str, column: Sequence[Any], *, may_lack: bool = False
) -> NDArray[np.float64]:
    numbers = np.array([_number(raw) for raw in column], dtype=np.float64)
    for row in np.flatnonzero(~np.isfinite(numbers)).tolist():
        lacks = str(column[row]).strip().lower() in ("", "nan")
        if not (may_lack and lacks):
            raise DataError(
                f"{path} row {row + 1}: {name} must be a finite number, got {str(column[row])!r}."
            )
    return numbers


def _number(raw: Any) -> float:
    """Return a number, or NaN for what is none."""
    try:
        return float(raw)
    except (TypeError, ValueError):
        return math.nan


def _read_csv(path: Path) -> dict[str, list[str]]:
    if path.exists() and not path.is_file() and not path.is_dir():  # a pipe would never end
        raise DataError(f"{path}: the table is no regular file; write it to one.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file, strict=True))
    except OSError as error:
        raise DataError(
            f"{path}: the table cannot be read ({error.strerror}); check the path."
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: this is no CSV in UTF-8 ({error}).") from None
    lines = [line for line in lines if line]
    if not lines:
        raise DataError(f"{path}: the table is empty; its first line names the columns.")
    header, rows = [name.strip() for name in lines[0]], lines[1:]
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"{path}: the column {name!r} is there twice; keep one.")
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise DataError(
                f"{path} row {number + 1}: expected {len(header)} values as in the header, "
                f"got {len(row)}."
            )
    return {name: [row[index] for row in rows] for index, name in enumerate(header)}


def _read_dataset(file: Any, path: Path, name: str) -> Sequence[Any] | None:
    dataset = find_dataset(file, path, name)
    if dataset is None:
        return None
    part = vet(dataset, path, name)
    if len(part.shape) != 1:
        raise DataError(
            f"{path}, data set {name!r}: expected one value per row, got shape {part.shape}."
        )
    values = np.empty(part.shape, part.dtype)
    read_into(dataset, part, values)
    column: list[Any] = values.tolist()
    return column
