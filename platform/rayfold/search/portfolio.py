"""A portfolio: a few good and diverse configurations of the past."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rayfold.results import Config
from rayfold.search.encoding import Encoding
from rayfold.search.forests import Forest
from rayfold.search.past import Past, PastStudy
from rayfold.space import SearchSpace

Matrix = NDArray[np.float64]

SIZE = 8
"""Configurations of a portfolio."""

NUM_TREES = 25
"""Trees of a past study's model: a suggestion asks some 1,400 places of each."""

MAX_CANDIDATES = 32
"""Of so many best configurations of each study, a portfolio is chosen."""

DIVERSITY = 2.0
"""How many standard deviations of score the whole diagonal of the space is worth.

With less, the entries of a past search that had converged were all but the same.
"""


@dataclass(frozen=True)
class Entry:
    """One configuration of a portfolio.

    Attributes:
        config: The configuration.
        study: Which past study it comes from, an index.
    """

    config: Config
    study: int


def past_model(study: PastStudy, encoding: Encoding, *, seed: int = 0) -> Forest:
    """Return extra trees fitted to a study's normal scores, lower is better."""
    places = np.array([encoding.place(config) for config in study.configs])
    forest = Forest("extra_trees", num_trees=NUM_TREES)
    forest.fit(encoding.features(places), study.normal_scores, seed=seed)
    return forest


def portfolio(past: Past, space: SearchSpace, *, size: int = SIZE) -> list[Entry]:
    """Choose configurations that were good in past studies, and differ.

    The best configurations of each study are candidates. The first of the portfolio is the one
    that the studies' models expect the best mean score of; each further one trades that off
    against its distance from those chosen, and comes from the study that has given the fewest so
    far. So the portfolio samples every study, and the order is one of falling hope.

    Args:
        past: The studies.
        space: The space that all of their configurations lie in.
        size: How many to choose at most.

    Returns:
        Different configurations, in the order in which to try them; nothing is drawn at random.
    """
    encoding = Encoding(space)
    models = [past_model(study, encoding) for study in past.studies]
    chosen: list[Entry] = []
    places: list[Matrix] = []
    pools = [_candidates(study, encoding, models) for study in past.studies]
    while len(chosen) < size and any(pools):
        counts = [sum(entry.study == index for entry in chosen) for index in range(len(pools))]
        eligible = min(count for count, pool in zip(counts, pools, strict=True) if pool)
        best = max(
            (
                (_worth(expected, place, places), -index, -number)
                for index, pool in enumerate(pools)
                if pool and counts[index] == eligible
                for number, (_, place, expected) in enumerate(pool)
            ),
        )
        index = -best[1]
        config, place, _ = pools[index][-best[2]]
        chosen.append(Entry(config, index))
        places.append(place)
        key = encoding.key(place)
        pools = [[entry for entry in pool if encoding.key(entry[1]) != key] for pool in pools]
    return chosen


def _candidates(
    study: PastStudy, encoding: Encoding, models: Sequence[Forest]
) -> list[tuple[Config, Matrix, float]]:
    """Return the best configurations of a study with their places and expected scores.

    They are of its better half: of a small study the others would be among the best, too.
    """
    num_good = min(MAX_CANDIDATES, (len(study.configs) + 1) // 2)
    best = np.argsort(study.normal_scores, kind="stable")[:num_good]
    places = np.array([encoding.place(study.configs[row]) for row in best])
    features = encoding.features(places)
    expected = np.mean([model.predict(features)[0] for model in models], axis=0)
    return [
        (study.configs[row], place, float(score))
        for row, place, score in zip(best, places, expected, strict=True)
    ]


def _worth(expected: float, place: Matrix, chosen: Sequence[Matrix]) -> float:
    if not chosen:
        return -expected
    nearest = min(float(np.sqrt(np.mean(np.square(place - other)))) for other in chosen)
    return DIVERSITY * nearest - expected
