"""Greedy ensemble selection."""

import math
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rayfold.ensemble.builders.base import Builder, Selection
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.options.arguments import checked
from rayfold.options.fields import Flag, Seed, SomeShare, Strength, Whole, plain
from rayfold.tasks import Task

DEFAULT_ROUNDS = 50

_PRIOR_ROWS = 1000.0
"""See ``prior_rows`` of ``Greedy``."""

_PRIOR_MEMBERS, _PRIOR_SHARE = 10, 1 / 3
"""Largest number of candidates in the prior's plain mean, and their largest share of all. If the
rounds chose more than that share, the prior has as many. A mean of all would include the worst."""

NumRounds = Annotated[int, Field(strict=True, ge=1, le=10_000), plain]
NumBags = Annotated[int, Field(strict=True, ge=1, le=1000), plain]


class Greedy(Builder):
    """Adds candidates one at a time, with replacement; each one lowers the loss most.

    Three arguments limit overfitting: the selection can start from the best candidates
    (``num_start``); it can be averaged over random subsets of the candidates (``num_bags``); with
    few rows it is drawn towards the plain mean of the best candidates (``prior_rows``).

    Args:
        num_rounds: Number of candidates to add, 1 to 10,000. A candidate added twice weighs twice.
        num_start: Number of best candidates to start from, which count as rounds; 0: none.
        num_bags: Number of random subsets of the candidates, 1 to 1,000. The selections from them
            are averaged; 1: all candidates.
        bag_fraction: Share of the candidates in each subset, in (0, 1].
        prior_rows: Strength of the prior, in rows: the plain mean of the best candidates gets the
            share ``prior_rows / (prior_rows + rows)``, and the selection the rest. None: 1,000
            if means are calibrated, else 0. Let ``c`` be the number of complete candidates, and
            ``k`` the number of those that the rounds chose. The best candidates are the first
            ``min(10, max(c / 3, k))`` complete ones. At most ``num_rounds - k`` of them are
            candidates that the rounds did not choose.
        random_seed: Draws the subsets.
        calibrate: Whether mean probabilities are calibrated by a temperature; means of values
            are unaffected.

    Raises:
        RecipeError: If an argument is out of range.

    References:
        Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004.
    """

    @checked
    def __init__(
        self,
        num_rounds: NumRounds = DEFAULT_ROUNDS,
        *,
        num_start: Whole = 0,
        num_bags: NumBags = 1,
        bag_fraction: SomeShare = 0.5,
        prior_rows: Strength | None = None,
        random_seed: Seed = 0,
        calibrate: Flag = True,
    ) -> None:
        self._num_rounds, self._num_start, self._num_bags = num_rounds, num_start, num_bags
        self._bag_fraction, self._prior_rows = bag_fraction, prior_rows
        self._random_seed, self._calibrate = random_seed, calibrate

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
                task=out_of_fold.task,
                target=out_of_fold.target,
            )
            np.add.at(weights, bag[chosen], 1 / len(chosen))
        weights /= weights.sum()
        best = self._prior(weights > 0, order[out_of_fold.complete[order]])
        prior_rows = self._prior_rows
        if prior_rows is None:
            prior_rows = _PRIOR_ROWS if self._calibrate and out_of_fold.task.temperature else 0
        if prior_rows and len(best):
            of_prior = prior_rows / (prior_rows + len(out_of_fold.target))
            weights *= 1 - of_prior
            weights[best] += of_prior / len(best)
        return Selection.of_mean(weights, out_of_fold, calibrate=self._calibrate)

    def _prior(self, chosen: NDArray[np.bool_], complete: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the candidates whose plain mean the selection is drawn towards.

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
        """Return the candidates of each subset, best first; each subset has a complete one."""
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
    task: Task,
    target: NDArray[np.generic],
    start: list[int] | None = None,
) -> list[int]:
    """Choose candidates one at a time, with replacement, to lower the loss of their average.

    Each round adds the candidate that gives the averaged predictions the lowest mean loss. In a
    row that some candidates have not predicted, the others are averaged. The first candidate has
    predictions of all rows. Ties go to the lower index.

    Args:
        parts: Result of ``OutOfFold.parts``, shape ``(candidates, rows, parts)``.
        present: Which rows each candidate has predicted, shape ``(candidates, rows)``.
        complete: Candidates that can be the first, shape ``(candidates,)``; at least one.
        num_rounds: Number of candidates to choose, at least 1.
        task: Defines the loss of an average.
        target: Labels of the rows, as the task encodes them.
        start: Candidates that are chosen first, whatever the loss; incomplete ones are skipped
            until a complete one is chosen.

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
            losses = _losses_with(parts, present, total, counts, task, target)
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
    task: Task,
    target: NDArray[np.generic],
) -> NDArray[np.float64]:
    """Return the mean loss of the average with each candidate added, shape ``(candidates,)``."""
    losses = np.empty(len(parts))
    average = np.empty_like(total)  # one for all: making them would take half of the time
    with_all = (counts + 1)[:, None]
    for index, (part, there) in enumerate(zip(parts, present, strict=True)):
        size = with_all if there.all() else np.maximum(counts + there, 1)[:, None]
        np.add(total, part, out=average)
        np.divide(average, size, out=average)
        losses[index] = task.mean_loss(average, target)
    return losses
