"""Configurations of earlier studies, mapped into the space of a new one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rayfold.errors import RecipeError
from rayfold.results import Config, Value
from rayfold.search import PastStudy
from rayfold.space import Choice, Domain, Float, Int, SearchSpace
from rayfold.space.values import is_among
from rayfold.tracking import LoggedStudy

MAX_TRIALS = 500
"""Of a longer study the best half of so many trials are taken, and others evenly."""

GOOD_SHARE = 0.25
"""Share of a study's trials that a pruned space holds."""

MARGIN = 0.1
"""By how much of the whole range a pruned one is wider than the good values, at either end."""


@dataclass(frozen=True, kw_only=True)
class MappedStudy:
    """An earlier study in the new space.

    Attributes:
        past: What a searcher gets of it.
        known: Parameters of the new space that the study had values for.
        num_completed: How many completed trials with a score it has.
        num_parameters: How many parameters the new space has.
    """

    past: PastStudy
    known: tuple[str, ...]
    num_completed: int
    num_parameters: int

    @property
    def summary(self) -> str:
        """``40 of 42 trials, 3 of 4 parameters``."""
        return (
            f"{len(self.past.configs)} of {self.num_completed} trials, "
            f"{len(self.known)} of {self.num_parameters} parameters"
        )


def map_study(
    study: LoggedStudy, space: SearchSpace, *, rename: Mapping[str, str] | None = None
) -> MappedStudy:
    """Bring a study's completed trials into a new space.

    Numbers are clipped to the new range, and rounded where whole ones are asked for. A trial with
    a value that a ``Choice`` lacks is left out. What a trial has no value for gets the middle of
    its domain; a trial that lacks more than half of what applies is left out. Hyperparameters that
    the study held fixed count as values, and parameters of its own that do not apply any more, or
    are none of the new space, are dropped.

    Args:
        study: As MLflow holds it, completed trials only.
        space: The new space.
        rename: Name in the past to name in the new space.

    Raises:
        RecipeError: If the study has no completed trial, shares no parameter with the space, or
            no trial of it fits; or if it has a parameter itself that another becomes. The message
            goes on after the name of the argument.
    """
    rename = rename or {}
    scored = [
        (trial.config, trial.score)
        for trial in study.trials
        if trial.score is not None and math.isfinite(trial.score)
    ]
    if not scored:
        raise RecipeError(
            f"study {study.name!r} has no completed trial; wait until it has one, or leave it out."
        )
    fixed = study.description.parameters
    for config, _ in scored:
        _check_no_clash(study.name, {**fixed, **config}, rename)
    named = [
        ({rename.get(name, name): value for name, value in {**fixed, **config}.items()}, score)
        for config, score in scored
    ]
    there = {name for config, _ in named for name in config}
    known = tuple(name for name in space if name in there)
    if not known:
        raise RecipeError(
            f"study {study.name!r} shares no parameter with this space: it has "
            f"{', '.join(sorted(there)) or 'none'}, and the space {', '.join(space)}; give "
            "rename=, or leave it out."
        )
    mapped = [(map_config(config, space), score) for config, score in named]
    fitting = [(config, float(score)) for config, score in mapped if config is not None]
    if not fitting:
        raise RecipeError(
            f"study {study.name!r} has no trial whose values fit this space; leave it out."
        )
    mode = study.description.mode
    kept = most_telling(fitting, mode)
    return MappedStudy(
        past=PastStudy(
            name=study.name,
            mode=mode,
            configs=tuple(config for config, _ in kept),
            scores=tuple(score for _, score in kept),
        ),
        known=known,
        num_completed=len(scored),
        num_parameters=space.dimension,
    )


def _check_no_clash(study: str, config: Config, rename: Mapping[str, str]) -> None:
    for old, new in rename.items():
        if old in config and new in config and new not in rename:
            raise RecipeError(
                f"study {study!r} has {new!r} itself, which rename makes of {old!r}; rename "
                "one of them to something else, or leave it out."
            )


def map_config(values: Config, space: SearchSpace) -> Config | None:
    """Return the configuration of a space that is closest to given values, as ``map_study`` says.

    Returns:
        The configuration; None if a value is unknown to a ``Choice``, or too many are missing.
    """
    nearest = {name: _nearest(space[name], values[name]) for name in space if name in values}
    filled: dict[str, Value] = {}
    for name, domain in space.items():
        value = nearest.get(name)
        filled[name] = domain.from_unit(0.5) if value is None else value
    active = space.active(filled)
    if any(name in nearest and nearest[name] is None for name in active):
        return None
    if 2 * sum(name not in values for name in active) > len(active):
        return None
    return {name: filled[name] for name in active}


def pruned_space(space: SearchSpace, studies: Sequence[MappedStudy]) -> SearchSpace:
    """Return the box around the best quarter of each study's trials, a margin wider.

    Parameters that decide whether others apply stay as they are, and so do those that no study
    has values for.
    """
    good: dict[str, list[Value]] = {}
    for study in studies:
        scores = study.past.normal_scores
        count = max(1, math.ceil(GOOD_SHARE * len(scores)))
        for row in np.argsort(scores, kind="stable")[:count]:
            config = study.past.configs[row]
            for name in study.known:
                if name in config:
                    good.setdefault(name, []).append(config[name])
    parents = {condition.parameter for domain in space.values() for condition in domain.when}
    return SearchSpace(
        {
            name: domain if name in parents or name not in good else _around(domain, good[name])
            for name, domain in space.items()
        }
    )


def _nearest(domain: Domain, value: Value) -> Value | None:
    """Return the value of a domain that stands for one of the past; None if none does."""
    if isinstance(domain, Choice):
        if domain.check(value) is None:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return next(
            (
                known
                for known in domain.values
                if not isinstance(known, bool | str) and known == value
            ),
            None,
        )
    if isinstance(value, bool | str):
        return None
    assert isinstance(domain, Float | Int)
    clipped = min(max(value, domain.low), domain.high)
    return round(clipped) if isinstance(domain, Int) else float(clipped)


def most_telling(trials: list[tuple[Config, float]], mode: str) -> list[tuple[Config, float]]:
    """Return at most ``MAX_TRIALS``: the best half of so many, and others evenly, in order."""
    if len(trials) <= MAX_TRIALS:
        return trials
    sign = 1.0 if mode == "min" else -1.0
    order = np.argsort([sign * score for _, score in trials], kind="stable")
    half = MAX_TRIALS // 2
    rest = np.sort(order[half:])
    others = rest[np.linspace(0, len(rest) - 1, MAX_TRIALS - half).astype(int)]
    return [trials[row] for row in np.sort(np.concatenate([order[:half], others]))]


def _around(domain: Domain, values: Sequence[Value]) -> Domain:
    """Return a domain narrowed to values, a margin wider."""
    options: dict[str, Any] = {
        "when": {condition.parameter: condition.values for condition in domain.when}
    }
    if isinstance(domain, Choice):
        return Choice(*(known for known in domain.values if is_among(known, values)), **options)
    assert isinstance(domain, Float | Int)
    places = [domain.to_unit(value) for value in values]
    low = domain.from_unit(max(0.0, min(places) - MARGIN))
    high = domain.from_unit(min(1.0, max(places) + MARGIN))
    if isinstance(domain, Int):
        if low == high:
            low, high = max(domain.low, low - 1), min(domain.high, high + 1)
        return Int(int(low), int(high), log=domain.log, **options)
    return Float(low, high, log=domain.log, **options)
