"""The searchers that come with Rayfold keep the contract that third parties inherit."""

from collections.abc import Callable

import pytest

from rayfold.search import Bayesian, Genetic, Past, Random, Searcher
from rayfold.testing import SearcherContract
from rayfold.testing.searchers import SPACE, make_past


class TestRandom(SearcherContract):
    def make_searcher(self, random_seed: int) -> Searcher:
        return Random(random_seed=random_seed)


class TestGenetic(SearcherContract):
    def make_searcher(self, random_seed: int) -> Searcher:
        return Genetic(population=6, generations=4, random_seed=random_seed)


class TestSmallestGenetic(SearcherContract):
    def make_searcher(self, random_seed: int) -> Searcher:
        return Genetic(population=2, generations=12, random_seed=random_seed)


class TestGenerationalGenetic(SearcherContract):
    def make_searcher(self, random_seed: int) -> Searcher:
        return Genetic(population=6, generations=4, random_seed=random_seed, update="generational")


class TestOriginalGenetic(SearcherContract):
    def make_searcher(self, random_seed: int) -> Searcher:
        return Genetic(population=6, generations=4, random_seed=random_seed, preset="nnlo")


class TestGeneticOfTheFittest(SearcherContract):
    def make_searcher(self, random_seed: int) -> Searcher:
        return Genetic(population=6, generations=4, random_seed=random_seed, ageing=False)


class TestRestartingGenetic(SearcherContract):
    def make_searcher(self, random_seed: int) -> Searcher:
        return Genetic(population=2, generations=25, random_seed=random_seed, restart=True)


class TestBayesian(SearcherContract):
    def make_searcher(self, random_seed: int) -> Searcher:
        return Bayesian(random_seed=random_seed, num_initial=20)


class TestBayesianForest(SearcherContract):
    def make_searcher(self, random_seed: int) -> Searcher:
        return Bayesian(random_seed=random_seed, num_initial=25, surrogate="extra_trees")


@pytest.mark.parametrize("num_before", [1, 6, 14])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Random(random_seed=7),
        lambda: Genetic(population=6, generations=4, random_seed=7),
        lambda: Genetic(population=6, generations=4, random_seed=7, update="generational"),
        lambda: Bayesian(random_seed=7),
    ],
    ids=["random", "genetic", "generational", "bayesian"],
)
def test_restoring_with_a_past_goes_on_with_the_same_suggestions(
    make: Callable[[], Searcher], num_before: int
) -> None:
    """A study that is taken up restores what its journal holds, then suggests anew."""
    whole, resumed = make(), make()
    whole.start(SPACE, mode="min", past=make_past())
    resumed.start(SPACE, mode="min", past=Past.from_dict(make_past().to_dict()))
    for number in range(num_before + 4):
        suggestion = whole.suggest()
        assert suggestion is not None
        if number < num_before:
            assert resumed.restore(suggestion.config) == suggestion
        else:
            assert resumed.suggest() == suggestion
        score = abs(float(suggestion.config["optimizer.learning_rate"]) - 0.01)
        for searcher in (whole, resumed):
            searcher.observe(suggestion.id, score=score)
