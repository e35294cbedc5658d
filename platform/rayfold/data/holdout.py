"""Splits off the test rows, before anything else happens to the data."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rayfold.errors import DataError
from rayfold.options import options
from rayfold.options.fields import Seed, plain
from rayfold.tasks import Strata


@options("holdout")
class Holdout:
    """The test rows, which no trial sees."""

    fraction: Annotated[float, Field(strict=True, ge=0, lt=1), plain] = 0.0
    """Share of the rows, or of whole row groups; 0 keeps none."""
    random_seed: Seed = 0
    """Seed of the split. The same seed and the same data give the same rows."""

    def split(
        self,
        num_rows: int,
        *,
        strata: Strata | None = None,
        row_groups: NDArray[np.int64] | None = None,
        where: str = "labels",
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Split all rows into development rows and test rows.

        Without row groups, ``fraction`` of the rows (rounded, at least one) are drawn at random.
        With ``strata``, each class gives its share.

        With row groups, whole groups become test rows. The groups are tried in random order. A
        group is taken if it brings the shares of the classes (without ``strata``: the share of
        all rows) closer to ``fraction``. If none does, the group that fits best is taken.

        Args:
            num_rows: How many rows there are.
            strata: The class of each row; None: rows have no classes.
            row_groups: Group of each row, shape ``(rows,)``, counted from 0. Rows of one group
                stay together.
            where: The name of the labels in messages.

        Returns:
            Development rows and test rows: row numbers, sorted.

        Raises:
            DataError: If there are too few rows or groups, or too few rows of a class.
        """
        if self.fraction == 0:
            return np.arange(num_rows, dtype=np.int64), np.empty(0, dtype=np.int64)
        if row_groups is None:
            test = _draw_rows(num_rows, self.fraction, self.random_seed, strata, where)
        else:
            alike = strata or Strata(np.zeros(num_rows, dtype=np.int64), ("any",))
            counts = np.zeros((int(row_groups.max()) + 1, len(alike.names)))
            np.add.at(counts, (row_groups, alike.codes), 1)
            test = np.isin(row_groups, _draw_groups(counts, self.fraction, self.random_seed))
        if test.all():
            raise DataError(
                f"{where}: a holdout of {self.fraction} of {num_rows} rows leaves none to train "
                "on; lower holdout.fraction or add rows (with row_groups: groups)."
            )
        return np.flatnonzero(~test).astype(np.int64), np.flatnonzero(test).astype(np.int64)


def _draw_rows(
    num_rows: int,
    fraction: float,
    random_seed: int,
    strata: Strata | None,
    where: str,
) -> NDArray[np.bool_]:
    from sklearn.model_selection import train_test_split  # two seconds that workers do not need

    num_test = max(1, round(fraction * num_rows))
    test = np.zeros(num_rows, dtype=np.bool_)
    if num_test >= num_rows:
        return ~test
    if strata is not None:
        _check_classes(strata, num_test, fraction, where)
    rows = train_test_split(
        np.arange(num_rows),
        test_size=num_test,
        random_state=random_seed,
        stratify=None if strata is None else strata.codes,
    )[1]
    test[rows] = True
    return test


def _check_classes(strata: Strata, num_test: int, fraction: float, where: str) -> None:
    labels, classes = strata.codes, strata.names
    counts = np.bincount(labels, minlength=len(classes))
    smallest = int(counts.argmin())
    if counts[smallest] < 2:
        raise DataError(
            f"{where}: class {classes[smallest]!r} has {counts[smallest]} row, but a holdout "
            "needs at least 2 rows of each class; add rows or leave out the class."
        )
    for side, num_side, remedy in (
        ("test", num_test, "raise"),
        ("development", len(labels) - num_test, "lower"),
    ):
        if num_side < len(classes):
            raise DataError(
                f"{where}: a holdout of {fraction} of {len(labels)} rows gives {num_side} {side} "
                f"rows, fewer than the {len(classes)} classes; {remedy} holdout.fraction or add "
                "rows."
            )


def _draw_groups(
    counts: NDArray[np.float64], fraction: float, random_seed: int
) -> NDArray[np.intp]:
    """Return the groups of the test side; ``counts`` has shape ``(groups, classes)``."""
    shares = counts / np.maximum(counts.sum(axis=0), 1)
    # RandomState, because NumPy keeps its sequence the same in all versions.
    order = np.random.RandomState(random_seed).permutation(len(shares))
    missing = np.full(shares.shape[1], fraction)
    chosen = []
    for group in order:
        if np.linalg.norm(missing - shares[group]) < np.linalg.norm(missing):
            missing = missing - shares[group]
            chosen.append(group)
    if not chosen:
        distance = np.linalg.norm(fraction - shares[order], axis=1)
        chosen.append(order[int(distance.argmin())])
    return np.array(chosen, dtype=np.intp)
