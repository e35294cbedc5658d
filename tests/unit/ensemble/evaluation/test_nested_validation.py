import math

import numpy as np
import pytest

from rayfold.ensemble import Best, OutOfFold
from rayfold.ensemble.evaluation.nested_validation import compare, evaluate, reason
from rayfold.tasks import Classification, Regression


def of_true_class(*candidates: tuple[float, ...]) -> OutOfFold:
    """Two classes; every row is of class 0 and a fold of its own."""
    probabilities = np.array(candidates)
    return OutOfFold(
        task=Classification(),
        predictions=np.stack([probabilities, 1 - probabilities], axis=-1).astype(np.float32),
        present=np.ones(probabilities.shape, bool),
        complete=np.ones(len(probabilities), bool),
        target=np.zeros(probabilities.shape[1], np.int64),
        folds=np.arange(probabilities.shape[1]),
    )


def test_each_row_is_predicted_by_what_was_best_on_the_others() -> None:
    """Each candidate is good on one row: what is chosen on the other one is always wrong."""
    evaluation = evaluate(Best(1, calibrate=False), of_true_class((0.9, 0.2), (0.2, 0.9)))
    assert evaluation.predictions[:, 0] == pytest.approx([0.2, 0.2])
    assert evaluation.loss == pytest.approx(-math.log(0.2))


def test_the_standard_error_is_that_of_the_mean_over_rows() -> None:
    evaluation = evaluate(Best(1, calibrate=False), of_true_class((0.5, 0.25)))
    assert evaluation.losses == pytest.approx([math.log(2), math.log(4)])
    assert evaluation.standard_error == pytest.approx(math.log(2) / 2)


def test_builders_come_with_the_lowest_nested_loss_first_and_a_reason() -> None:
    """In the sample, the better one of two is best; nested, both together are."""
    out_of_fold = of_true_class((0.9, 0.2), (0.2, 0.9))
    found = compare([Best(1, calibrate=False), Best(2, calibrate=False)], out_of_fold)
    assert [repr(evaluation.builder) for evaluation in found] == [
        "best(num_members=2, weighting='uniform', calibrate=False)",
        "best(num_members=1, weighting='uniform', calibrate=False)",
    ]
    assert reason(found, Classification()) == (
        "best(num_members=2, weighting='uniform', calibrate=False) has a nested out-of-fold log "
        "loss of 0.5978 ± 0, the lowest of 2 builders; the next one, "
        "best(num_members=1, weighting='uniform', calibrate=False), has 1 ± 0 more."
    )
    assert reason(found[:1], Regression()).endswith("0; no other builder was tried.")


def test_what_was_stopped_is_evaluated_where_it_has_rows() -> None:
    """The second candidate is perfect where it is; elsewhere the first one stands alone."""
    present = np.array([[True, True, True], [True, True, False]])
    predictions = np.array([[[1.0], [1.0], [1.0]], [[0.0], [0.0], [0.0]]], np.float32)
    out_of_fold = OutOfFold(
        task=Regression(),
        predictions=predictions,
        present=present,
        complete=np.all(present, axis=1),
        target=np.zeros((3, 1), np.float32),
        folds=np.arange(3),
    )
    assert evaluate(Best(2), out_of_fold).losses.tolist() == [0.25, 0.25, 1.0]
