from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rayfold.data import HDF5, DataSet, Folds, SubProblem, SubProblems, load
from rayfold.errors import DataError, RecipeError

Write = Callable[..., Path]
Split = Callable[..., tuple[SubProblem, ...]]

LABELS = [0, 1, 2] * 8
SITES = ["north", "south"] * 12
BY_LABELS: dict[str, Any] = {"by": "labels", "groups": {"small": [0, 1], "large": [1, 2]}}


@pytest.fixture
def source(write: Write) -> HDF5:
    """24 rows in three files of 6, 6 and 12: classes 0, 1, 2 in turn, sites in turn."""
    paths = []
    for name, rows in (
        ("a.h5", slice(0, 6)),
        ("b.h5", slice(6, 12)),
        ("c.h5", slice(12, 24)),
    ):
        arrays = {
            "features": np.arange(24, dtype=np.float32)[rows, None],
            "labels": LABELS[rows],
            "site": SITES[rows],
            "weight": np.arange(24, dtype=np.float32)[rows],
            "number": np.arange(24)[rows],
            "lone": (np.arange(24) > 22)[rows],
        }
        paths.append(write(name, arrays))
    return HDF5(paths)


@pytest.fixture
def data(source: HDF5) -> DataSet:
    return load(source)


@pytest.fixture
def split(source: HDF5, data: DataSet) -> Split:
    """Cut the rows: ``split(by="files")``; two folds unless ``folds`` says more."""

    def cut(folds: int = 2, **settings: Any) -> tuple[SubProblem, ...]:
        plan = Folds(folds).split(data)
        return SubProblems(num_trials=1, **settings).split(data, plan, source)

    return cut


def rows_of(parts: tuple[SubProblem, ...]) -> dict[str, list[int]]:
    return {part.name: np.flatnonzero(part.rows).tolist() for part in parts}


def test_each_file_is_a_part(split: Split) -> None:
    parts = split(by="files")
    assert rows_of(parts) == {
        "a": [*range(6)],
        "b": [*range(6, 12)],
        "c": [*range(12, 24)],
    }
    assert [part.num_rows for part in parts] == [6, 6, 12]


def test_files_in_no_group_are_left_out(split: Split, tmp_path: Path) -> None:
    groups = {"first": [tmp_path / "a.h5"], "last": [str(tmp_path / "[c]*.h5")]}
    assert rows_of(split(by="files", groups=groups)) == {
        "first": [*range(6)],
        "last": [*range(12, 24)],
    }


def test_each_value_of_a_column_is_a_part(split: Split) -> None:
    assert rows_of(split(by="column", column="/site")) == {
        "north": [*range(0, 24, 2)],
        "south": [*range(1, 24, 2)],
    }


def test_groups_join_values_of_a_column(split: Split) -> None:
    groups = {"low": range(10), "high": range(10, 22)}
    lists = {name: list(values) for name, values in groups.items()}
    assert rows_of(split(by="column", column="number", groups=lists)) == {
        "low": [*range(10)],
        "high": [*range(10, 22)],
    }


def test_groups_of_classes_are_parts_and_other_classes_are_in_none(write: Write) -> None:
    path = write("d.h5", {"features": np.zeros((20, 1)), "labels": [*"abcde"] * 4})
    data = load(HDF5(path))
    groups = {"first": ["a", "c"], "second": ["b", "d"]}
    wanted = SubProblems(by="labels", groups=groups, num_trials=3)
    parts = wanted.split(data, Folds(2).split(data), HDF5(path))
    assert {part.name: set(data.labels[part.rows].tolist()) for part in parts} == {
        "first": {0, 2},
        "second": {1, 3},
    }


def test_folds_of_a_part_train_on_it_and_predict_what_the_whole_predicts(
    data: DataSet, split: Split
) -> None:
    plan = Folds(2).split(data)
    for part in split(by="column", column="site"):
        assert part.plan.digest == plan.digest
        for fold, whole in zip(part.plan.folds, plan.folds, strict=True):
            assert set(fold.training_rows) == set(whole.training_rows) & set(
                np.flatnonzero(part.rows)
            )
            assert np.array_equal(fold.validation_rows, whole.validation_rows)
            assert fold.scored is not None
            assert np.array_equal(fold.scored, part.rows[whole.validation_rows])


