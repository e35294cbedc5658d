"""Limits of an ensemble, and builders that keep to them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field

from rayfold.ensemble.builders import Builder, Selection
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.ensemble.predictor import EnsembleModule
from rayfold.ensemble.records import Signature
from rayfold.errors import EnsembleError
from rayfold.options import options
from rayfold.options.fields import Count, Seconds, Whole

BATCH_SIZES = (1, 256)
"""Batch sizes for which latency is limited and reported."""

WARM_UPS, REPEATS = 3, 20

SAME_SHARE = 1e-9
"""Shares that differ by less count as equal."""


@options("budget")
class Budget:
    """Limits of an ensemble's size and time; None: no limit."""

    _: KW_ONLY
    max_members: Count | None = None
    """Trials."""
    max_parameters: Count | None = None
    """Parameters of all models together."""
    max_latency: Mapping[Whole, Seconds] = Field(default_factory=dict)
    """Seconds of one prediction by its number of rows, 1 or 256, such as {1: 0.01, 256: 0.1}: the
    median of 20, measured on this machine."""

    def __post_init__(self) -> None:
        for rows in self.max_latency:
            if rows not in BATCH_SIZES:
                raise ValueError(
                    f"must have max_latency of {BATCH_SIZES[0]} or {BATCH_SIZES[1]} rows, got "
                    f"{rows}"
                )


@dataclass(frozen=True)
class Cost:
    """What an ensemble costs.

    Attributes:
        members: Number of trials.
        parameters: Parameters of all models together.
        latency: Median seconds of a prediction, by its number of rows.
    """

    members: int
    parameters: int
    latency: Mapping[int, float]

    def excess(self, budget: Budget) -> str:
        """Say which limit is exceeded; empty if none is."""
        if budget.max_members is not None and self.members > budget.max_members:
            return f"{self.members} members, max_members={budget.max_members}"
        if budget.max_parameters is not None and self.parameters > budget.max_parameters:
            return f"{self.parameters} parameters, max_parameters={budget.max_parameters}"
        for rows, limit in budget.max_latency.items():
            if self.latency[rows] > limit:
                return (
                    f"{self.latency[rows]:.4g} s for a batch of {rows}, "
                    f"max_latency={{{rows}: {limit:g}}}"
                )
        return ""


class Costs:
    """The costs of selections; each set of candidates is measured once, whatever its weights.

    Args:
        make: Loads a selection's models.
        signature: Their inputs.
        timed: Whether predictions are timed; otherwise costs have no latency.
    """

    def __init__(
        self,
        make: Callable[[Selection], EnsembleModule],
        signature: Signature,
        *,
        timed: bool = True,
    ) -> None:
        self._make, self._signature, self._timed = make, signature, timed
        self._known: dict[tuple[type, tuple[int, ...]], Cost] = {}

    def of(self, selection: Selection) -> Cost:
        """Return the cost of a selection."""
        key = type(selection.combination), tuple(sorted(selection.candidates))
        if key not in self._known:
            self._known[key] = measure(self._make(selection), self._signature, timed=self._timed)
        return self._known[key]


class WithinBudget(Builder):
    """Lets another builder choose among candidates that fit a budget together.

    A chosen candidate that alone exceeds the budget is dropped, and the builder chooses again.
    While the chosen ones together exceed it, the one with the least weight per parameter is
    dropped; ties, and equal weights, are broken by the highest loss. The builder then chooses
    among those left.

    Args:
        builder: The builder that chooses.
        budget: Limits of the ensemble.
        costs: Costs of selections of the same candidates.
    """

    def __init__(self, builder: Builder, budget: Budget, costs: Costs) -> None:
        self._builder, self._budget, self._costs = builder, budget, costs

    def settings(self) -> dict[str, Any]:
        """Return the settings of the builder that chooses."""
        return self._builder.settings()

    def build(self, out_of_fold: OutOfFold) -> Selection:
        """Choose from the candidates.

        Raises:
            EnsembleError: If no complete candidate fits.
        """
        budget, num_candidates = self._budget, len(out_of_fold.predictions)
        allowed = np.arange(num_candidates)
        alone: dict[int, Cost] = {}
        while True:
            if not out_of_fold.complete[allowed].any():
                least = min(alone.values(), key=lambda cost: cost.parameters)
                raise EnsembleError(
                    f"no completed trial fits the budget: the smallest of those tried has "
                    f"{least.excess(budget)}; raise that limit."
                )
            selection = _choose(self._builder, out_of_fold, allowed)
            if not self._costs.of(selection).excess(budget):
                return selection
            for index in selection.candidates:
                alone[index] = self._costs.of(Selection.of_weights(np.eye(num_candidates)[index]))
            too_large = [index for index in selection.candidates if alone[index].excess(budget)]
            if too_large:
                allowed = np.setdiff1d(allowed, too_large)
                continue
            if len(selection.candidates) == 1:  # only its two measurements disagree
                return selection
            last = _least_worth(selection, alone, out_of_fold)
            allowed = np.array([index for index in sorted(selection.candidates) if index != last])


def measure(module: EnsembleModule, signature: Signature, *, timed: bool = True) -> Cost:
    """Return the cost of an ensemble; its predictions are timed if ``timed``."""
    return Cost(
        members=len(module.members),
        parameters=sum(tensor.numel() for tensor in module.members.parameters()),
        latency=(
            {rows: _latency(module, signature, rows) for rows in BATCH_SIZES} if timed else {}
        ),
    )


def _choose(builder: Builder, out_of_fold: OutOfFold, allowed: np.ndarray) -> Selection:
    chosen = builder.build(out_of_fold.of_candidates(allowed))
    candidates = tuple(int(allowed[index]) for index in chosen.candidates)
    return Selection(candidates, chosen.combination)


def _least_worth(selection: Selection, alone: Mapping[int, Cost], out_of_fold: OutOfFold) -> int:
    """Return the candidate of a selection to drop; never the last complete one."""
    shares = dict(zip(selection.candidates, selection.combination.shares, strict=True))
    can_go = [
        index
        for index in shares
        if out_of_fold.complete[[other for other in shares if other != index]].any()
    ]
    if np.ptp(list(shares.values())) < SAME_SHARE:
        worth = dict.fromkeys(shares, 1.0)
    else:
        worth = {index: shares[index] / alone[index].parameters for index in shares}
    losses, least = out_of_fold.losses(), min(worth[index] for index in can_go)
    alike = [index for index in can_go if worth[index] < (1 + SAME_SHARE) * least]
    return max(alike, key=lambda index: losses[index])


def _latency(module: EnsembleModule, signature: Signature, rows: int) -> float:
    """Return the median seconds of several predictions on features of 0."""
    features = [
        torch.zeros(
            (rows, *entry.shape), dtype=torch.uint8 if entry.dtype == "uint8" else torch.float32
        )
        for entry in signature.inputs
    ]
    seconds = []
    with torch.no_grad():
        for _ in range(WARM_UPS + REPEATS):
            began = time.perf_counter()
            module(*features)
            seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[WARM_UPS:]))
