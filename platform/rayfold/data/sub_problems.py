"""Sub-problems: the rows of a data set cut into parts that studies of their own are run on.

::

    rf.SubProblems(by="files", num_trials=8)
    rf.SubProblems(by="column", column="site", num_trials=8)
    rf.SubProblems(by="labels", groups={"even": [0, 2, 4], "odd": [1, 3, 5]}, num_trials=8)
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rayfold.data.dataset import DataSet
from rayfold.data.folds import FoldPlan
from rayfold.data.parts import by_column, by_files, by_labels
from rayfold.data.sources import Source
from rayfold.data.sources.hdf5 import Name
from rayfold.errors import DataError, RecipeError
from rayfold.options import options
from rayfold.options.fields import Count, ValueLists, made

By: TypeAlias = Literal["files", "column", "labels"]

_PART_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,49}"


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
    """What a part is: each file, each value of a column, or each group of classes."""
    num_trials: Count
    """Trials of each part."""
    column: Name | None = None
    """Column with a whole number, a boolean or a name for each row, for parts by column; in
    HDF5 files a data set."""
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

    def split(self, dataset: DataSet, plan: FoldPlan, source: Source) -> tuple[SubProblem, ...]:
        """Cut a data set into parts, each with folds of its own.

        Args:
            dataset: As it was loaded.
            plan: The folds of all rows.
            source: Where its rows come from.

        Returns:
            The parts, sorted as their files or values are, or in the order of ``groups``.

        Raises:
            RecipeError: If ``groups`` names what is not there, or there are fewer than 2 parts or
                too many.
            DataError: If the column cannot be read, or a part is too small for the folds.
        """
        if self.by == "labels":
            assert self.groups is not None
            masks = by_labels(dataset, self.groups)
        elif self.by == "files":
            masks = by_files(dataset, source, self.groups)
        else:
            assert self.column is not None
            masks = by_column(dataset, source, self.column, self.groups)
        parts = []
        for name, rows in masks.items():
            num_rows = int(np.count_nonzero(rows[dataset.development_rows]))
            part = SubProblem(name, rows, num_rows, plan.within(rows))
            _check_part(part, dataset)
            parts.append(part)
        return tuple(parts)


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
