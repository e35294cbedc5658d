"""Configurations of the past in the space of a new study."""

from typing import Any

import pytest

from rayfold.results import Value
from rayfold.search import PastStudy
from rayfold.space import Choice, Float, Int, SearchSpace
from rayfold.transfer.configurations import MappedStudy, map_config, pruned_space

SPACE = SearchSpace(
    {
        "model.layers": Int(1, 3),
        "model.dropout": Float(0.0, 0.6, when={"model.layers": [2, 3]}),
        "optimizer.name": Choice("sgd", "adamw"),
        "optimizer.learning_rate": Float(1e-4, 1e-1, log=True),
        "batch_size": Choice(32, 64),
    }
)
WHOLE: dict[str, Value] = {
    "model.layers": 2,
    "model.dropout": 0.5,
    "optimizer.name": "sgd",
    "optimizer.learning_rate": 1e-2,
    "batch_size": 64,
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"optimizer.learning_rate": 3.0}, {"optimizer.learning_rate": 0.1}),
        ({"model.dropout": 1}, {"model.dropout": 0.6}),
        ({"model.layers": 2.6}, {"model.layers": 3}),
        ({"model.layers": 9}, {"model.layers": 3}),
        ({"batch_size": 64.0}, {"batch_size": 64}),
        ({"model.width": 7}, {}),
    ],
)
def test_numbers_are_clipped_and_rounded(change: dict[str, Any], expected: dict[str, Any]) -> None:
    mapped = map_config(WHOLE | change, SPACE)
    assert mapped == WHOLE | expected
    SPACE.check(mapped or {})


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer.name": "lion"},
        {"batch_size": 48},
        {"model.layers": "two"},
        {"batch_size": True},
    ],
)
def test_a_trial_with_an_unknown_value_is_left_out(change: dict[str, Any]) -> None:
    assert map_config(WHOLE | change, SPACE) is None


def test_what_no_longer_applies_is_dropped() -> None:
    assert map_config(WHOLE | {"model.layers": 1}, SPACE) == {
        name: value
        for name, value in (WHOLE | {"model.layers": 1}).items()
        if name != "model.dropout"
    }


def test_missing_values_become_the_middle_unless_more_than_half_are_missing() -> None:
    """Three of five are given, then two."""
    given = {name: WHOLE[name] for name in ("model.layers", "model.dropout", "batch_size")}
    assert map_config(given, SPACE) == given | {
        "optimizer.name": "adamw",
        "optimizer.learning_rate": pytest.approx(10**-2.5),
    }
    del given["batch_size"]
    assert map_config(given, SPACE) is None


def test_a_pruned_space_is_the_box_around_the_best_quarter() -> None:
    """The best two of eight have rates of 1e-3 and 1e-2, a tenth of three decades is 10**0.3."""
    rates = [1e-3, 1e-2, 1e-4, 1e-4, 1e-1, 1e-1, 1e-1, 1e-1]
    configs = tuple(WHOLE | {"optimizer.learning_rate": rate} for rate in rates)
    past = PastStudy(name="a", mode="min", configs=configs, scores=tuple(map(float, range(8))))
    known = ("model.layers", "model.dropout", "optimizer.learning_rate", "batch_size")
    mapped = MappedStudy(past=past, known=known, num_completed=8, num_parameters=5)
    pruned = pruned_space(SPACE, [mapped])
    rate = pruned["optimizer.learning_rate"]
    assert isinstance(rate, Float)
    assert (rate.low, rate.high) == pytest.approx((10**-3.3, 10**-1.7))
    assert pruned["batch_size"] == Choice(64)
    assert pruned["optimizer.name"] == SPACE["optimizer.name"]  # unknown to the past
    assert pruned["model.layers"] == SPACE["model.layers"]  # decides whether dropout applies
    dropout = pruned["model.dropout"]
    assert isinstance(dropout, Float)
    assert (dropout.low, dropout.high) == pytest.approx((0.44, 0.56))
    assert dropout.when == SPACE["model.dropout"].when
