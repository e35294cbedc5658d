import dataclasses
from collections.abc import Callable

import pandas as pd
import pytest

from rayfold.report import best_trial, logged_table, table_text, trials_table
from rayfold.report.tables import best_first, failed_table
from rayfold.results import Mode, TrialResult
from rayfold.tracking import LoggedStudy, LoggedTrial
from tests.descriptions import study_description

MakeResult = Callable[..., TrialResult]


def order(results: list[TrialResult], mode: Mode) -> list[str]:
    return [result.id for result in best_first(results, mode)]


def test_completed_trials_come_first_by_their_score_then_stopped_then_failed(
    make_result: MakeResult,
) -> None:
    results = [
        make_result("0000", None, status="failed"),
        make_result("0001", 0.1, status="stopped"),
        make_result("0002", 0.75),
        make_result("0003", 0.25),
        make_result("0004", None, status="stopped"),
    ]
    assert order(results, "min") == ["0003", "0002", "0001", "0004", "0000"]
    assert order(results, "max") == ["0002", "0003", "0001", "0004", "0000"]


def test_of_equal_scores_the_earlier_trial_comes_first(make_result: MakeResult) -> None:
    results = [make_result("0001"), make_result("0000")]
    assert order(results, "min") == order(results, "max") == ["0000", "0001"]


def test_the_table_has_one_row_per_trial_best_first(make_result: MakeResult) -> None:
    results = [
        make_result("0000", 0.5),
        make_result("0001", 0.25, num_folds=1, standard_error=None),
    ]
    table = trials_table(results, metric="val_loss", mode="min")
    assert list(table.columns) == [
        "trial",
        "status",
        "val_loss",
        "standard_error",
        "folds",
        "seconds",
        "model.channels",
        "optimizer.learning_rate",
    ]
    assert table["trial"].tolist() == ["0001", "0000"]
    assert table["val_loss"].tolist() == [0.25, 0.5]
    assert table["folds"].tolist() == [1, 2]
    assert table["seconds"].tolist() == [1.25, 2.5]
    assert table["model.channels"].tolist() == [8, 8]


def test_conditional_hyperparameters_are_empty_where_they_do_not_apply(
    make_result: MakeResult,
) -> None:
    results = [
        make_result("0000", 0.25, config={"optimizer.name": "adamw"}),
        make_result("0001", 0.5, config={"optimizer.name": "sgd", "optimizer.momentum": 0.9}),
    ]
    table = trials_table(results, metric="val_loss", mode="min")
    assert table["optimizer.momentum"].isna().tolist() == [True, False]
    first, second = table_text(table).splitlines()[1:]
    assert first.split()[:2] == ["0000", "completed"]
    assert "nan" not in first.lower()
    assert second.split()[-2:] == ["sgd", "0.9"]


def test_a_trial_without_a_whole_fold_has_no_seconds(make_result: MakeResult) -> None:
    stopped = dataclasses.replace(make_result("0000", 0.25, status="stopped"), folds=())
    table = trials_table([stopped], metric="val_loss", mode="min")
    assert table["folds"].tolist() == [0]
    assert table["seconds"].isna().tolist() == [True]


def test_without_trials_the_table_still_has_its_columns() -> None:
    table = trials_table([], metric="val_f1", mode="max")
    assert list(table.columns)[:3] == ["trial", "status", "val_f1"]
    assert table_text(table) == "no completed trials yet"


def test_text_shows_numbers_at_four_digits_and_whole_numbers_whole() -> None:
    table = pd.DataFrame({"score": [0.123456, None], "rate": [1e-05, 2.0], "rows": [100_000, 7]})
    lines = [line.split() for line in table_text(table).splitlines()]
    assert lines == [["score", "rate", "rows"], ["0.1235", "1e-05", "100000"], ["2", "7"]]


def test_what_mlflow_holds_gives_the_same_table_without_the_seconds() -> None:
    study = LoggedStudy(
        name="digits",
        id="a",
        run_id="b",
        description=study_description(
            metric="val_accuracy", metrics=["f1", "accuracy"], mode="max"
        ),
        trials=(),
        _downloads=None,  # type: ignore[arg-type]  # nothing is fetched
    )
    assert list(logged_table(study).columns) == [
        "trial",
        "status",
        "val_accuracy",
        "standard_error",
        "val_f1",
        "val_f1_standard_error",
        "val_loss",
        "val_loss_standard_error",
        "folds",
    ]


def test_every_metric_of_a_study_has_a_column_with_its_standard_error(
    make_result: MakeResult,
) -> None:
    """Both folds have a val_loss of 0.5; neither has an f1."""
    table = trials_table(
        [make_result("0000", 0.25)],
        metric="val_auroc",
        mode="max",
        metrics=("val_auroc", "val_f1", "val_loss"),
    )
    assert table["val_auroc"].tolist() == [0.25]
    assert table["val_loss"].tolist() == [0.5]
    assert table["val_loss_standard_error"].tolist() == [0.0]
    assert table["val_f1"].tolist() == [None]
    header, row = table_text(table).splitlines()
    assert header.split()[:6] == ["trial", "status", "val_auroc", "val_f1", "val_loss", "folds"]
    assert "0.25 ± 0.125" in row
    assert "0.5 ± 0 " in row


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_a_table_fits_the_terminal_and_names_what_it_leaves_out(
    make_result: MakeResult, width: int
) -> None:
    config = {f"model.width_{number}": number for number in range(12)}
    table = trials_table([make_result("0000", config=config)], metric="val_loss", mode="min")
    *lines, last = table_text(table, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split()[0] == "trial"
    left_out = len(table.columns) - 1 - len(lines[0].split())  # a mean and its error share one
    assert last.startswith(f"and {left_out} more")
    assert last.endswith("(--all shows them)")


def test_a_table_that_fits_leaves_nothing_out(make_result: MakeResult) -> None:
    table = trials_table([make_result("0000")], metric="val_loss", mode="min")
    whole = table_text(table)
    assert table_text(table, width=len(whole.splitlines()[0])) == whole


def test_the_best_trial_is_a_completed_one_or_none(make_result: MakeResult) -> None:
    stopped, completed = make_result("0000", 0.1, status="stopped"), make_result("0001", 0.5)
    assert best_trial([stopped, completed], "min") is completed
    assert best_trial([stopped], "min") is None


def test_failed_trials_are_listed_with_what_went_wrong() -> None:
    trial = LoggedTrial(
        run_id="a",
        id="0003",
        config={"model.width": 7},
        status="failed",
        score=None,
        standard_error=None,
        folds=(),
        data_digest="",
        fold_digest="",
        error="RuntimeError: an odd width of 7 (net.py line 10, in __init__)",
        _downloads=None,  # type: ignore[arg-type]  # nothing is fetched
    )
    study = LoggedStudy(
        name="digits",
        id="a",
        run_id="b",
        description=study_description(),
        trials=(
            trial,
            dataclasses.replace(trial, id="0004", status="completed", error=None),
            dataclasses.replace(trial, id="0005", status="stopped", score=0.5, error=None),
            dataclasses.replace(trial, id="0006", status="stopped", error="its time was up"),
        ),
        _downloads=None,  # type: ignore[arg-type]  # nothing is fetched
    )
    table = failed_table(study)
    assert table["trial"].tolist() == ["0003", "0006"]
    assert "net.py line 10, in __init__" in table_text(table)
    assert table_text(table.iloc[:0], empty="no failed trials") == "no failed trials"