def test_the_digest_of_a_part_is_that_of_its_rows(split: Split) -> None:
    north, south = split(by="column", column="site")
    (again, _) = split(by="column", column="site")
    assert north.digest == again.digest != south.digest


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "rows"}, r"sub_problems\.by must be 'files', 'column' or 'labels', got 'rows'"),
        ({"by": "files", "num_trials": 0}, r"num_trials must be at least 1, got 0"),
        ({"by": "files", "num_trials": True}, r"num_trials must be a whole number, got true"),
        ({"by": "column"}, r"sub_problems needs a column; name the data set"),
        ({"by": "files", "column": "site"}, r"takes a column for by: column, not for by: files"),
        (
            {"by": "column", "column": "//"},
            r"must be the name of a data set as in the file, got '//'",
        ),
        (
            {"by": "column", "column": 3},
            r"must be the name of a data set as in the file, got 3",
        ),
        ({"by": "labels"}, r"sub_problems needs groups; say which classes"),
        ({"by": "labels", "groups": {}}, r"groups must name at least two parts, got none"),
        ({"by": "labels", "groups": [0, 1]}, r"groups must be a mapping, got \[0, 1\]"),
        ({"by": "labels", "groups": {"../a": [0]}}, r"first of them no dot, got '\.\./a'"),
        ({"by": "labels", "groups": {"a/b": [0]}}, r"letters, digits, dots, .* got 'a/b'"),
        ({"by": "labels", "groups": {1: [0]}}, r"groups must have names of .*, got 1\."),
        ({"by": "labels", "groups": {"a": []}}, r"groups\.a must not be empty"),
        ({"by": "labels", "groups": {"a": "01"}}, r"groups\.a must be a list, got '01'"),
        (
            {"by": "labels", "groups": {"a": [[0]]}},
            r"groups\.a\.0 must be a bool, int, float or text, got",
        ),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_at_once(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        SubProblems(**{"num_trials": 1, **settings})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (BY_LABELS, r"groups: 'large' names 1 as 'small' does; each belongs to one part"),
        ({"by": "labels", "groups": {"a": [0, 0]}}, r"'a' names 0 twice"),
        ({"by": "labels", "groups": {"a": [0, 7]}}, r"'a' names 7, .* it has 0, 1, 2\."),
        (
            {"by": "labels", "groups": {"a": ["0"]}},
            r"'a' names '0', .* write 0, which is a number",
        ),
        ({"by": "labels", "groups": {"a": [False]}}, r"'a' names False, which is no value of"),
        (
            {"by": "labels", "groups": {"a": [0, 1], "A": [2]}},
            r"the part 'a' differs from another one by case alone, .* name the parts by groups",
        ),
        (
            {"by": "labels", "groups": {"a": [0, 1]}},
            r"there are 1 parts, .* name more groups",
        ),
        (
            {"by": "column", "column": "site", "groups": {"a": ["nord"]}},
            r"'a' names 'nord', which is no value of site \(did you mean 'north'\?\)",
        ),
    ],
)
def test_groups_that_do_not_fit_the_data_are_refused(
    split: Split, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        split(**settings)


def test_a_file_that_is_not_read_is_no_part(split: Split, write: Write) -> None:
    other = write("other.h5", {"features": np.zeros((2, 1)), "labels": [0, 1]})
    with pytest.raises(RecipeError, match=r"'a' names .*other\.h5, which is no file of the data"):
        split(by="files", groups={"a": [other], "b": [other]})


def test_a_single_file_has_no_parts(write: Write) -> None:
    source = HDF5(write("a.h5", {"features": np.zeros((4, 1)), "labels": [0, 1] * 2}))
    data = load(source)
    with pytest.raises(RecipeError, match=r"there are 1 parts, .* give the data as several file"):
        SubProblems(by="files", num_trials=1).split(data, Folds(2).split(data), source)


def test_files_of_one_name_need_groups(write: Write, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    arrays = {"features": np.zeros((4, 1)), "labels": [0, 1] * 2}
    source = HDF5([write("a.h5", arrays), write("x/a.h5", arrays)])
    data = load(source)
    with pytest.raises(RecipeError, match=r"'a' is not the only one that gives 'a'; name the pa"):
        SubProblems(by="files", num_trials=1).split(data, Folds(2).split(data), source)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("weight", r"expected one whole number or name a row to split by, got float32"),
        ("features", r"to split by, got float32"),
        ("absent", r"there is no data set 'absent'"),
    ],
)
def test_a_column_that_does_not_split_is_refused(split: Split, column: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(by="column", column=column)


def test_too_many_values_are_refused(write: Write) -> None:
    path = write(
        "a.h5",
        {"features": np.zeros((130, 1)), "labels": [0, 1] * 65, "id": np.arange(130) // 2},
    )
    source = HDF5(path)
    data = load(source)
    with pytest.raises(RecipeError, match="'id' has 65 different values, expected at most 64"):
        SubProblems(by="column", column="id", num_trials=1).split(
            data, Folds(2).split(data), source
        )


def test_a_part_too_small_for_the_folds_is_refused_by_its_name(split: Split) -> None:
    """One row is True: it validates in one fold, and then there is none to train on."""
    with pytest.raises(
        DataError, match=r"part 'True' has 1 development rows, none for fold \d to .*; join it"
    ):
        split(by="column", column="lone")


def test_a_part_with_one_class_to_train_on_is_refused(split: Split) -> None:
    with pytest.raises(DataError, match=r"part 'b' has the class 2 alone to train on in fold 0"):
        split(by="labels", groups={"a": [0, 1], "b": [2]})


def test_labels_of_a_regression_are_no_parts(write: Write) -> None:
    path = write("a.h5", {"features": np.zeros((4, 1)), "labels": np.arange(4.0)})
    data = load(HDF5(path))
    wanted = SubProblems(by="labels", groups={"a": [0], "b": [1]}, num_trials=1)
    with pytest.raises(RecipeError, match="by is 'labels', which needs classes, and this is reg"):
        wanted.split(data, Folds(2).split(data), HDF5(path))


def test_files_that_have_grown_are_refused(source: HDF5, data: DataSet, write: Write) -> None:
    plan = Folds(2).split(data)
    write("a.h5", {"features": np.zeros((7, 1)), "labels": [0] * 7})
    with pytest.raises(DataError, match=r"there were 24 rows and now there are 25; start again"):
        SubProblems(by="files", num_trials=1).split(data, plan, source)
