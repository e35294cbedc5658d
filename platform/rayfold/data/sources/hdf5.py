"""Rows in HDF5 files. Each file holds one data set for each column."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import AliasChoices, Field

from rayfold.data.inputs import Channels
from rayfold.data.sources.base import Column, Roles, Source
from rayfold.data.sources.hdf5_columns import survey
from rayfold.data.sources.hdf5_files import (
    clean_name,
    clean_names,
    dataset_names,
    find_files,
    holds,
    open_file,
    path_list,
)
from rayfold.errors import DataError
from rayfold.options import options
from rayfold.options.fields import Paths, made

Name = Annotated[str, made(lambda name: clean_name(name))]
"""A data set's path within its file."""

Names = Annotated[
    str | Sequence[str] | None,
    made(lambda names: clean_names(names) if names not in (None, ()) else ()),
]
"""Paths of different data sets, as a list; a single path needs no list. Kept as a tuple."""

_DEFAULT_FEATURES = "features"

MOVED = {
    "task": "an option of the study: write task beside data",
    "test_fraction": "holdout of the study: write holdout: {fraction: 0.2} beside data (in "
    "Python holdout=Holdout(0.2))",
    "random_seed": "random_seed of holdout: write holdout: {fraction: 0.2, random_seed: 0} "
    "beside data (in Python holdout=Holdout(0.2, random_seed=0))",
}
"""Old options of data, each with its replacement."""


@options("data", moved=MOVED)
class HDF5(Source):
    """Rows in one or several HDF5 files."""

    paths: Paths = Field(validation_alias=AliasChoices("hdf5", "paths"))
    """HDF5 file or files; a glob such as data/*.h5 is allowed. The rows are in the order of the
    files; the files of a glob are sorted by name."""
    features: Names = ()
    """Name of the data set that holds the model's input; several names if the model has several
    inputs. Without a name: the data set called features, or the only one that is neither labels
    nor row groups."""
    labels: Name = "labels"
    """Name of the data set that models predict."""
    row_groups: Name | None = None
    """Name of a data set with the group of each row, such as a patient or a device. Rows of one
    group stay together, in the test split and in grouped folds."""
    channels: Channels = "first"
    """Axis of the channels in stored images (rows of 3 or 4 axes). Models always get the channels
    first."""

    def __post_init__(self) -> None:
        for field, named in (("features", self.features or ()), ("row_groups", [self.row_groups])):
            if self.labels in named:
                raise ValueError(
                    f"names {self.labels!r} as labels and in {field}; labels cannot be {field} "
                    "too, so name another data set"
                )

    def under(self, base: Path) -> Self:
        """Return the same source with its relative paths below the folder ``base``."""
        paths = path_list(self.paths)
        return replace(self, paths=[base / Path(path).expanduser() for path in paths])

    def roles(self) -> Roles:
        """Return what the data sets are for; find unnamed features in the first file.

        Raises:
            DataError: If no features are named, and the first file does not show which data set
                they are.
        """
        return Roles(
            features=clean_names(self.features) if self.features else (self._found_features(),),
            labels=self.labels,
            row_groups=self.row_groups,
            channels=self.channels,
        )

    def columns(self, names: Sequence[str]) -> tuple[Column, ...]:
        """Return data sets as columns, checked in every file.

        Raises:
            DataError: If a file or data set is refused, see ``hdf5_files`` and ``hdf5_columns``.
        """
        return survey(find_files(self.paths), names)

    def files(self) -> Mapping[Path, int]:
        """Return the files with their row counts."""
        files = find_files(self.paths)
        return {path: survey([path], [self.labels])[0].num_rows for path in files}

    def _found_features(self) -> str:
        first = find_files(self.paths)[0]
        if self.labels != _DEFAULT_FEATURES and holds(first, _DEFAULT_FEATURES):
            return _DEFAULT_FEATURES
        with open_file(first) as file:
            names = dataset_names(file)
        others = [name for name in names if name not in (self.labels, self.row_groups)]
        if len(others) == 1:
            return others[0]
        raise DataError(
            f"{first}: which data set holds the features? Name it (features=, or fixed.data."
            f"features in a recipe); the file holds {', '.join(map(repr, others)) or 'no other'} "
            f"besides the labels, {self.labels!r}."
        )
