"""Which rows of a data set belong to which part: masks of rows by the name of the part."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rayfold.data.dataset import DataSet
from rayfold.data.labels import one_column
from rayfold.data.loading import columns_from, told_of
from rayfold.data.sources import Source
from rayfold.data.sources.hdf5_files import find_files
from rayfold.errors import DataError, RecipeError, did_you_mean

MAX_PARTS = 64
"""Parts at most: each is a study with a journal and runs of its own."""

Groups: TypeAlias = Mapping[str, Sequence[Any]]
"""Parts by name, each with its files, values or classes."""

Masks: TypeAlias = dict[str, NDArray[np.bool_]]
"""Parts by name, each with the rows that belong to it, shape ``(rows,)``."""

_MAX_SHOWN = 8
_TYPES = {str: "text", bool: "a boolean"}


def by_files(dataset: DataSet, source: Source, groups: Groups | None) -> Masks:
    """Return the rows of each file, or of each group of files.

    Raises:
        RecipeError: If the rows lie in no files, a group names another file, or there are too few
            or too many parts.
        DataError: If the files have changed since the data set was read.
    """
    with told_of(source):
        lengths = {Path(path): int(number) for path, number in source.files().items()}
    if not lengths:
        raise RecipeError(
            f"sub_problems.by is 'files', but the rows of {type(source).__name__} lie in none; "
            "use by='column' or by='labels'."
        )
    files = [*lengths]
    codes = np.repeat(np.arange(len(files)), [*lengths.values()])
    _check_unchanged(len(codes), dataset)
    if groups is None:
        remedy = "give the data as several files, or leave sub_problems out."
        return _checked(_each(codes, [path.stem for path in files], "files"), remedy)
    known = {path.resolve(): code for code, path in enumerate(files)}
    members: dict[str, list[int]] = {}
    for name, paths in groups.items():
        found = find_files([str(path) for path in paths])
        for path in found:
            if path.resolve() not in known:
                raise RecipeError(
                    f"sub_problems.groups: {name!r} names {path}, which is no file of the "
                    "data; name files that the data are read from."
                )
        members[name] = [known[path.resolve()] for path in found]
    return _checked(_grouped(codes, members, [str(path) for path in files]))


def by_column(dataset: DataSet, source: Source, name: str, groups: Groups | None) -> Masks:
    """Return the rows of each value of a column, or of each group of values.

    Raises:
        RecipeError: If a group names what is no value, or there are too few or too many parts.
        DataError: If there is no such column, it holds no names or whole numbers, or the rows have
            changed since the data set was read.
    """
    with told_of(source):
        labels, column = columns_from(source, [dataset.label_name, name])
        _check_unchanged(labels.num_rows, dataset)
        stored = one_column(column.values())
        if stored.ndim != 1 or stored.dtype.kind == "f":
            raise DataError(
                f"{column.where}: expected one whole number or name a row to split by, got "
                f"{stored.dtype} of shape {stored.shape}; store which part each row belongs to."
            )
    values, codes = np.unique(stored, return_inverse=True)
    if groups is not None:
        members = _codes(groups, values.tolist(), name)
        return _checked(_grouped(codes, members, values.tolist()))
    if len(values) > MAX_PARTS:
        raise RecipeError(
            f"sub_problems.column: {name!r} has {len(values)} different values, expected at most "
            f"{MAX_PARTS}; join them by groups."
        )
    remedy = "name a column with several values, or leave sub_problems out."
    return _checked(_each(codes, [str(value) for value in values.tolist()], "values"), remedy)


def by_labels(dataset: DataSet, groups: Groups) -> Masks:
    """Return the rows of each group of classes.

    Raises:
        RecipeError: If there are no classes, a group names what is none, or there are too few or
            too many parts.
    """
    if (strata := dataset.strata) is None:
        raise RecipeError(
            f"sub_problems.by is 'labels', which needs classes, and this is {dataset.task}; "
            "use by='column' or by='files'."
        )
    members = _codes(groups, strata.names, "the labels")
    return _checked(_grouped(strata.codes, members, strata.names))


def _checked(masks: Masks, way_to_more: str = "name more groups.") -> Masks:
    """Refuse too few or too many parts, and names that some file systems hold for one."""
    if not 2 <= len(masks) <= MAX_PARTS:
        raise RecipeError(
            f"sub_problems: there are {len(masks)} parts, expected 2 to {MAX_PARTS}; "
            + (way_to_more if len(masks) < 2 else "join some of them by groups.")
        )
    folded = [name.casefold() for name in masks]
    for name in masks:
        if folded.count(name.casefold()) > 1:
            raise RecipeError(
                f"sub_problems: the part {name!r} differs from another one by case alone, and "
                "some file systems hold them for one folder; name the parts by groups."
            )
    return masks


def _codes(groups: Groups, values: Sequence[Any], where: str) -> dict[str, list[int]]:
    """Return the groups with the place of each of their values."""
    places = {(isinstance(value, bool), value): place for place, value in enumerate(values)}
    for name, members in groups.items():
        for member in members:
            if (isinstance(member, bool), member) not in places:
                hint = _hint(member, values)
                raise RecipeError(
                    f"sub_problems.groups: {name!r} names {member!r}, which is no value of "
                    f"{where}{hint}; it has {_listed(values)}."
                )
    return {
        name: [places[isinstance(member, bool), member] for member in members]
        for name, members in groups.items()
    }


def _hint(member: object, values: Sequence[Any]) -> str:
    """Say which value may be meant, or that it is of another type."""
    for value in values:
        if str(value) == str(member):
            return f"; write {value!r}, which is {_TYPES.get(type(value), 'a number')}"
    return did_you_mean(str(member), [str(value) for value in values])


def _each(
    codes: NDArray[np.intp], names: Sequence[str], what: str
) -> dict[str, NDArray[np.bool_]]:
    """Return a part for each code, named as far as a study's folder can be."""
    cleaned = [re.sub(r"[^A-Za-z0-9._-]", "_", name)[:50] for name in names]
    cleaned = [f"_{name[1:]}" if name[:1] == "." else name for name in cleaned]
    for name, original in zip(cleaned, names, strict=True):
        if not name or cleaned.count(name) > 1:
            problem = "gives no name" if not name else f"is not the only one that gives {name!r}"
            raise RecipeError(
                f"sub_problems: of the {what}, {original!r} {problem}; name the parts by groups."
            )
    return {name: codes == code for code, name in enumerate(cleaned)}


def _grouped(
    codes: NDArray[np.intp], groups: Mapping[str, Sequence[int]], values: Sequence[Any]
) -> dict[str, NDArray[np.bool_]]:
    """Return a part for each group of codes; ``values`` is what the codes stand for."""
    owner: dict[int, str] = {}
    for name, members in groups.items():
        for code in members:
            if code in owner:
                other = "twice" if owner[code] == name else f"as {owner[code]!r} does"
                raise RecipeError(
                    f"sub_problems.groups: {name!r} names {values[code]!r} {other}; each belongs "
                    "to one part at most."
                )
            owner[code] = name
    return {name: np.isin(codes, list(members)) for name, members in groups.items()}


def _check_unchanged(num_rows: int, dataset: DataSet) -> None:
    if num_rows != dataset.num_rows:
        raise DataError(
            f"{dataset.labels_place}: there were {dataset.num_rows} rows and now there are "
            f"{num_rows}; start again when nothing changes them."
        )


def _listed(values: Iterable[object]) -> str:
    texts = [repr(value) for value in values]
    more = len(texts) - _MAX_SHOWN
    return ", ".join([*texts[:_MAX_SHOWN], *([f"{more} more"] if more > 0 else [])])
