"""The prior mean that past studies give the Gaussian process."""

import numpy as np
import pytest

from rayfold.search import Past, PastStudy
from rayfold.search.bayesian.prior import PastPrior
from rayfold.search.encoding import Encoding
from rayfold.space import Float, SearchSpace

SPACE = SearchSpace({"x": Float(0.0, 1.0)})
PLACES = np.linspace(0, 1, 41)
NEW = np.linspace(0.01, 0.99, 12)[:, None]
SCORES = (np.abs(NEW[:, 0] - 0.3) - 0.3) / 0.2  # roughly standardised, the best at 0.3


def study(name: str, *, sign: float = 1.0) -> PastStudy:
    return PastStudy(
        name=name,
        mode="min",
        configs=tuple({"x": float(place)} for place in PLACES),
        scores=tuple(float(sign * abs(place - 0.3)) for place in PLACES),
    )


def unrelated() -> PastStudy:
    scores = np.random.default_rng(1).normal(size=len(PLACES))
    configs = tuple({"x": float(place)} for place in PLACES)
    return PastStudy(
        name="unrelated", mode="min", configs=configs, scores=tuple(map(float, scores))
    )


def prior(*studies: PastStudy) -> PastPrior:
    return PastPrior(Past(studies), Encoding(SPACE), seed=0)


def test_a_related_past_leaves_less_to_explain() -> None:
    expected = prior(study("a"))
    left = expected.fit(NEW, SCORES)
    assert expected.weights == pytest.approx([1.0])
    assert expected.unit < 0.5 * SCORES.std()
    assert left * expected.unit + expected.mean(NEW) * expected.unit == pytest.approx(SCORES)


def test_what_was_good_is_expected_to_be_equally_good() -> None:
    """Places in 0.1 to 0.5 are the better half, and the others the worse the further."""
    expected = prior(study("a"))
    expected.fit(NEW, SCORES)
    good = expected.mean(np.array([[0.15], [0.3], [0.45]]))
    assert np.ptp(good) == 0.0
    assert (expected.mean(np.array([[0.8], [0.7], [0.6]])) > good).all()


def test_a_reversed_past_has_no_weight_and_changes_nothing() -> None:
    expected = prior(study("a", sign=-1.0))
    assert expected.fit(NEW, SCORES) == pytest.approx(SCORES)
    assert expected.weights == pytest.approx([0.0])
    assert expected.mean(NEW) == pytest.approx(np.zeros(len(NEW)))
    assert expected.unit == 1.0


def test_only_what_is_related_has_weight() -> None:
    expected = prior(unrelated(), study("a"), study("b", sign=-1.0))
    expected.fit(NEW, SCORES)
    assert expected.weights[1] == pytest.approx(1.0, abs=0.1)
    assert expected.weights[2] == 0.0


def test_before_there_are_enough_scores_all_weigh_the_same() -> None:
    expected = prior(study("a"), study("b"))
    expected.fit(NEW[:3], SCORES[:3])
    assert expected.weights == pytest.approx([0.5, 0.5])


def test_a_past_that_tells_what_is_bad_keeps_its_weight_among_many_good_trials() -> None:
    """Thirty trials that differ by noise do not outvote four that were foreseen to be bad."""
    noise = 0.01 * np.random.default_rng(0).normal(size=30)
    places = np.concatenate([np.linspace(0.2, 0.4, 30), [0.7, 0.8, 0.9, 1.0]])[:, None]
    scores = np.concatenate([noise, [1.0, 1.5, 2.0, 2.5]])
    expected = prior(study("a"))
    expected.fit(places, (scores - scores.mean()) / scores.std())
    assert expected.weights == pytest.approx([1.0])


def test_where_all_scores_are_equal_no_past_has_weight() -> None:
    expected = prior(study("a"))
    expected.fit(NEW, np.zeros(len(NEW)))
    assert expected.weights == pytest.approx([0.0])
