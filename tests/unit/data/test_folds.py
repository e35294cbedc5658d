import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from rayfold.data import DataSet, FoldPlan, Folds
from rayfold.data.folds import Kind
from rayfold.errors import DataError, RecipeError

Labelled = Callable[..., DataSet]


def validation_parts(plan: FoldPlan) -> list[list[int]]:
    return [fold.validation_rows.tolist() for fold in plan.folds]


@pytest.mark.parametrize("kind", ["auto", "stratified", "plain", "grouped"])
def test_each_development_row_validates_once_and_trains_in_all_other_folds(
    labelled: Labelled, kind: Kind
) -> None:
    rows = [row for row in range(20) if row not in (3, 4)]
    dataset = labelled(
        [0, 1] * 10, row_groups=[row // 2 for row in range(20)], development_rows=rows
    )
    plan = Folds(3, kind=kind).split(dataset)
    assert [fold.index for fold in plan.folds] == [0, 1, 2]
    assert sorted(row for part in validation_parts(plan) for row in part) == rows
    for fold in plan.folds:
        assert sorted([*fold.training_rows, *fold.validation_rows]) == rows
        for part in (fold.training_rows, fold.validation_rows):
            assert part.dtype == np.int64
            assert np.all(np.diff(part) > 0)


def test_stratified_folds_hold_each_class_in_its_share(labelled: Labelled) -> None:
    dataset = labelled([0] * 9 + [1] * 3)
    for fold in Folds(3).split(dataset).folds:
        assert np.bincount(dataset.labels[fold.validation_rows]).tolist() == [3, 1]


@pytest.mark.parametrize("values", [[0, 1] * 6, [float(number) for number in range(12)]])
def test_grouped_folds_never_part_a_group(
    labelled: Labelled, values: list[int] | list[float]
) -> None:
    groups = [row // 2 for row in range(12)]
    plan = Folds(3).split(labelled(values, row_groups=groups))
    for part in validation_parts(plan):
        assert len(part) == 4
        assert len({groups[row] for row in part}) == 2


def test_grouped_folds_of_classes_spread_the_classes(labelled: Labelled) -> None:
    """Each group has one class; the three groups of bees go to three folds."""
    dataset = labelled([0] * 12 + [1] * 6, row_groups=[row // 2 for row in range(18)])
    for fold in Folds(3).split(dataset).folds:
        assert np.bincount(dataset.labels[fold.validation_rows]).tolist() == [4, 2]


@pytest.mark.parametrize(
    ("dataset_arguments", "like"),
    [
        ({"labels": [0, 1] * 6}, "stratified"),
        ({"labels": [0.5, 1.5] * 6}, "plain"),
        ({"labels": [0, 1] * 6, "row_groups": [0, 1, 2, 3] * 3}, "grouped"),
        ({"labels": [0.5, 1.5] * 6, "row_groups": [0, 1, 2, 3] * 3}, "grouped"),
    ],
)
def test_auto_chooses_by_the_data(
    labelled: Labelled, dataset_arguments: dict[str, object], like: Kind
) -> None:
    dataset = labelled(**dataset_arguments)
    assert Folds(3).split(dataset).digest == Folds(3, kind=like).split(dataset).digest


@pytest.mark.parametrize("kind", ["stratified", "plain", "grouped"])
def test_same_seed_same_folds_and_another_seed_others(labelled: Labelled, kind: Kind) -> None:
    dataset = labelled([0, 1] * 20, row_groups=[row // 2 for row in range(40)])
    first, again, other = (
        Folds(4, random_seed=seed, kind=kind).split(dataset) for seed in (1, 1, 2)
    )
    assert validation_parts(first) == validation_parts(again)
    assert first.digest == again.digest
    assert validation_parts(first) != validation_parts(other)
    assert first.digest != other.digest


@pytest.mark.parametrize("kind", ["stratified", "plain", "grouped"])
def test_repeats_cut_the_rows_anew(labelled: Labelled, kind: Kind) -> None:
    """The first cut is that without repeats; each row validates once in each."""
    dataset = labelled([0, 1] * 20, row_groups=[row // 2 for row in range(40)])
    folds = Folds(4, random_seed=2**32 - 1, kind=kind, repeats=3)
    parts = validation_parts(folds.split(dataset))
    assert folds.total == len(parts) == 12
    assert parts[:4] == validation_parts(Folds(4, random_seed=2**32 - 1, kind=kind).split(dataset))
    cuts = [parts[start : start + 4] for start in (0, 4, 8)]
    for cut in cuts:
        assert sorted(row for part in cut for row in part) == list(range(40))
    assert cuts[0] != cuts[1] != cuts[2] != cuts[0]


@pytest.mark.parametrize("repeats", [0, -1, 1.5, True])
def test_repeats_are_a_whole_number_from_one_on(repeats: object) -> None:
    with pytest.raises(
        RecipeError, match=r"folds\.repeats must be (at least 1|a whole number), got"
    ):
        Folds(3, repeats=repeats)  # type: ignore[arg-type]


def test_the_digest_changes_with_the_data_alone(labelled: Labelled) -> None:
    one, other = (Folds(2).split(labelled([0, 1] * 4, digest=digest)) for digest in ("aa", "ab"))
    assert validation_parts(one) == validation_parts(other)
    assert one.digest != other.digest


def test_the_digest_is_of_little_endian_row_numbers(labelled: Labelled) -> None:
    """Written out by hand, so that it is the same on every machine."""
    plan = Folds(2).split(labelled([0.0, 1.0], digest="aa"))
    ((first,), (second,)) = validation_parts(plan)
    row = {0: bytes(8), 1: b"\x01" + bytes(7)}
    expected = b"aa" + b"[0, 1, 1]" + row[second] + row[first]
    expected += b"[1, 1, 1]" + row[first] + row[second]
    assert plan.digest == hashlib.sha256(expected).hexdigest()


def test_the_folds_of_a_known_seed_stay_as_they_are(labelled: Labelled) -> None:
    """A changed partition would make old studies' trials impossible to combine with new ones."""
    plan = Folds(3, random_seed=7).split(labelled([0, 0, 0, 1, 1, 1]))
    assert validation_parts(plan) == [[2, 3], [1, 4], [0, 5]]


def test_a_class_smaller_than_the_number_of_folds_is_refused(labelled: Labelled) -> None:
    with pytest.raises(
        DataError,
        match=r"data set 'labels': class 'bee' has 3 development rows, fewer than the 5 folds; "
        r"use at most 3 folds, add rows of this class or leave it out\.",
    ):
        Folds(5).split(labelled([0] * 20 + [1] * 3))


@pytest.mark.parametrize("kind", ["stratified", "plain", "grouped"])
def test_a_class_whose_rows_went_to_the_test_is_refused(labelled: Labelled, kind: Kind) -> None:
    dataset = labelled(
        [0] * 20 + [1] * 3, row_groups=list(range(23)), development_rows=list(range(20))
    )
    with pytest.raises(DataError, match="class 'bee' has 0 development rows, fewer than the 2"):
        Folds(2, kind=kind).split(dataset)


def test_the_number_of_small_classes_is_told(labelled: Labelled) -> None:
    with pytest.raises(
        DataError, match=r"class 'cat' has 1 development row, .* \(2 classes are too small\); add"
    ):
        Folds(3).split(labelled([0] * 5 + [1] * 2 + [2]))


def test_too_few_rows_and_groups_are_refused(labelled: Labelled) -> None:
    with pytest.raises(DataError, match="3 development rows are too few for 5 folds"):
        Folds(5).split(labelled([0.5, 1.5, 2.5]))
    with pytest.raises(
        DataError, match="2 row groups among the development rows are too few for 3 folds"
    ):
        Folds(3).split(labelled([0, 1] * 4, row_groups=[0, 1] * 4))


def test_a_class_that_a_fold_could_not_train_is_refused(labelled: Labelled) -> None:
    """All bees are in group 4, which validates as a whole."""
    dataset = labelled([0] * 8 + [1] * 3, row_groups=[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 4])
    with pytest.raises(DataError, match=r"all rows of class 'bee' validate in fold [01], so that"):
        Folds(2).split(dataset)


def test_kinds_that_do_not_suit_the_data_are_refused(labelled: Labelled) -> None:
    with pytest.raises(DataError, match="kind 'stratified' need classes, and this is regression"):
        Folds(2, kind="stratified").split(labelled([0.5, 1.5]))
    with pytest.raises(DataError, match="kind 'grouped' need row groups; name their data set"):
        Folds(2, kind="grouped").split(labelled([0, 1] * 2))


@pytest.mark.parametrize("count", [1, 0, 2.5, "5", True])
def test_fewer_than_two_folds_are_refused(count: int) -> None:
    with pytest.raises(
        RecipeError, match=r"folds\.count must be (at least 2|a whole number), got"
    ):
        Folds(count)


def test_more_folds_than_anyone_trains_are_refused_before_they_are_cut() -> None:
    with pytest.raises(RecipeError, match="at most 1,000 for each trial, got count 3 times repea"):
        Folds(3, repeats=1_000_000)


def test_unknown_kinds_and_seeds_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"folds\.kind must be 'auto', .* got 'random'"):
        Folds(5, kind="random")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="random_seed must be at least 0, got -1"):
        Folds(5, random_seed=-1)
