import pytest

from rayfold.errors import RecipeError, SpaceError
from rayfold.search import Fixed
from rayfold.space import Int, SearchSpace

SPACE = SearchSpace({"model.depth": Int(1, 4)})


def test_the_given_configurations_are_proposed_in_order() -> None:
    searcher = Fixed([{"model.depth": 3}, {"model.depth": 1}])
    searcher.start(SPACE, mode="min")
    suggestions = [searcher.suggest(), searcher.suggest()]
    assert [s and s.config for s in suggestions] == [{"model.depth": 3}, {"model.depth": 1}]
    assert searcher.finished
    assert searcher.suggest() is None


def test_configurations_outside_the_space_are_refused() -> None:
    """The message counts configurations from 0."""
    with pytest.raises(SpaceError, match=r"^configs\[1\]: model\.depth must be .* 1 to 4, got 9"):
        Fixed([{"model.depth": 3}, {"model.depth": 9}]).start(SPACE, mode="min")


@pytest.mark.parametrize("configs", [[], [3]])
def test_something_else_than_configurations_is_refused(configs: list[int]) -> None:
    with pytest.raises(RecipeError, match="configs must be a list of configurations"):
        Fixed(configs)  # type: ignore[arg-type]
