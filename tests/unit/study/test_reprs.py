"""What a prompt shows of a study and of what it has found fits in a few lines."""

from typing import Any

import pytest

from rayfold.results import FoldResult, TrialResult
from rayfold.study import StudyResult

FOLD = FoldResult(
    fold=2,
    score=0.25,
    history=({"val_loss": 0.25, "finished_at": 1.0},) * 200,
    started_at=0.0,
    finished_at=9.0,
    busy_seconds=8.5,
    weights="w" * 300,
    predictions="p" * 300,
)
TRIAL = TrialResult(
    id="0007",
    config={f"model.parameter_{number}": number / 7 for number in range(40)},
    status="completed",
    score=0.25,
    standard_error=0.0125,
    folds=(FOLD,) * 20,
    error="Traceback (most recent call last):\n" * 100,
    started_at=0.0,
    finished_at=9.0,
)
RESULT = StudyResult(
    name="d" * 100,
    metric="val_loss",
    mode="min",
    metrics=("val_loss", "val_accuracy"),
    trials=(TRIAL,) * 100,
    interrupted=True,
    uploaded=True,
    tracking_uri="sqlite:///mlflow.db",
)


@pytest.mark.parametrize("shown", [FOLD, TRIAL, RESULT], ids=lambda shown: type(shown).__name__)
def test_a_repr_is_a_line_of_200_characters_at_most(shown: Any) -> None:
    assert "\n" not in repr(shown)
    assert len(repr(shown)) <= 200


def test_a_repr_says_what_it_is_and_how_good() -> None:
    assert repr(FOLD) == "<FoldResult 2: score 0.25 after 200 epochs, 8.5 s>"
    assert repr(TRIAL).startswith("<TrialResult 0007 completed: score 0.25 ± 0.013, 20 folds, mod")
    assert "100 completed, interrupted; best 0007 with 0.25>" in repr(RESULT)
