from typing import Any

import pytest

from rayfold.errors import RecipeError
from rayfold.schedulers import SCHEDULERS, Population
from rayfold.space import Choice, Float, Int, SearchSpace

SPACE = SearchSpace(
    {
        "model.depth": Int(1, 3),
        "model.dropout": Float(0.0, 0.5),
        "model.input_dropout": Choice(0.0, 0.1, 0.2),
        "optimizer.name": Choice("sgd", "adam"),
        "optimizer.learning_rate": Float(1e-4, 1e-1, log=True),
        "optimizer.momentum": Float(0.0, 0.9, when={"optimizer.name": "sgd"}),
        "optimizer.amsgrad": Choice(True, False, when={"optimizer.name": "adam"}),
        "schedule.warmup_epochs": Choice(0, 1),
        "batch_size": Choice(16, 32, 64),
    }
)


def started(epochs: int = 10, **arguments: Any) -> Population:
    population = Population(**arguments)
    population.start(mode="min", num_folds=3, epochs=epochs)
    return population


def test_what_may_change_while_a_model_trains_is_changed() -> None:
    """Not the depth, nor names, nor a switch of the optimiser."""
    assert Population().parameters(SPACE) == (
        "model.dropout",
        "model.input_dropout",
        "optimizer.learning_rate",
        "optimizer.momentum",
        "schedule.warmup_epochs",
        "batch_size",
    )


def test_only_what_is_named_is_changed() -> None:
    population = Population(perturb=["batch_size", "optimizer.learning_rate"])
    assert population.parameters(SPACE) == ("batch_size", "optimizer.learning_rate")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optimizer.learning_rates", "did you mean 'optimizer.learning_rate'"),
        ("optimizer.name", "optimizer.name is no number"),
        ("optimizer.amsgrad", "optimizer.amsgrad is no number"),
    ],
)
def test_what_must_not_change_is_refused(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Population(perturb=[name]).parameters(SPACE)


def test_what_decides_about_others_is_refused() -> None:
    space = SearchSpace(
        {
            "loss.label_smoothing": Choice(0.0, 0.1),
            "optimizer.eps": Float(1e-8, 1e-3, when={"loss.label_smoothing": 0.1}),
        }
    )
    assert Population().parameters(space) == ("optimizer.eps",)
    with pytest.raises(RecipeError, match="decides whether optimizer"):
        Population(perturb=["loss.label_smoothing"]).parameters(space)


def test_a_space_of_structure_alone_is_refused() -> None:
    with pytest.raises(RecipeError, match="nothing in the space may change"):
        Population().parameters(SearchSpace({"model.depth": Int(1, 3)}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"interval": 0}, "interval must be a whole number from 1 .*, got 0"),
        ({"interval": 1.5}, "interval must be a whole number from 1 .*, got 1.5"),
        ({"quantile": 0.6}, "quantile must be a number above 0, at most 0.5, got 0.6"),
        ({"quantile": 0}, "quantile must be a number above 0, at most 0.5, got 0"),
        ({"resample_probability": 1.0}, "resample_probability must be a number from 0 to below"),
        ({"perturb": "batch_size"}, "perturb must be a list of parameters' names"),
        ({"restart": 1}, "restart must be true or false, got 1"),
        ({"patience": 0}, "patience must be a whole number from 1 .*, got 0"),
        ({"shrink": 1.0}, "shrink must be a number between 0 and 1, got 1.0"),
        ({"method": "pb3"}, "method must be one of pbt, pb2, got 'pb3'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SCHEDULERS.create("population", arguments)


def test_trials_are_compared_at_every_interval_but_the_end() -> None:
    assert started(epochs=10, interval=3).milestones == (3, 6, 9)
    assert started(epochs=9, interval=3).milestones == (3, 6)
    with pytest.raises(RecipeError, match="interval must be below the study's epochs, 10, not 10"):
        started(epochs=10, interval=10)
