"""Searchers and schedulers of Ray Tune in place of Rayfold's."""

import copy
import logging
from typing import Any, Self, TypeGuard

import numpy as np
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler
from ray.tune.search import Searcher as TuneSearcher

from rayfold.errors import RecipeError
from rayfold.results import Config, Mode, Status, Value
from rayfold.schedulers import Decision, Scheduler
from rayfold.search import Observation, Searcher
from rayfold.search.base import other_seed
from rayfold.space import Choice, Float, Int, SearchSpace
from rayfold.space.domains import Domain

logger = logging.getLogger(__name__)

METRIC = "score"
"""Name of the mean over a trial's folds, the metric that Tune's objects optimise."""

CLOCKS = ("training_iteration", "epoch", "time_total_s")
"""Results of a trial that increase with its training."""


class ForeignSearcher(Searcher):
    """A searcher of Ray Tune as one of Rayfold: it proposes, and learns when a trial has ended.

    It cannot be rebuilt call by call. When a study resumes, a new searcher is told the trials of
    earlier runs through ``add_evaluated_point``, if it has this method. It then continues
    differently from an uninterrupted one.

    It gets the space without conditions. Its values for parameters that do not apply are left out
    of the configuration. A searcher with its own space keeps it; its proposals must then belong to
    the study's space.

    Args:
        searcher: Searcher of Ray Tune, without metric and mode; it is copied, not changed.
    """

    def __init__(self, searcher: TuneSearcher) -> None:
        self._original = searcher

    def settings(self) -> dict[str, Any]:
        """Return ``{"tune": {"searcher": "OptunaSearch"}}``; its arguments are not known."""
        return {"tune": {"searcher": type(self._original).__name__}}

    @property
    def finished(self) -> bool:
        """Whether the searcher has said so."""
        return self._space is not None and self._has_finished

    def with_seed(self, number: int) -> Self:
        """Return one that draws other random numbers, if its seed or generator is found."""
        other = copy.deepcopy(self._original)
        _reseed(other, number, depth=3)
        return type(self)(other)

    def _begin(self) -> None:
        self._searcher = copy.deepcopy(self._original)
        _set_metric(self._searcher, self.mode, tune_space(self.space))
        self._has_finished = False
        self._asked: set[str] = set()
        self._tells = type(self._searcher).add_evaluated_point is not (
            TuneSearcher.add_evaluated_point
        )
        if self.past.studies and not self._tells:
            logger.warning(
                "%s cannot be told of other trials than its own: configurations of the past are "
                "tried first, and it learns nothing from them.",
                type(self._searcher).__name__,
            )
        conditional = [name for name, domain in self.space.items() if domain.when]
        if conditional:
            logger.warning(
                "%s knows no conditions: values that it proposes where they do not apply are "
                "left out, of %s.",
                type(self._searcher).__name__,
                ", ".join(conditional),
            )

    def _propose(self) -> Config | None:
        trial = f"{len(self._suggestions):04d}"
        proposal = self._searcher.suggest(trial)
        if proposal == TuneSearcher.FINISHED:
            self._has_finished = True
            return None
        if proposal is None:
            return None
        self._asked.add(trial)
        values = {name: plain_value(value) for name, value in _flat(proposal).items()}
        active = self.space.active(values)
        config = {name: value for name, value in values.items() if name in active}
        config |= {name: value for name, value in values.items() if name not in self.space}
        self.space.check(config)
        return config

    def _recall(self, config: Config) -> bool:
        """Accept the proposal of an earlier run's searcher."""
        return True

    def _learn(self, observation: Observation) -> None:
        trial, score = observation.suggestion.id, observation.score
        if trial in self._asked:
            result = None if score is None else {METRIC: score, "training_iteration": 1}
            self._searcher.on_trial_complete(trial, result, error=score is None)
        elif self._tells and score is not None:
            neutral = {name: domain.from_unit(0.5) for name, domain in self.space.items()}
            self._searcher.add_evaluated_point(
                neutral | dict(observation.suggestion.config), score
            )


