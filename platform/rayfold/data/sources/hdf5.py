"""Rows in HDF5 files, with a data set of each file for each column."""

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
"""Paths of different data sets; one alone may stand without a list. Kept as a tuple."""

_DEFAULT_FEATURES = "features"


@options(
    "data",
    moved={
        "task": "an option of the study: write task beside data",
        "test_fraction": "holdout of the study: write holdout: {fraction: 0.2} beside data (in "
        "Python holdout=Holdout(0.2))",
        "random_seed": "random_seed of holdout: write holdout: {fraction: 0.2, random_seed: 0} "
        "beside data (in Python holdout=Holdout(0.2, random_seed=0))",
    },
)
class HDF5(Source):
    """Where the rows lie: in one HDF5 file, or in several."""

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
    channels: Channels = "first"
    """Axis of the channels of images (rows of 3 or 4 axes), as stored; models get them first."""

    def __post_init__(self) -> None:
        for field, named in (("features", self.features or ()), ("row_groups", [self.row_groups])):
            if self.labels in named:
                raise ValueError(
                    f"names {self.labels!r} as labels and in {field}; what is to be predicted "
                    "cannot be given too"
                )

    def under(self, base: Path) -> Self:
        """Return the same with relative paths that start at a folder."""
        paths = path_list(self.paths)
        return replace(self, paths=[base / Path(path).expanduser() for path in paths])

    def roles(self) -> Roles:
        """Return what the data sets are for; the first file tells the features if need be.

        Raises:
            DataError: If no features are named, and the file has not one data set that they can
                be.
        """
        return Roles(
            features=clean_names(self.features) if self.features else (self._found_features(),),
            labels=self.labels,
            row_groups=self.row_groups,
            channels=self.channels,
        )

    def columns(self, names: Sequence[str]) -> tuple[Column, ...]:
        """Return data sets, vetted in every file.

        Raises:
            DataError: If a file or data set is refused, see ``hdf5_files`` and ``hdf5_columns``.
        """
        return survey(find_files(self.paths), names)

    def files(self) -> Mapping[Path, int]:
        """Return the files with their numbers of rows."""
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
            f"beside the labels, {self.labels!r}."
        )
