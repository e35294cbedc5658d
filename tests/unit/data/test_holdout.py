import numpy as np
import pytest

from rayfold.data import Holdout
from rayfold.errors import DataError, RecipeError
from rayfold.tasks import Strata

LABELS = np.repeat([0, 1], [80, 20])  # 80 ants, then 20 bees
STRATA = Strata(LABELS, ("ant", "bee"))


def test_each_class_gives_its_share_of_the_test_rows() -> None:
    development, test = Holdout(0.25).split(100, strata=STRATA)
    assert np.bincount(LABELS[test]).tolist() == [20, 5]
    assert np.bincount(LABELS[development]).tolist() == [60, 15]


@pytest.mark.parametrize("strata", [STRATA, None])
@pytest.mark.parametrize("row_groups", [np.arange(100) // 5, None])
def test_each_row_is_on_one_side_and_both_are_sorted(
    strata: Strata | None, row_groups: np.ndarray | None
) -> None:
    development, test = Holdout(0.25).split(100, strata=strata, row_groups=row_groups)
    assert sorted([*development, *test]) == list(range(100))
    assert len(test) == 25
    for rows in (development, test):
        assert rows.dtype == np.int64
        assert np.all(np.diff(rows) > 0)


@pytest.mark.parametrize("row_groups", [np.arange(100) // 5, None])
def test_the_seed_decides_alone(row_groups: np.ndarray | None) -> None:
    first, again, other = (
        Holdout(0.2, random_seed=seed).split(100, row_groups=row_groups)[1].tolist()
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_a_fraction_of_zero_keeps_all_rows_for_development() -> None:
    development, test = Holdout(0.0).split(100, strata=STRATA)
    assert development.tolist() == list(range(100))
    assert test.tolist() == []
    assert test.dtype == np.int64


def test_rows_without_strata_are_split_plainly() -> None:
    development, test = Holdout(0.3).split(10)
    assert (len(development), len(test)) == (7, 3)


def test_a_tiny_fraction_still_gives_one_row() -> None:
    assert len(Holdout(0.01).split(10)[1]) == 1


def test_row_groups_are_never_on_both_sides_and_classes_keep_their_share() -> None:
    """20 groups of 5 rows, each of one class: 4 of 16 and 1 of 4 groups go to the test."""
    row_groups = np.arange(100) // 5
    for seed in range(5):
        development, test = Holdout(0.25, random_seed=seed).split(
            100, strata=STRATA, row_groups=row_groups
        )
        assert not set(row_groups[development]) & set(row_groups[test])
        assert np.bincount(LABELS[test]).tolist() == [20, 5]


def test_with_groups_larger_than_the_fraction_the_best_fitting_one_is_taken() -> None:
    """A tenth is asked for; of groups with 6, 3 and 3 rows, one with 3 comes closest."""
    row_groups = np.repeat([0, 1, 2], [6, 3, 3])
    for seed in range(4):
        test = Holdout(0.1, random_seed=seed).split(12, row_groups=row_groups)[1]
        assert len(test) == 3


@pytest.mark.parametrize("random_seed", [2**32, 1.5, -1])
def test_a_seed_that_generators_do_not_take_is_refused(random_seed: int) -> None:
    with pytest.raises(RecipeError, match=r"^holdout\.random_seed must be "):
        Holdout(0.2, random_seed=random_seed)


@pytest.mark.parametrize("fraction", [1.0, 1, -0.1, float("nan"), "0.2", True, None])
def test_a_fraction_outside_zero_to_one_is_refused(fraction: float) -> None:
    with pytest.raises(RecipeError, match=r"^holdout\.fraction must be "):
        Holdout(fraction)


def test_a_class_of_one_row_cannot_be_split() -> None:
    with pytest.raises(
        DataError, match="labels: class 'bee' has 1 row, but a holdout needs at least 2"
    ):
        Holdout(0.5).split(4, strata=Strata(np.array([0, 0, 0, 1]), ("ant", "bee")))


def test_fewer_test_rows_than_classes_are_refused() -> None:
    with pytest.raises(
        DataError,
        match=r"a holdout of 0\.01 of 100 rows gives 1 test rows, fewer than the 2 classes; raise",
    ):
        Holdout(0.01).split(100, strata=STRATA)


def test_fewer_development_rows_than_classes_are_refused() -> None:
    with pytest.raises(DataError, match=r"gives 1 development rows, fewer than the 2 .*; lower"):
        Holdout(0.99).split(100, strata=STRATA)


@pytest.mark.parametrize("row_groups", [None, np.zeros(4, dtype=np.int64)])
def test_a_split_without_development_rows_is_refused(row_groups: np.ndarray | None) -> None:
    with pytest.raises(
        DataError, match=r"a holdout of 0\.9 of 4 rows leaves none to train on; lower"
    ):
        Holdout(0.9).split(4, row_groups=row_groups)
