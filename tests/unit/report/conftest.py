from collections.abc import Callable
from typing import Any

import pytest

from rayfold.results import FoldResult, TrialResult

MakeResult = Callable[..., TrialResult]


def make_fold(number: int) -> FoldResult:
    return FoldResult(
        fold=number,
        score=0.5,
        history=({"val_loss": 0.5},),
        started_at=0.0,
        finished_at=2.0,
        busy_seconds=1.25,
        weights="weights.safetensors",
        predictions="predictions.safetensors",
    )


@pytest.fixture
def make_result() -> MakeResult:
    """Make a trial of 2 folds, 1.25 seconds each: ``make_result("0000", 0.5, status=...)``."""

    def make(
        id: str, score: float | None = 0.5, *, num_folds: int = 2, **changes: Any
    ) -> TrialResult:
        values: dict[str, Any] = {
            "config": {"model.channels": 8, "optimizer.learning_rate": 0.01},
            "status": "completed",
            "standard_error": None if score is None else 0.125,
            "error": None,
        }
        return TrialResult(
            id=id,
            score=score,
            folds=tuple(make_fold(number) for number in range(num_folds)),
            started_at=0.0,
            finished_at=4.0,
            **{**values, **changes},
        )

    return make
