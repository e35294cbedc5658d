from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler

from rayfold.errors import RecipeError
from rayfold.results import Mode
from rayfold.schedulers import Halving


def started(mode: Mode = "min", *, epochs: int = 9, **options: object) -> Halving:
    halving = Halving(**options)  # type: ignore[arg-type]
    halving.start(mode=mode, num_folds=2, epochs=epochs)
    return halving


def test_rungs_grow_by_the_reduction_below_the_last_epoch() -> None:
    assert started(reduction=3).rungs == (1, 3)
    assert started(reduction=2, grace_epochs=3).rungs == (3, 6)
    assert started(reduction=2.5, epochs=10).rungs == (1, 2.5, 6.25)


def test_a_trial_goes_on_when_it_is_among_the_best_share_of_those_before() -> None:
    """Means over two folds at the rung of epoch 1; the quartile of 0.2 and 0.4 is 0.25."""
    halving = started(reduction=4)
    assert halving.report("0000", {0: 0.3, 1: 0.5}, epoch=1) == "go on"
    assert halving.report("0001", {0: 0.1, 1: 0.3}, epoch=1) == "go on"
    assert halving.report("0002", {0: 0.2, 1: 0.32}, epoch=1) == "stop"
    assert halving.report("0003", {0: 0.0, 1: 0.4}, epoch=1) == "go on"


def test_accuracies_are_compared_upwards() -> None:
    halving = started("max", reduction=4)
    assert halving.report("0000", {0: 0.6}, epoch=1) == "go on"
    assert halving.report("0001", {0: 0.5}, epoch=1) == "stop"
    assert halving.report("0002", {0: 0.7}, epoch=1) == "go on"


def test_between_rungs_and_at_the_end_nothing_is_stopped() -> None:
    halving = started(reduction=3, grace_epochs=2)  # rungs at 2 and 6
    halving.report("0000", {0: 0.0}, epoch=2)
    halving.report("0000", {0: 0.0}, epoch=6)
    assert halving.report("0001", {0: 9.0}, epoch=1) == "go on"
    assert halving.report("0002", {0: 9.0}, epoch=9) == "go on"
    assert halving.report("0001", {0: 9.0}, epoch=2) == "stop"


def test_a_rung_is_passed_once() -> None:
    """At epochs 1 and 2 it is the rung of epoch 1; what comes later changes nothing for it."""
    halving = started(reduction=3)
    assert halving.report("0000", {0: 0.5}, epoch=1) == "go on"
    assert halving.report("0001", {0: 0.1}, epoch=1) == "go on"
    assert halving.report("0000", {0: 9.0}, epoch=2) == "go on"
    assert halving.report("0000", {0: 9.0}, epoch=3) == "go on"  # the first one there


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(("grace", "reduction"), [(1, 4), (1, 2), (2, 3)])
def test_decisions_are_those_of_ray_tune(mode: Mode, grace: int, reduction: int) -> None:
    """60 trials that improve at random, epoch by epoch, as long as both let them."""
    ours = started(mode, epochs=20, grace_epochs=grace, reduction=reduction)
    theirs = AsyncHyperBandScheduler(
        metric="score", mode=mode, max_t=20, grace_period=grace, reduction_factor=reduction
    )
    generator = np.random.default_rng(3)
    epochs = []
    for number in range(60):
        trial = SimpleNamespace(trial_id=f"{number:04d}")
        theirs.on_trial_add(None, trial)
        for epoch in range(1, 20):
            score = float(generator.normal(scale=1 / epoch))
            result = {"training_iteration": epoch, "score": score}
            decision = ours.report(trial.trial_id, {0: score}, epoch=epoch)
            known = theirs.on_trial_result(None, trial, result)
            assert (decision == "stop") == (known == AsyncHyperBandScheduler.STOP)
            if decision == "stop":
                break
        epochs.append(epoch)
    assert min(epochs) == grace
    assert max(epochs) == 19


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grace_epochs": 0}, "grace_epochs must be a whole number from 1 .*, got 0"),
        ({"grace_epochs": 1.0}, "grace_epochs must be a whole number from 1 .*, got 1.0"),
        ({"reduction": 1}, "reduction must be a number above 1, got 1"),
        ({"reduction": "4"}, "reduction must be a number above 1, got '4'"),
        ({"reduction": float("inf")}, "reduction must be a number above 1, got inf"),
    ],
)
def test_wrong_arguments_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Halving(**options)  # type: ignore[arg-type]


def test_a_rung_must_lie_below_the_last_epoch() -> None:
    with pytest.raises(RecipeError, match=r"grace_epochs must be below .* 9, not 9; lower"):
        started(grace_epochs=9)
