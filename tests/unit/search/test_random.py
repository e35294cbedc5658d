from typing import Any

import numpy as np
import pytest

from rayfold.errors import RecipeError
from rayfold.search import Random
from rayfold.space import Choice, Float, SearchSpace

SPACE = SearchSpace({"rate": Float(0.0, 1.0), "name": Choice("a", "b")})


def test_it_draws_from_the_space_with_its_seed() -> None:
    searcher = Random(random_seed=7)
    searcher.start(SPACE, mode="min")
    generator = np.random.default_rng(7)
    for _ in range(10):
        suggestion = searcher.suggest()
        assert suggestion is not None
        assert suggestion.config == SPACE.sample(generator)


def test_it_never_ends() -> None:
    searcher = Random()
    searcher.start(SPACE, mode="max")
    assert searcher.capacity is None
    assert all(searcher.suggest() is not None for _ in range(1000))
    assert not searcher.finished


def test_results_change_nothing() -> None:
    told, untold = Random(), Random()
    for searcher in (told, untold):
        searcher.start(SPACE, mode="min")
    for number in range(10):
        suggestion = told.suggest()
        assert suggestion == untold.suggest()
        assert suggestion is not None
        told.observe(suggestion.id, score=float(number))


@pytest.mark.parametrize("random_seed", [-1, 1.0, True, "7", None])
def test_the_seed_is_a_whole_number(random_seed: Any) -> None:
    with pytest.raises(RecipeError, match=r"random_seed must be a whole number from 0 .*, got"):
        Random(random_seed=random_seed)
