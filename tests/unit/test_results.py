import dataclasses
import json
import math

import pytest

from rayfold.results import FoldResult, mean_and_standard_error


def test_the_standard_error_is_the_deviation_over_the_root_of_the_number() -> None:
    """Deviations -1, 0 and 1: variance 2 / 2 = 1, and 1 / 3 of it under the root."""
    mean, error = mean_and_standard_error([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert error == pytest.approx(math.sqrt(1 / 3))


def test_equal_scores_have_no_error() -> None:
    assert mean_and_standard_error([0.1, 0.1, 0.1])[1] == pytest.approx(0.0, abs=1e-15)


def test_one_score_has_no_standard_error() -> None:
    assert mean_and_standard_error([0.25]) == (0.25, None)


def test_the_mean_does_not_depend_on_the_order() -> None:
    """Added from the left, 1e16 + 1 - 1e16 is 0."""
    assert mean_and_standard_error([1e16, 1.0, -1e16])[0] == 1 / 3
    assert mean_and_standard_error([1e16, -1e16, 1.0])[0] == 1 / 3


def test_without_scores_there_is_no_mean() -> None:
    with pytest.raises(ValueError, match=r"scores is empty; a trial needs at least one finished"):
        mean_and_standard_error([])


def test_a_folds_result_comes_back_from_json_as_it_was() -> None:
    result = FoldResult(
        fold=2,
        score=0.1,
        history=({"val_loss": 0.5, "finished_at": 2.5}, {"val_loss": 0.1, "finished_at": 3.5}),
        started_at=1.5,
        finished_at=4.0,
        busy_seconds=2.0,
        weights="trials/0000/fold_2/weights.safetensors",
        predictions="trials/0000/fold_2/predictions.safetensors",
    )
    again = FoldResult.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again == result
    assert isinstance(again.history, tuple)
    assert set(result.to_dict()) == {field.name for field in dataclasses.fields(FoldResult)}
