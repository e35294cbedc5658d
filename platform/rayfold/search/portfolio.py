"""A portfolio: a few good and diverse configurations of earlier studies."""

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
"""Trees of an earlier study's model; each suggestion evaluates it at about 1,400 places."""

MAX_CANDIDATES = 32
"""Number of best configurations of each study that a portfolio is chosen from."""

DIVERSITY = 2.0
"""Value of the space's whole diagonal, in standard deviations of the score.

With less, the entries from a converged search were almost identical.
"""


@dataclass(frozen=True)
class Entry:
    """One configuration of a portfolio.

    Attributes:
        config: The configuration.
        study: Index of the earlier study that it comes from.
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
    """Choose configurations that were good in earlier studies and differ from each other.

    The best configurations of each study are candidates. The first entry has the best mean score
    by the studies' models. Each further entry trades this score off against its distance from the
    chosen ones. It comes from the study with the fewest entries so far, so every study is
    represented. The most promising entries come first.

    Args:
        past: The studies.
        space: The space of all their configurations.
        size: Largest number of entries.

    Returns:
        Different configurations, in the order in which to try them; nothing is random.
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

    They are from its better half; otherwise all trials of a small study would be among them.
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
