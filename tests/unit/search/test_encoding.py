import numpy as np
import pytest

from rayfold.search.encoding import Encoding
from rayfold.space import Choice, Float, Int, SearchSpace
from rayfold.testing.searchers import SPACE

ENCODING = Encoding(SPACE)


@pytest.fixture
def points() -> np.ndarray:
    return np.random.default_rng(0).random((500, SPACE.dimension))


def test_a_place_stands_for_the_configuration_of_every_point_of_its_share(
    points: np.ndarray,
) -> None:
    for point, place in zip(points, ENCODING.places(points), strict=True):
        config = SPACE.decode(point)
        assert ENCODING.config(place) == pytest.approx(config)
        np.testing.assert_allclose(place, SPACE.encode(config), atol=1e-12)
        assert ENCODING.key(place) == ENCODING.key(SPACE.encode(config))


def test_features_are_numbers_one_hot_categories_and_flags() -> None:
    space = SearchSpace(
        {
            "name": Choice("a", "b", "c"),
            "size": Choice(64, 16, 32),
            "rate": Float(0.0, 1.0, when={"name": "b"}),
            "depth": Int(1, 4, when={"name": "b"}),
        }
    )
    encoding = Encoding(space)
    places = np.array(
        [
            space.encode({"name": "b", "size": 16, "rate": 0.25, "depth": 1}),
            space.encode({"name": "c", "size": 64}),
        ]
    )
    assert encoding.features(places).tolist() == [
        [0.0, 1.0, 0.0, 0.0, 0.25, 0.125, 1.0],
        [0.0, 0.0, 1.0, 1.0, 0.5, 0.5, 0.0],
    ]
    assert encoding.num_features == 7


def test_a_condition_on_an_inactive_parent_does_not_hold() -> None:
    space = SearchSpace(
        {
            "a": Choice("x", "y"),
            "b": Int(1, 2, when={"a": "x"}),
            "c": Float(0.0, 1.0, when={"b": 1}),
        }
    )
    places = Encoding(space).places(np.array([[0.1, 0.1, 0.9], [0.9, 0.1, 0.9]]))
    assert places.tolist() == [[0.25, 0.25, 0.9], [0.75, 0.5, 0.5]]


def test_neighbours_differ_in_one_active_parameter(points: np.ndarray) -> None:
    for place in ENCODING.places(points[:50]):
        config = ENCODING.config(place)
        neighbours = [ENCODING.config(other) for other in ENCODING.neighbours(place, width=0.1)]
        for other in neighbours:
            changed = [name for name in config if name in other and other[name] != config[name]]
            assert len(changed) == 1
        names = {other["optimizer.name"] for other in neighbours}
        layers = {other["model.layers"] for other in neighbours}
        assert names == {"sgd", "adamw"}
        assert layers == {1, 2, 3}
