"""Greedy ensemble selection."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayfold.ensemble.builders.base import Builder, Selection, count, flag
from rayfold.ensemble.combination import LEAST_PROBABILITY
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.errors import EnsembleError
from rayfold.results import MAX_SEED

_PRIOR_ROWS = 1000.0
"""See ``prior_rows`` of ``Greedy``."""

_PRIOR_MEMBERS, _PRIOR_SHARE = 10, 1 / 3
"""The best candidates whose plain mean is the prior: so many at most, and no more than this share
of all or as many as the rounds chose; that of all would let the worst ones in."""

MAX_ROUNDS, MAX_BAGS = 10_000, 1000


class Greedy(Builder):
    """Adds candidates one at a time, with replacement, each the one that lowers the loss most.

    Against over-fitting, the selection can start from the best candidates, can be averaged over
    random parts of the library, and is drawn toward the plain mean of the best candidates where
    rows are few.

    Args:
        num_rounds: Candidates that are added, 1 to 10,000. One that is added twice weighs twice.
        num_start: The best candidates to start from, which count as rounds; 0: none.
        num_bags: Random parts of the library, 1 to 1,000, the selections from which are averaged;
            1: the library itself.
        bag_fraction: Share of the candidates in each part, in (0, 1].
        prior_rows: With so many rows the selection and the plain mean of the best candidates
            count alike; with fewer rows the mean counts more; 0: it does not count. The best ones
            are 10, or a third of the candidates where that is less, but as many as the rounds
            chose; those that they did not choose are among them while there are fewer members
            than rounds. None: 1,000 where means are calibrated, where it pays, and otherwise 0.
        random_seed: Draws the parts.
        calibrate: Whether mean probabilities are tempered to be as sure as they are right; of
            values nothing is to be done.

    Raises:
        EnsembleError: If an argument is out of range.

    References:
        Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004.
    """

    def __init__(
        self,
        num_rounds: int = 50,
        *,
        num_start: int = 0,
        num_bags: int = 1,
        bag_fraction: float = 0.5,
        prior_rows: float | None = None,
        random_seed: int = 0,
        calibrate: bool = True,
    ) -> None:
        if not 0 < bag_fraction <= 1:
            raise EnsembleError(f"bag_fraction must be in (0, 1], got {bag_fraction!r}.")
        if prior_rows is not None and not 0 <= prior_rows < np.inf:
            raise EnsembleError(f"prior_rows must be at least 0 and finite, got {prior_rows!r}.")
        self._num_rounds = count("num_rounds", num_rounds, at_least=1, at_most=MAX_ROUNDS)
        self._num_start = count("num_start", num_start, at_least=0)
        self._num_bags = count("num_bags", num_bags, at_least=1, at_most=MAX_BAGS)
        self._random_seed = count("random_seed", random_seed, at_least=0, at_most=MAX_SEED)
        self._bag_fraction, self._prior_rows = bag_fraction, prior_rows
        self._calibrate = flag("calibrate", calibrate)

    def settings(self) -> dict[str, Any]:
        """Return ``{"greedy": {"num_rounds": 50, ...}}``."""
        return {
            "greedy": {
                "num_rounds": self._num_rounds,
                "num_start": self._num_start,
                "num_bags": self._num_bags,
                "bag_fraction": self._bag_fraction,
                "prior_rows": self._prior_rows,
                "random_seed": self._random_seed,
                "calibrate": self._calibrate,
            }
        }

    def build(self, out_of_fold: OutOfFold) -> Selection:
        """Choose from the candidates."""
        losses = out_of_fold.losses()
        order = np.argsort(losses, kind="stable")
        parts = out_of_fold.parts()
        weights = np.zeros(len(losses))
        for bag in self._bags(out_of_fold.complete, order):
            chosen = greedy_selection(
                parts[bag],
                out_of_fold.present[bag],
                complete=out_of_fold.complete[bag],
                num_rounds=self._num_rounds,
                start=[*range(min(self._num_start, len(bag)))],
                is_class=out_of_fold.is_class,
            )
            np.add.at(weights, bag[chosen], 1 / len(chosen))
        weights /= weights.sum()
        best = self._prior(weights > 0, order[out_of_fold.complete[order]])
        prior_rows = self._prior_rows
        if prior_rows is None:
            prior_rows = _PRIOR_ROWS if self._calibrate and out_of_fold.is_class else 0
        if prior_rows and len(best):
            share = prior_rows / (prior_rows + len(out_of_fold.target))
            weights *= 1 - share
            weights[best] += share / len(best)
        return Selection.of_mean(weights, out_of_fold, calibrate=self._calibrate)

    def _prior(self, chosen: NDArray[np.bool_], complete: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the candidates whose plain mean the selection is drawn toward.

        Args:
            chosen: Which candidates the selection holds; others join while there are fewer than
                rounds.
            complete: The complete candidates, best first.
        """
        num_chosen = np.count_nonzero(chosen)
        most = max(math.ceil(_PRIOR_SHARE * len(complete)), num_chosen)
        best = complete[: min(_PRIOR_MEMBERS, most)]
        joining = best[~chosen[best]][: max(0, self._num_rounds - num_chosen)]
        return best[chosen[best] | np.isin(best, joining)]

    def _bags(
        self, complete: NDArray[np.bool_], order: NDArray[np.int64]
    ) -> list[NDArray[np.int64]]:
        """Return the candidates of each part, best first; each part has a complete one."""
        if self._num_bags == 1:
            return [order]
        generator = np.random.default_rng(self._random_seed)
        size = max(1, round(self._bag_fraction * len(order)))
        bags: list[NDArray[np.int64]] = []
        while len(bags) < self._num_bags:
            places = np.sort(generator.choice(len(order), size, replace=False))
            if not complete[order[places]].any():
                places[-1] = np.flatnonzero(complete[order])[0]
            bags.append(order[np.sort(places)])
        return bags