class ForeignScheduler(Scheduler):
    """A scheduler of Ray Tune, which decides by the mean over the folds.

    Args:
        scheduler: Scheduler of Ray Tune, without metric and mode; it is copied, not changed.
    """

    runs_in_tune = True

    def __init__(self, scheduler: TrialScheduler) -> None:
        self._original = scheduler

    def settings(self) -> dict[str, Any]:
        """Return ``{"tune": {"scheduler": "ASHAScheduler"}}``; its arguments are not known."""
        return {"tune": {"scheduler": type(self._original).__name__}}

    @property
    def prepared(self) -> TrialScheduler:
        """The scheduler, set to optimise the mean over the folds; after the start."""
        return self._prepared

    def _begin(self) -> None:
        self._prepared = _prepared_scheduler(self._original, self.mode)

    def _decide(self, trial: str, scores: dict[int, float], epoch: int) -> Decision:
        """Stop no trial: Ray Tune does that."""
        return "go on"

    def _end(self, trial: str, status: Status) -> None:
        """Do nothing."""


def is_tune_searcher(searcher: object) -> TypeGuard[TuneSearcher]:
    """Tell whether ``searcher`` is one of Ray Tune's."""
    return isinstance(searcher, TuneSearcher)


def is_tune_scheduler(scheduler: object) -> TypeGuard[TrialScheduler]:
    """Tell whether ``scheduler`` is one of Ray Tune's."""
    return isinstance(scheduler, TrialScheduler)


def _prepared_scheduler(scheduler: TrialScheduler, mode: Mode) -> TrialScheduler:
    """Return a copy of a scheduler of Ray Tune that optimises the mean over the folds.

    Raises:
        RecipeError: If it was given another metric, mode or clock, or is population-based.
    """
    if isinstance(scheduler, PopulationBasedTraining):
        raise RecipeError(
            f"{type(scheduler).__name__} of Ray Tune knows nothing of folds; use "
            "rayfold.schedulers.Population, which drives it."
        )
    clock = getattr(scheduler, "_time_attr", CLOCKS[0])
    if clock not in CLOCKS:
        raise RecipeError(
            f"{type(scheduler).__name__} has time_attr={clock!r}, which no trial reports; use one "
            f"of {', '.join(CLOCKS)}."
        )
    prepared = copy.deepcopy(scheduler)
    _set_metric(prepared, mode)
    return prepared


def tune_space(space: SearchSpace) -> dict[str, Any]:
    """Return the space in Ray Tune's form, without its conditions."""
    return {name: _tune_domain(domain) for name, domain in space.items()}


def _tune_domain(domain: Domain) -> Any:
    if isinstance(domain, Float):
        return (tune.loguniform if domain.log else tune.uniform)(domain.low, domain.high)
    if isinstance(domain, Int):
        return (tune.lograndint if domain.log else tune.randint)(domain.low, domain.high + 1)
    assert isinstance(domain, Choice)
    return tune.choice(list(domain.values))


def _set_metric(target: Any, mode: Mode, *space: dict[str, Any]) -> None:
    """Set the metric and mode of a searcher or scheduler, unless they are already set."""
    name = type(target).__name__
    metric, own_mode = getattr(target, "_metric", None), getattr(target, "_mode", None)
    known = metric is None or (metric == METRIC and own_mode in (None, mode))
    if known and target.set_search_properties(METRIC, mode, *space):
        return
    if metric != METRIC or own_mode != mode:
        raise RecipeError(
            f"{name} has metric={metric!r} and mode={own_mode!r}; leave both out, or give it "
            f"metric={METRIC!r} and mode={mode!r} where it has a space of its own."
        )


def _reseed(holder: Any, number: int, *, depth: int) -> None:
    """Change the seeds and NumPy generators of an object, and of the objects that it holds."""
    for name, value in list(getattr(holder, "__dict__", {}).items()):
        if type(value) is int and "seed" in name:
            setattr(holder, name, other_seed(value, number))
        elif isinstance(value, np.random.RandomState):
            value.seed(other_seed(int(value.randint(2**31)), number))
        elif isinstance(value, np.random.Generator):
            setattr(holder, name, np.random.default_rng([int(value.integers(2**31)), number]))
        elif depth > 1 and not isinstance(value, type):
            _reseed(value, number, depth=depth - 1)


def _flat(proposal: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in proposal.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def plain_value(value: Any) -> Value:
    """Return a value of NumPy as a value of Python."""
    plain: Value = value.item() if isinstance(value, np.generic) else value
    return plain
