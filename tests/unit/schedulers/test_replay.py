from typing import Any

import pytest

from rayfold.errors import RayfoldError, RecipeError
from rayfold.results import Config
from rayfold.schedulers import Replay
from rayfold.space import Choice, Float, Int, SearchSpace

SCHEDULE = [(0, {"batch_size": 16}), (2, {"batch_size": 32}), (6, {"batch_size": 64})]


def test_values_change_at_the_milestones() -> None:
    replay = Replay(SCHEDULE)
    replay.start(mode="min", num_folds=2, epochs=7)
    assert replay.milestones == (2, 6)


@pytest.mark.parametrize("epochs", [6, 4])
def test_a_change_after_the_last_epoch_is_refused(epochs: int) -> None:
    """After epoch 6 of 6 it would come too late, too."""
    with pytest.raises(RecipeError, match=f"after epoch 6, but the study has {epochs} epochs; l"):
        Replay(SCHEDULE).start(mode="min", num_folds=2, epochs=epochs)


SPACE = SearchSpace(
    {
        "optimizer.momentum": Float(0.0, 0.9, when={"optimizer.name": "sgd"}),
        "optimizer.name": Choice("sgd", "adamw"),
        "batch_size": Int(16, 64),
    }
)
SGD: Config = {"optimizer.name": "sgd", "optimizer.momentum": 0.5, "batch_size": 16}


def test_numbers_may_change() -> None:
    Replay([(0, SGD), (2, {**SGD, "batch_size": 32, "optimizer.momentum": 0.9})]).check(
        SPACE, [SGD]
    )


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ({**SGD, "foo": 1}, "'foo' is not a parameter of the space; leave it out, or give"),
        ({**SGD, "batch_size": "x"}, "batch_size must be a whole number from 16 to 64, got 'x'"),
        ({}, "optimizer.name is missing; give it one of 'sgd', 'adamw'"),
        (
            {"optimizer.name": "adamw", "batch_size": 16},
            "optimizer.name is no number, and has to stay what it is while a model trains; keep "
            "it 'sgd'",
        ),
    ],
)
def test_what_no_population_could_do_is_refused(later: Config, message: str) -> None:
    """Of a name that decides what applies and what follows from it, the name is told."""
    with pytest.raises(RayfoldError, match=f"^schedule, epoch 2: {message}"):
        Replay([(0, SGD), (2, later)]).check(SPACE, [SGD])


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([], r"begin with epoch 0 and rise, got epochs \[\]"),
        ([(1, {})], r"begin with epoch 0 and rise, got epochs \[1\]"),
        ([(0, {}), (4, {}), (2, {})], r"got epochs \[0, 4, 2\]"),
        ([(0, {}), (0, {})], r"got epochs \[0, 0\]"),
        ([(0, {}), (1.5, {})], r"got epochs \[0, 1.5\]"),
        ([0, 2], "pairs of an epoch and a configuration"),
    ],
)
def test_a_schedule_must_begin_with_epoch_0_and_rise(schedule: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Replay(schedule)
