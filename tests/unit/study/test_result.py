import dataclasses

import pytest

from rayfold.acceptance import Acceptance
from rayfold.errors import RecipeError
from rayfold.results import FoldResult, Status, TrialResult
from rayfold.study import StudyResult


def trial(
    id: str, score: float | None, *accuracies: float, status: Status = "completed"
) -> TrialResult:
    folds = tuple(
        FoldResult(
            fold=number,
            score=0.5,
            history=({"val_loss": 9.0, "val_accuracy": 0.0}, {"val_accuracy": accuracy}),
            started_at=0.0,
            finished_at=1.0,
            busy_seconds=1.0,
            weights="weights.safetensors",
            predictions="predictions.safetensors",
        )
        for number, accuracy in enumerate(accuracies)
    )
    return TrialResult(
        id=id,
        config={"model.depth": 2},
        status=status,
        score=score,
        standard_error=None,
        folds=folds,
        error=None,
        started_at=0.0,
        finished_at=1.0,
    )


def study(*trials: TrialResult) -> StudyResult:
    return StudyResult(
        name="digits",
        metric="val_loss",
        mode="min",
        metrics=("val_loss", "val_accuracy"),
        trials=trials,
        interrupted=False,
        uploaded=True,
        tracking_uri="sqlite:///mlflow.db",
    )


def test_the_best_trial_is_the_completed_one_with_the_best_score() -> None:
    stopped, first, second = (
        trial("0000", 0.1, 0.5, status="stopped"),
        trial("0001", 0.5, 0.5),
        trial("0002", 0.25, 0.5),
    )
    assert study(stopped, first, second).best == second


def test_without_a_completed_trial_there_is_no_best() -> None:
    assert study().best is None
    assert study(trial("0000", None, status="failed")).best is None
    assert study(trial("0000", 0.5, 0.5, status="stopped")).best is None


def test_a_metric_of_a_trial_is_the_mean_after_the_last_epoch() -> None:
    """Of 0.5 and 1 the standard deviation is 0.354, which the root of 2 divides."""
    assert trial("0000", 0.5, 0.5, 1.0).measured("val_accuracy") == pytest.approx((0.75, 0.25))
    assert trial("0000", 0.5, 0.75).measured("val_accuracy") == (0.75, None)
    assert trial("0000", 0.5, 0.75).measured("val_f1") is None
    assert trial("0000", 0.5).measured("val_accuracy") is None


def judged(result: StudyResult, *criteria: Acceptance) -> list[tuple[bool, str]]:
    return [(verdict.met, str(verdict)) for verdict in result.judge(criteria)]


def test_what_is_reached_is_told_with_numbers() -> None:
    assert judged(
        study(trial("0000", 0.5, 0.5, 1.0)),
        Acceptance(metric="val_accuracy", at_least=0.75),
        Acceptance(metric="val_accuracy", at_most=0.75),
    ) == [
        (True, "met: val_accuracy 0.75 ± 0.25, asked for at least 0.75"),
        (True, "met: val_accuracy 0.75 ± 0.25, asked for at most 0.75"),
    ]


def test_each_criterion_that_is_missed_is_a_line() -> None:
    assert judged(
        study(trial("0000", 0.5, 0.5, 1.0)),
        Acceptance(metric="val_accuracy", at_least=0.9),
        Acceptance(metric="val_accuracy", at_most=0.0),
        Acceptance(metric="val_f1", at_least=0.9),
    ) == [
        (False, "not met: val_accuracy 0.75 ± 0.25, asked for at least 0.9"),
        (False, "not met: val_accuracy 0.75 ± 0.25, asked for at most 0"),
        (False, "not met: val_f1 no value, asked for at least 0.9"),
    ]


def test_nothing_is_reached_without_a_completed_trial() -> None:
    assert judged(study(), Acceptance(metric="val_accuracy", at_most=0.9)) == [
        (False, "not met: val_accuracy no value, asked for at most 0.9")
    ]


def test_the_table_is_that_of_the_trials_best_first() -> None:
    result = study(trial("0000", 0.5, 0.5), trial("0001", 0.25, 0.5))
    assert result.table()["trial"].tolist() == ["0001", "0000"]
    assert result.table()["val_accuracy"].tolist() == [0.5, 0.5]
    assert "<td>0001</td>" in result._repr_html_()


@pytest.mark.parametrize("changed", ["name", "trials"])
def test_a_result_cannot_be_changed(changed: str) -> None:
    with pytest.raises(AttributeError):
        setattr(study(), changed, ())


def test_the_schedule_of_a_trial_is_its_configuration_unless_it_has_changed() -> None:
    plain, changed = trial("0000", 0.5, 0.5), trial("0001", 0.5, 0.5)
    steps = ((0, {"model.depth": 2}), (4, {"model.depth": 3}))
    result = study(plain, dataclasses.replace(changed, schedule=steps))
    assert result.schedule("0000") == [(0, {"model.depth": 2})]
    assert result.schedule("0001") == list(steps)
    with pytest.raises(RecipeError, match="trial '7' is not among the finished ones: 0000, 0001"):
        result.schedule("7")