def greedy_selection(
    parts: NDArray[np.float32],
    present: NDArray[np.bool_],
    *,
    complete: NDArray[np.bool_],
    num_rounds: int,
    is_class: bool,
    start: list[int] | None = None,
) -> list[int]:
    """Choose candidates one at a time, with replacement, to lower the loss of their average.

    Each round adds the candidate that gives the averaged predictions the lowest mean loss. Where
    candidates have no prediction, the others are averaged; the first one has predictions of all
    rows. Ties go to the lower index.

    Args:
        parts: What ``OutOfFold.parts`` returns, shape ``(candidates, rows, parts)``.
        present: Shape ``(candidates, rows)``.
        complete: Candidates that can be the first, shape ``(candidates,)``; at least one.
        num_rounds: How many to choose, at least 1.
        is_class: Whether the loss is log loss; otherwise it is squared error.
        start: Candidates that are chosen first, without asking; those lacking rows are passed
            over until one that has all.

    Returns:
        Indices of the candidates, in the order chosen.
    """
    total = np.zeros(parts.shape[1:], np.float32)
    counts = np.zeros(len(total), np.float32)
    chosen: list[int] = []
    starting = list(start or [])
    while len(chosen) < num_rounds:
        allowed = np.ones(len(parts), bool) if chosen else complete
        if starting:
            best = starting.pop(0)
            if not allowed[best]:
                continue
        else:
            losses = _losses_with(parts, present, total, counts, is_class=is_class)
            best = int(np.argmin(np.where(allowed, losses, np.inf)))
        chosen.append(best)
        total += parts[best]
        counts += present[best]
    return chosen


def _losses_with(
    parts: NDArray[np.float32],
    present: NDArray[np.bool_],
    total: NDArray[np.float32],
    counts: NDArray[np.float32],
    *,
    is_class: bool,
) -> NDArray[np.float64]:
    """Return the mean loss of the average with each candidate in turn, shape ``(candidates,)``."""
    losses = np.empty(len(parts))
    average = np.empty_like(total)  # one for all: making them would take half of the time
    with_all = (counts + 1)[:, None]
    for index, (part, there) in enumerate(zip(parts, present, strict=True)):
        size = with_all if there.all() else np.maximum(counts + there, 1)[:, None]
        np.add(total, part, out=average)
        np.divide(average, size, out=average)
        if is_class:
            np.maximum(average, LEAST_PROBABILITY, out=average)
            losses[index] = -np.log(average, out=average).mean(dtype=np.float64)
        else:
            losses[index] = np.square(average, out=average).mean(dtype=np.float64)
    return losses
