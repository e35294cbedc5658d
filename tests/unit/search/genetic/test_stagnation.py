import math

import numpy as np

from rayfold.search.genetic.operators import Individual, build_toolbox
from rayfold.search.genetic.stagnation import Stagnation
from rayfold.space import Float, SearchSpace

TOOLBOX = build_toolbox(
    np.random.default_rng(0), space=SearchSpace({"x": Float(0.0, 1.0)}), mode="min"
)


def scored(number: int, score: float) -> Individual:
    individual: Individual = TOOLBOX.individual(number, np.array([0.5]))
    individual.fitness.values = (score,)
    return individual


def test_it_is_reached_when_so_many_in_a_row_were_no_better() -> None:
    """An equal score is no better."""
    stagnation = Stagnation(patience=3)
    for number, score in enumerate([5.0, 6.0, 5.0, 4.0, 4.0, 9.0]):
        stagnation.learn(scored(number, score), num_made=number + 1)
        assert not stagnation.reached
    stagnation.learn(scored(6, 5.0), num_made=7)
    assert stagnation.reached
    assert stagnation.fittest is not None
    assert stagnation.fittest.number == 3


def test_what_was_out_before_the_last_improvement_does_not_count() -> None:
    """Number 0 is told while 1, 2 and 3 are out; only what comes after them counts."""
    stagnation = Stagnation(patience=2)
    for number in range(4):
        stagnation.learn(scored(number, float(number)), num_made=4)
    assert not stagnation.reached
    for number in (4, 5):
        assert not stagnation.reached
        stagnation.learn(scored(number, 1.0), num_made=6)
    assert stagnation.reached


def test_what_was_out_before_a_restart_does_not_count_either() -> None:
    stagnation = Stagnation(patience=1)
    stagnation.learn(scored(0, 1.0), num_made=1)
    stagnation.learn(scored(1, 2.0), num_made=3)
    assert stagnation.reached
    stagnation.reset(num_made=3)
    stagnation.learn(scored(2, 2.0), num_made=3)
    assert not stagnation.reached
    stagnation.learn(scored(3, 2.0), num_made=4)
    assert stagnation.reached


def test_failed_trials_stagnate_too() -> None:
    stagnation = Stagnation(patience=2)
    for number in range(3):
        stagnation.learn(scored(number, math.inf), num_made=number + 1)
    assert stagnation.reached


def test_with_endless_patience_it_is_never_reached() -> None:
    stagnation = Stagnation(patience=math.inf)
    for number in range(100):
        stagnation.learn(scored(number, 1.0), num_made=number + 1)
    assert not stagnation.reached
