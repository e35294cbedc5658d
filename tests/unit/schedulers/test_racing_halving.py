import pytest

from rayfold.errors import RecipeError
from rayfold.schedulers import RacingHalving


def started() -> RacingHalving:
    scheduler = RacingHalving(rule="forgiving", top=0, reduction=2)
    scheduler.start(mode="min", num_folds=3, epochs=4)  # rungs at 1 and 2
    return scheduler


def test_the_first_fold_is_compared_by_epoch_and_the_others_by_fold() -> None:
    scheduler = started()
    for epoch in (1, 2, 3):
        assert scheduler.report("0000", {0: 0.4}, epoch=epoch) == "go on"
    for folds in ({0: 0.3}, {0: 0.3, 1: 0.2}, {0: 0.3, 1: 0.2, 2: 0.1}):
        assert scheduler.report("0000", folds, epoch=4) == "go on"
    scheduler.finished("0000", "completed")
    assert scheduler.report("0001", {0: 0.5}, epoch=1) == "stop"  # above the median of one
    assert scheduler.report("0002", {0: 0.2}, epoch=1) == "go on"
    assert scheduler.report("0002", {0: 0.4}, epoch=2) == "go on"
    assert scheduler.report("0002", {0: 0.31}, epoch=4) == "stop"  # the incumbent's worst: 0.3


def test_the_settings_hold_those_of_both() -> None:
    settings = RacingHalving(rule="paired", reduction=3).settings()
    assert settings == {
        "racing_halving": {
            "rule": "paired",
            "top": 0.1,
            "level": 0.05,
            "grace_epochs": 1,
            "reduction": 3,
        }
    }


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(RecipeError, match="reduction must be a number above 1"):
        RacingHalving(reduction=0)
