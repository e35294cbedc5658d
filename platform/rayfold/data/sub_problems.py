"""Sub-problems: the rows of a data set cut into parts that studies of their own are run on.

::

    rf.SubProblems(by="files", num_trials=8)
    rf.SubProblems(by="column", column="site", num_trials=8)
    rf.SubProblems(by="labels", groups={"even": [0, 2, 4], "odd": [1, 3, 5]}, num_trials=8)
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rayfold.data.columns import survey
from rayfold.data.dataset import DataSet, Name
from rayfold.data.folds import FoldPlan
from rayfold.data.hdf5 import find_files, place
from rayfold.data.labels import one_column
from rayfold.errors import DataError, RecipeError, did_you_mean
from rayfold.options import options
from rayfold.options.fields import Count, ValueLists, made

By: TypeAlias = Literal["files", "column", "labels"]

MAX_PARTS = 64
"""Parts at most: each is a study with a journal and runs of its own."""

_PART_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,49}"
_MAX_SHOWN = 8
_TYPES = {str: "text", bool: "a truth value"}


def _checked_groups(groups: object) -> object:
    if isinstance(groups, Mapping) and not groups:
        raise RecipeError("must name at least two parts, got none.")
    for name in groups if isinstance(groups, Mapping) else ():
        if not isinstance(name, str) or not re.fullmatch(_PART_NAME, name):
            raise RecipeError(
                "must have names of 1 to 50 letters, digits, dots, dashes and underscores, the "
                f"first of them no dot, got {name!r}."
            )
    return groups


@dataclass(frozen=True, eq=False)
class SubProblem:
    """One part of a data set.

    Attributes:
        name: Its name, unique among the parts.
        rows: Which rows of the data set belong to it, those of the test too, shape ``(rows,)``.
        num_rows: How many development rows these are.
        plan: The folds that train on these rows, and predict what those of the whole predict.
    """

    name: str
    rows: NDArray[np.bool_]
    num_rows: int
    plan: FoldPlan

    @property
    def digest(self) -> str:
        """SHA-256 of the numbers of its rows, as little-endian int64, in hexadecimal."""
        return hashlib.sha256(np.flatnonzero(self.rows).astype("<i8").tobytes()).hexdigest()


@options("sub_problems")
class SubProblems:
    """How the rows of a study are cut into parts, and how long each is searched."""

    by: By
    """What a part is: each HDF5 file, each value of a column, or each group of classes."""
    num_trials: Count
    """Trials of each part."""
    column: Name | None = None
    """HDF5 data set with a whole number, a truth value or a name for each row, for parts by
    column."""
    groups: Annotated[ValueLists, made(_checked_groups)] | None = None
    """Parts by name, each with its files (or globs), values of the column or classes. No row is
    in two of them, and rows in none are in no part. Null: every file, or every value, is a part
    of its own."""

    def __post_init__(self) -> None:
        if (self.by == "column") != (self.column is not None):
            raise ValueError(
                "needs a column; name the data set to split by"
                if self.by == "column"
                else f"takes a column for by: column, not for by: {self.by}; leave it out"
            )
        if self.by == "labels" and self.groups is None:
            raise ValueError(
                "needs groups; say which classes belong together, such as {'even': [0, 2], "
                "'odd': [1, 3]}: a class alone cannot be told from others"
            )

    def under(self, base: Path) -> Self:
        """Return the same with relative paths that start at a folder."""
        if self.groups is None or self.by != "files":
            return self
        groups = {
            name: [str(base / str(path)) for path in paths] for name, paths in self.groups.items()
        }
        return replace(self, groups=groups)

    def split(self, dataset: DataSet, plan: FoldPlan) -> tuple[SubProblem, ...]:
        """Cut a data set into parts, each with folds of its own.

        Args:
            dataset: As it was loaded from its files.
            plan: The folds of all rows.

        Returns:
            The parts, sorted as their files or values are, or in the order of ``groups``.

        Raises:
            RecipeError: If ``groups`` names what is not there, or there are fewer than 2 parts or
                too many.
            DataError: If the column cannot be read, or a part is too small for the folds.
        """
        if self.by == "labels":
            masks = self._by_labels(dataset)
        else:
            masks = self._by_files(dataset) if self.by == "files" else self._by_column(dataset)
        if not 2 <= len(masks) <= MAX_PARTS:
            raise RecipeError(
                f"sub_problems: there are {len(masks)} parts, expected 2 to {MAX_PARTS}; "
                + (self._way_to_more if len(masks) < 2 else "join some of them by groups.")
            )
        folded = [name.casefold() for name in masks]
        parts = []
        for name, rows in masks.items():
            if folded.count(name.casefold()) > 1:
                raise RecipeError(
                    f"sub_problems: the part {name!r} differs from another one by case alone, and "
                    "some file systems hold them for one folder; name the parts by groups."
                )
            num_rows = int(np.count_nonzero(rows[dataset.development_rows]))
            part = SubProblem(name, rows, num_rows, plan.within(rows))
            _check_part(part, dataset)
            parts.append(part)
        return tuple(parts)

    @property
    def _way_to_more(self) -> str:
        """What to do where there are too few parts."""
        if self.groups is not None:
            return "name more groups."
        return {
            "files": "give the data as several files, or leave sub_problems out.",
            "column": "name a column with several values, or leave sub_problems out.",
        }[self.by]

    def _by_files(self, dataset: DataSet) -> dict[str, NDArray[np.bool_]]:
        (column,) = survey(dataset.files, [dataset.label_name])
        lengths = [part.shape[0] for part in column.parts]
        codes = np.repeat(np.arange(len(lengths)), lengths)
        _check_unchanged(len(codes), dataset)
        known = {path.resolve(): code for code, path in enumerate(dataset.files)}
        if self.groups is None:
            return _each(codes, [path.stem for path in dataset.files], "files")
        groups: dict[str, list[int]] = {}
        for name, paths in self.groups.items():
            found = find_files([str(path) for path in paths])
            for path in found:
                if path.resolve() not in known:
                    raise RecipeError(
                        f"sub_problems.groups: {name!r} names {path}, which is no file of the "
                        "data; name files that the data are read from."
                    )
            groups[name] = [known[path.resolve()] for path in found]
        return _grouped(codes, groups, [str(path) for path in dataset.files])

    def _by_column(self, dataset: DataSet) -> dict[str, NDArray[np.bool_]]:
        assert self.column is not None
        labels, column = survey(dataset.files, [dataset.label_name, self.column])
        _check_unchanged(labels.num_rows, dataset)
        stored = one_column(column.read())
        if stored.ndim != 1 or stored.dtype.kind == "f":
            raise DataError(
                f"{place(column.parts[0].path, self.column)}: expected one whole number or name a "
                f"row to split by, got {stored.dtype} of shape {stored.shape}; store which part "
                "each row belongs to."
            )
        values, codes = np.unique(stored, return_inverse=True)
        if self.groups is None:
            if len(values) > MAX_PARTS:
                raise RecipeError(
                    f"sub_problems.column: {self.column!r} has {len(values)} different values, "
                    f"expected at most {MAX_PARTS}; join them by groups."
                )
            return _each(codes, [str(value) for value in values.tolist()], "values")
        return _grouped(codes, self._codes(values.tolist(), self.column), values.tolist())

    def _by_labels(self, dataset: DataSet) -> dict[str, NDArray[np.bool_]]:
        if (strata := dataset.strata) is None:
            raise RecipeError(
                f"sub_problems.by is 'labels', which needs classes, and this is {dataset.task}; "
                "use by='column' or by='files'."
            )
        groups = self._codes(strata.names, "the labels")
        return _grouped(strata.codes, groups, strata.names)

    def _codes(self, values: Sequence[Any], where: str) -> dict[str, list[int]]:
        """Return the groups with the place of each of their values."""
        assert self.groups is not None
        places = {(isinstance(value, bool), value): place for place, value in enumerate(values)}
        groups: dict[str, list[int]] = {}
        for name, members in self.groups.items():
            for member in members:
                if (isinstance(member, bool), member) not in places:
                    hint = _hint(member, values)
                    raise RecipeError(
                        f"sub_problems.groups: {name!r} names {member!r}, which is no value of "
                        f"{where}{hint}; it has {_listed(values)}."
                    )
            groups[name] = [places[isinstance(member, bool), member] for member in members]
        return groups


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
            f"{dataset.labels_place}: the files held {dataset.num_rows} rows and now hold "
            f"{num_rows}; start again when nothing writes to them."
        )


def _check_part(part: SubProblem, dataset: DataSet) -> None:
    """Refuse a part that some fold cannot train on, or be scored by."""
    remedy = "join it with another part by groups, use fewer folds or add rows"
    for fold in part.plan.folds:
        assert fold.scored is not None
        for what, number in (
            ("train on", len(fold.training_rows)),
            ("be scored by", int(np.count_nonzero(fold.scored))),
        ):
            if not number:
                raise DataError(
                    f"sub_problems: part {part.name!r} has {part.num_rows} development rows, none "
                    f"for fold {fold.index} to {what}; {remedy}."
                )
        if (strata := dataset.strata) is None:
            continue
        present = np.unique(strata.codes[fold.training_rows])
        if len(present) < 2:
            raise DataError(
                f"sub_problems: part {part.name!r} has the class {strata.names[present[0]]!r} "
                f"alone to train on in fold {fold.index}; join it with another part by groups."
            )


def _listed(values: Iterable[object]) -> str:
    texts = [repr(value) for value in values]
    more = len(texts) - _MAX_SHOWN
    return ", ".join([*texts[:_MAX_SHOWN], *([f"{more} more"] if more > 0 else [])])
