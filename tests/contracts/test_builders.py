"""Every builder that comes with Rayfold, held to the contract."""

from rayfold.ensemble import Best, Builder, Convex, Greedy, Stacked
from rayfold.testing import BuilderContract


class TestGreedy(BuilderContract):
    def make_builder(self) -> Builder:
        return Greedy(20)


class TestGreedyInBags(BuilderContract):
    def make_builder(self) -> Builder:
        return Greedy(20, num_start=2, num_bags=5, prior_rows=50)


class TestBest(BuilderContract):
    def make_builder(self) -> Builder:
        return Best(5)


class TestBestByScore(BuilderContract):
    def make_builder(self) -> Builder:
        return Best(5, weighting="score")


class TestConvex(BuilderContract):
    def make_builder(self) -> Builder:
        return Convex()


class TestStacked(BuilderContract):
    def make_builder(self) -> Builder:
        return Stacked(5)
