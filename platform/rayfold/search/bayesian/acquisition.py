"""The acquisition function, the logarithm of expected improvement, and its maximisation.

References:
    Ament et al., "Unexpected Improvements to Expected Improvement for Bayesian Optimization",
    arXiv 2310.20708 (the logarithm that does not underflow).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

from rayfold.search.encoding import Encoding

Matrix = NDArray[np.float64]
Acquisition = Callable[[Matrix], Matrix]
"""Value of each place, shape ``(n, d)`` to ``(n,)``; more is better."""

NUM_RANDOM = 256
NUM_NEAR = 256
NUM_STARTS = 4
WIDTHS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.004)
"""Steps of the local search, as shares of a number's range."""

_LOG_ROOT = 0.5 * math.log(2 * math.pi)


def log_expected_improvement(mean: Matrix, deviation: Matrix, best: float) -> Matrix:
    """Return log E[max(best - score, 0)] of normally distributed scores.

    Args:
        mean: Means, shape ``(n,)``.
        deviation: Standard deviations, above 0, shape ``(n,)``.
        best: The score to improve on; lower is better.
    """
    z = (best - mean) / deviation
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        density = -np.square(z) / 2 - _LOG_ROOT
        near = np.log(np.exp(density) + z * np.exp(log_ndtr(z)))
        tail = 1 + z * math.sqrt(math.pi / 2) * erfcx(-z / math.sqrt(2))
        far = density + np.log(np.maximum(tail, 1e-300))
        farthest = density - 2 * np.log(-z)  # the tail's expansion, where it cancels out
    values: Matrix = np.where(z > -1, near, np.where(z > -1e4, far, farthest)) + np.log(deviation)
    return values


def confidence_bound(mean: Matrix, deviation: Matrix, kappa: float) -> Matrix:
    """Return how low a score may be: ``kappa * deviation - mean``; more is better."""
    return kappa * deviation - mean


def best_place(
    acquisition: Acquisition,
    encoding: Encoding,
    *,
    taken: set[bytes],
    good: Matrix,
    generator: np.random.Generator,
) -> Matrix | None:
    """Return the place with the highest acquisition that is not taken.

    Random places and variations of good ones are compared. From the best of them, all places that
    differ in one parameter are tried, again and again, until none is better.

    Args:
        acquisition: The function to maximise.
        encoding: Encoding of the search space.
        taken: Keys of the places that were suggested before.
        good: Places of the best observations, shape ``(m, d)``.
        generator: Draws the candidates.

    Returns:
        The place, shape ``(d,)``; None if all candidates are taken.
    """
    places = _candidates(encoding, good, generator)
    values = acquisition(places)
    order = np.argsort(-values, kind="stable")
    starts = order[:NUM_STARTS]
    climbed = _climb(acquisition, encoding, places[starts], values[starts])
    reached = [*climbed, (places[order], values[order])]
    places, values = (np.concatenate(parts) for parts in zip(*reached, strict=True))
    for index in np.argsort(-values, kind="stable"):
        if encoding.key(places[index]) not in taken:
            place: Matrix = places[index]
            return place
    return None


def _candidates(encoding: Encoding, good: Matrix, generator: np.random.Generator) -> Matrix:
    dimension = good.shape[1]
    random = generator.random((NUM_RANDOM, dimension))
    if not len(good):
        return encoding.places(random)
    parents = good[generator.integers(len(good), size=NUM_NEAR)]
    moved = parents + generator.normal(0.0, 0.1, parents.shape)
    changed = generator.random(parents.shape) < max(2 / dimension, 0.2)
    fresh = generator.random(parents.shape) < 0.3
    near = np.where(changed, np.where(fresh, generator.random(parents.shape), moved), parents)
    return encoding.places(np.concatenate([random, np.clip(near, 0.0, 1.0)]))


def _climb(
    acquisition: Acquisition, encoding: Encoding, places: Matrix, values: Matrix
) -> list[tuple[Matrix, Matrix]]:
    """Return every place that the local search tries from each start, with its value."""
    tops, tried = list(zip(places, values, strict=True)), []
    for width in WIDTHS:
        around = [encoding.neighbours(place, width=width) for place, _ in tops]
        neighbours = np.concatenate(around)  # one call for all: models cost by the call
        if not len(neighbours):
            break
        values = acquisition(neighbours)
        tried.append((neighbours, values))
        ends = np.cumsum([len(part) for part in around])
        for number, part in enumerate(np.split(values, ends[:-1])):
            if len(part) and part.max() > tops[number][1]:
                best = int(np.argmax(part))
                tops[number] = (around[number][best], part[best])
    return tried
