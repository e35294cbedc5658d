"""Files that a user names after training: they hold new rows, or the rows of the study.

They are HDF5 files with a data set for each column, whatever source the study had.
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from rayfold.data.labels import one_column
from rayfold.data.sources.base import Roles, Source, read_features
from rayfold.data.sources.hdf5 import HDF5
from rayfold.data.sources.hdf5_columns import survey
from rayfold.data.sources.hdf5_files import clean_name, clean_names, find_files, holds
from rayfold.errors import DataError
from rayfold.options.fields import Paths


def source_of(paths: Paths, roles: Roles) -> Source:
    """Return a source that reads HDF5 files.

    Args:
        paths: A file, a glob or a list of these.
        roles: What their data sets are for.
    """
    return HDF5(
        paths,
        features=roles.features,
        labels=roles.labels,
        row_groups=roles.row_groups,
        channels=roles.channels,
    )


def load_features(paths: Paths, features: str | Sequence[str]) -> tuple[NDArray[Any], ...]:
    """Read only the features, for prediction; the files need no labels.

    Args:
        paths: A file, a glob or a list of these.
        features: The names of the data sets, in the order of the model's inputs.

    Returns:
        One array for each name, rows first, in the type of the file.

    Raises:
        DataError: If a file or a data set is refused.
    """
    return read_features(survey(find_files(paths), clean_names(features)))


def load_labels(
    paths: Paths, name: str, *, features: str | Sequence[str] = ()
) -> NDArray[Any] | None:
    """Read labels as they are stored; return None if no file has a data set of that name.

    Args:
        paths: A file, a glob or a list of these.
        name: The name of the data set.
        features: Names of data sets that must have as many rows as the labels, in each file.

    Returns:
        Labels of shape ``(rows,)`` or ``(rows, outputs)``, not encoded; ``(rows, 1)`` becomes
        ``(rows,)``. Strings are an object array of ``str``.

    Raises:
        DataError: If a file is refused, or only some of the files have the data set.
    """
    files, name = find_files(paths), clean_name(name)
    without = [path for path in files if not holds(path, name)]
    if len(without) == len(files):
        return None
    if without:
        raise DataError(
            f"{without[0]}: there is no data set {name!r}, but other files of the list have it; "
            "add it to this file too."
        )
    beside = clean_names(features) if features else ()
    return one_column(survey(files, [*beside, name])[-1].read())
