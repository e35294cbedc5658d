import numpy as np
import pytest
from scipy.stats import norm

from rayfold.results import Value
from rayfold.search.bayesian.acquisition import (
    best_place,
    confidence_bound,
    log_expected_improvement,
)
from rayfold.search.encoding import Encoding
from rayfold.space import Choice, Float, Int, SearchSpace

SPACE = SearchSpace({"x": Float(0.0, 1.0), "n": Int(1, 5), "c": Choice("a", "b", "c")})
ENCODING = Encoding(SPACE)


@pytest.mark.parametrize("z", [-30.0, -5.0, -1.001, -0.999, 0.0, 2.0, 8.0])
def test_it_is_the_logarithm_of_the_expected_improvement(z: float) -> None:
    """EI = s (phi(z) + z Phi(z)), here by scipy's own, with a tail expansion far out."""
    deviation = 0.3
    value = log_expected_improvement(np.array([1.0 - z * deviation]), np.array([deviation]), 1.0)
    if z > -6:
        expected = np.log(deviation * (norm.pdf(z) + z * norm.cdf(z)))
    else:
        expected = np.log(deviation) + norm.logpdf(z) + np.log(z**-2 - 3 * z**-4 + 15 * z**-6)
    assert value[0] == pytest.approx(expected, rel=1e-5)


def test_it_never_underflows_and_goes_on_falling() -> None:
    means = np.array([1e1, 1e3, 1e5, 1e7])
    values = log_expected_improvement(means, np.ones(4), 0.0)
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()


def test_the_bound_is_how_low_a_score_may_be() -> None:
    assert confidence_bound(np.array([2.0]), np.array([0.5]), 3.0).tolist() == [-0.5]


def target(places: np.ndarray) -> np.ndarray:
    """Highest, 0, at x = 0.7321, n = 4, c = "b"."""
    configs = [ENCODING.config(place) for place in places]
    return np.array(
        [-abs(float(c["x"]) - 0.7321) - (c["n"] != 4) - 2 * (c["c"] != "b") for c in configs]
    )


def test_the_search_finds_the_highest_place() -> None:
    place = best_place(
        target,
        ENCODING,
        taken=set(),
        good=np.empty((0, 3)),
        generator=np.random.default_rng(0),
    )
    assert place is not None
    config = ENCODING.config(place)
    assert (config["n"], config["c"]) == (4, "b")
    assert config["x"] == pytest.approx(0.7321, abs=0.01)


def test_what_is_taken_is_not_found_again_until_nothing_is_left() -> None:
    space = SearchSpace({"n": Int(1, 3), "c": Choice("a", "b")})
    encoding = Encoding(space)
    taken: set[bytes] = set()
    found: list[Value] = []
    while True:
        place = best_place(
            lambda places: places[:, 0],
            encoding,
            taken=taken,
            good=np.empty((0, 2)),
            generator=np.random.default_rng(len(found)),
        )
        if place is None:
            break
        taken.add(encoding.key(place))
        found.append(encoding.config(place)["n"])
    assert found == [3, 3, 2, 2, 1, 1]
