from typing import Any

import pytest

from rayfold.errors import RecipeError
from rayfold.schedulers import (
    SCHEDULERS,
    Halving,
    Population,
    Racing,
    Replay,
    Scheduler,
)


def test_schedulers_are_made_by_name() -> None:
    assert isinstance(SCHEDULERS.create("racing"), Racing)
    assert isinstance(SCHEDULERS.create("halving", {"reduction": 3}), Halving)


@pytest.mark.parametrize(
    "scheduler",
    [
        Racing(rule="paired", top=0.2, level=0.1),
        Halving(grace_epochs=2, reduction=3),
        Population(interval=3, quantile=0.2, perturb=["batch_size"], method="pb2"),
        Replay([(0, {"batch_size": 16}), (2, {"batch_size": 32})]),
    ],
)
def test_settings_make_the_same_scheduler_again(scheduler: Scheduler) -> None:
    ((name, arguments),) = scheduler.settings().items()
    assert type(SCHEDULERS.create(name, arguments)) is type(scheduler) is SCHEDULERS.names[name]
    assert SCHEDULERS.create(name, arguments).settings() == scheduler.settings()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "raicing",
            {},
            r"^scheduler 'raicing' is unknown \(did you mean 'racing'\?\); choose from racing, ha",
        ),
        (None, {}, "^a scheduler is a name, a reference or a class, got NoneType"),
        (
            "racing",
            {"roule": 1},
            r"^racing takes rule, top, level, got 'roule' \(did you mean 'ru",
        ),
        ("racing", {"top": 2}, "^racing: top must be a number from 0 to below 1, got 2"),
        ("halving", {"rule": "paired"}, "^halving takes grace_epochs, reduction, got 'rule'"),
    ],
)
def test_mistakes_are_refused_by_name(name: Any, arguments: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SCHEDULERS.create(name, arguments)


def test_a_scheduler_that_no_trial_could_follow_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"^fold_order must be one of in_turn, together, got 's"):
        type("Sideways", (Racing,), {"fold_order": "sideways"})
