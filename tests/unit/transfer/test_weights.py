from typing import Any

import numpy as np
import pytest

from rayfold.data import SeenRows
from rayfold.errors import RecipeError
from rayfold.transfer.requests import InitialWeights
from rayfold.transfer.weights import _matched_folds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"studies": []}, "must be text, or a list of one or more texts"),
        ({"studies": 3}, "must be text, or a list of one or more texts"),
        ({"studies": ["a", ""]}, "must be text, or a list of one or more texts"),
        ({"studies": ["a", "a"]}, "must not name anything twice"),
        ({"studies": "a", "shrink": 0}, "shrink must be above 0, got 0"),
        ({"studies": "a", "shrink": "0.5"}, "shrink must be"),
        ({"studies": "a", "noise": -0.1}, "noise must be at least 0, got -0.1"),
        ({"studies": "a", "noise": float("nan")}, "noise must be"),
        ({"studies": "a", "noise": True}, "noise must be"),
        ({"studies": "a", "learning_rate_factor": 1.5}, "learning_rate_factor must be"),
        ({"studies": "a", "frozen_epochs": 1.0}, "frozen_epochs must be a whole number"),
        ({"studies": "a", "frozen_epochs": -1}, "frozen_epochs must be at least 0, got -1"),
    ],
)
def test_wrong_requests_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        InitialWeights(**arguments)
    assert "\n" not in str(error.value)


def seen_rows(*folds: list[int], inherited: dict[int, list[int]] | None = None) -> SeenRows:
    """Of ten rows with the digests 0 to 9, those that train in each fold."""
    training = np.zeros((len(folds), 10), dtype=bool)
    for number, rows in enumerate(folds):
        training[number, rows] = True
    past = {fold: np.array(rows) for fold, rows in (inherited or {}).items()}
    return SeenRows(np.arange(10), training, past)


def test_a_fold_gets_a_model_that_has_not_seen_its_secrets() -> None:
    old = seen_rows([0, 1, 2], [3, 4, 5], [6, 7])
    # the first fold's own number has seen row 1; nothing else will do for the last one
    secrets = [np.array([1]), np.array([0, 1]), np.array([0, 3])]
    assert _matched_folds(old, secrets) == (1, 1, 2)


def test_folds_without_a_clean_model_begin_cold() -> None:
    old = seen_rows([0, 1], [1, 2])
    assert _matched_folds(old, [np.array([1]), np.array([0]), np.array([99])]) == (None, 1, 0)


def test_what_a_model_began_with_counts_as_seen() -> None:
    old = seen_rows([0], [1], inherited={0: [7], 1: [8]})
    assert _matched_folds(old, [np.array([7]), np.array([8])]) == (1, 0)
