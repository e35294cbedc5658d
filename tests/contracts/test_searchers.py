"""The searchers that come with Rayfold keep the contract that third parties inherit."""

from rayfold.search import Bayesian, Genetic, Random, Searcher
from rayfold.testing import SearcherContract


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
