"""The searcher: proposes configurations and learns from their scores.

A searcher suggests configurations (``suggest``) and observes scores (``observe``). It does not use
Ray. It never waits: if it needs results first, ``suggest`` returns None. All its random numbers
come from its own generator. So a new searcher that gets the same calls in the same order arrives
at the same state. This is how a study resumes.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self, get_args

import numpy as np

from rayfold.errors import RecipeError, one_of
from rayfold.options.arguments import checked
from rayfold.options.fields import Flag, Whole
from rayfold.results import Config, Mode
from rayfold.search.opening import Opening
from rayfold.search.past import Past
from rayfold.search.portfolio import portfolio
from rayfold.space import SearchSpace


@dataclass(frozen=True)
class Suggestion:
    """A configuration to try.

    Attributes:
        id: Name of the trial, ``"0000"``, ``"0001"``, ... in the order of suggestion.
        config: The configuration: a value for each active parameter of the space.
    """

    id: str
    config: Config

    @property
    def number(self) -> int:
        """Position in the order of suggestion, counted from 0."""
        return int(self.id)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The result of a suggestion.

    Attributes:
        suggestion: The suggestion.
        score: Mean of the study's metric over the folds, always finite; None if it failed.
        standard_error: Standard error of the score; None if unknown.
        num_folds: Number of folds that the score is the mean of; None if unknown.
    """

    suggestion: Suggestion
    score: float | None
    standard_error: float | None = None
    num_folds: int | None = None


class Searcher(ABC):
    """Proposes configurations of a space and learns from their scores.

    To write one, implement ``_begin``, ``_propose``, ``_learn`` and ``settings``, and ``capacity``
    if it ever ends. Let its tests inherit ``rayfold.testing.SearcherContract``.

    A search may start from earlier studies. Then some of the first suggestions are configurations
    that were good there. The searcher is told of them through ``_adopt`` and observes them like
    its own. It may use ``past`` in other ways, too.

    Example::

        searcher = Genetic(population=16, generations=8, random_seed=7)
        searcher.start(space, mode="min")
        suggestion = searcher.suggest()
        searcher.observe(suggestion.id, score=0.31, standard_error=0.02, num_folds=5)
    """

    opens_with_past: bool = True
    """Whether the first configurations may come from earlier studies."""

    learns: bool = True
    """Whether its proposals depend on the scores."""

    configs: tuple[Config, ...] = ()
    """The configurations that it will propose, if they are known before it starts."""

    _space: SearchSpace | None = None
    _mode: Mode = "min"
    _past: Past = Past()

    def fitted(self, num_trials: int) -> Self:
        """Return the searcher fitted to a study's number of trials, before it is started.

        A searcher whose arguments do not depend on this number returns itself. A study that
        resumes with more trials keeps the searcher that was fitted when it began.

        Args:
            num_trials: Largest number of trials when the study begins.
        """
        return self

    def with_seed(self, number: int) -> Self:
        """Return a searcher like this one, not started, that draws other random numbers.

        Args:
            number: Number of the new searcher; the same number gives the same searcher.
        """
        ((_, arguments),) = self.settings().items()
        if "random_seed" not in arguments:
            return self
        return type(self)(
            **{**arguments, "random_seed": other_seed(arguments["random_seed"], number)}
        )

    def check(self, space: SearchSpace) -> None:  # noqa: B027
        """Check that it can search a space.

        Raises:
            SpaceError: If one of its own configurations does not belong to the space.
        """

    def start(self, space: SearchSpace, *, mode: Mode, past: Past | None = None) -> None:
        """Begin a search.

        Args:
            space: Where to search.
            mode: ``"min"`` if a lower score is better, ``"max"`` if a higher one is.
            past: Earlier studies to start from, in this space; None: no earlier studies.

        Raises:
            RecipeError: If ``space`` is not a space, ``mode`` is neither, the searcher was started
                before, or it takes no earlier studies.
            SpaceError: If an earlier configuration does not belong to the space.
        """
        if self._space is not None:
            raise RecipeError(f"this {self._kind} is started already; make a new one.")
        if not isinstance(space, SearchSpace):
            raise RecipeError(f"space must be a SearchSpace, got {space!r}; make it one.")
        past = past or Past()
        if past.studies and not self.opens_with_past:
            raise RecipeError(f"this {self._kind} takes no past; start it without.")
        past.check(space)
        self._space, self._mode = space, one_of("mode", mode, get_args(Mode))
        self._past = past
        self._opening = Opening(portfolio(past, space), self._mode)
        self._suggestions: dict[str, Suggestion] = {}
        self._observed: set[str] = set()
        self._retried: set[str] = set()
        self._best: tuple[Suggestion, float] | None = None
        try:
            self._begin()
        except RecipeError:
            self._space = None
            raise

    def suggest(self) -> Suggestion | None:
        """Return the next configuration to try.

        Returns:
            The suggestion; None if results are needed first, or if ``finished``.

        Raises:
            RecipeError: If the searcher is not started.
        """
        self._require_start()
        if self.finished:
            return None
        if (entry := self._opening.due) is not None:
            return self._open(entry.config)
        config = self._propose()
        return None if config is None else self._enter_own(config)

    def restore(self, config: Config) -> Suggestion:
        """Repeat a suggestion of an earlier run of the same search, instead of making one.

        Args:
            config: The next suggestion of that run's searcher.

        Raises:
            RecipeError: If this searcher does not suggest it, or is not started.
        """
        self._require_start()
        if not self.finished:
            if (entry := self._opening.due) is None:
                if self._recall(config):
                    return self._enter_own(config)
            elif dict(entry.config) == dict(config):
                return self._open(entry.config)
        raise RecipeError(f"this {self._kind} does not suggest {dict(config)} next.")

    @checked
    def observe(
        self,
        id: str,
        *,
        score: float | None = None,
        standard_error: float | None = None,
        num_folds: Whole | None = None,
        failed: Flag = False,
    ) -> None:
        """Report the result of a suggestion; in any order, once each.

        Args:
            id: Id of the suggestion.
            score: Its score. NaN and infinity count as failed.
            standard_error: Standard error of the score, if known; NaN and infinity are not.
            num_folds: Number of folds that the score is the mean of, if known.
            failed: The trial has no score; ``score`` is then ignored.

        Raises:
            RecipeError: If the suggestion is unknown or was observed before, if there is neither a
                score nor ``failed=True``, if another value is not a number, or if the searcher is
                not started.
        """
        self._require_start()
        suggestion = self._suggestions.get(id) if isinstance(id, str) else None
        if suggestion is None:
            raise RecipeError(f"no suggestion has the id {id!r}; observe what suggest() returned.")
        if id in self._observed:
            raise RecipeError(f"the suggestion {id!r} is observed already; observe each once.")
        if not failed and not _is_number(score):
            raise RecipeError(
                f"the suggestion {id!r} needs a number as score, or failed=True, got {score!r}."
            )
        if standard_error is not None and (not _is_number(standard_error) or standard_error < 0):
            raise RecipeError(
                f"standard_error must be a number of at least 0 or None, got {standard_error!r}."
            )
        observation = Observation(
            suggestion=suggestion,
            score=None if failed else _finite(score),
            standard_error=_finite(standard_error),
            num_folds=num_folds,
        )
        self._observed.add(id)
        self._keep_best(observation)
        again = id in self._retried
        self._opening.learn(
            id, observation.score, standard_error=observation.standard_error, again=again
        )
        if again:
            self._relearn(observation)
        else:
            self._learn(observation)

    def reopen(self, id: str) -> None:
        """Announce another try of a failed suggestion, which is then observed once more.

        Raises:
            RecipeError: If it was not observed before, or the searcher is not started.
        """
        self._require_start()
        if id not in self._observed:
            raise RecipeError(f"the suggestion {id!r} has no result yet; nothing is to be redone.")
        self._observed.remove(id)
        self._retried.add(id)

    @property
    def finished(self) -> bool:
        """Whether there will be no more suggestions; results may still be outstanding."""
        if self._space is None or self.capacity is None:
            return False
        return len(self._suggestions) >= self.capacity

    @property
    def capacity(self) -> int | None:
        """Number of configurations that will be suggested; None: no limit."""
        return None

    @property
    def best(self) -> tuple[Suggestion, float] | None:
        """The suggestion with the best score so far, and that score; None before the first.

        Ties go to the earliest suggestion.
        """
        return None if self._space is None else self._best

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the searcher as a recipe names it: ``{"genetic": {"population": 16, ...}}``."""

    @property
    def past(self) -> Past:
        """The earlier studies that the search started from."""
        return self._past

    @property
    def space(self) -> SearchSpace:
        """The space that is searched.

        Raises:
            RecipeError: If the searcher is not started.
        """
        return self._require_start()

    @property
    def mode(self) -> Mode:
        """Whether lower scores are better, ``"min"``, or higher ones, ``"max"``."""
        return self._mode

    @abstractmethod
    def _begin(self) -> None:
        """Prepare a search; ``space`` and ``mode`` are known."""

    @abstractmethod
    def _propose(self) -> Config | None:
        """Return the next configuration; None if results are needed first."""

    def _recall(self, config: Config) -> bool:
        """Propose again as in an earlier run; tell whether the proposal is ``config``.

        A searcher with costly proposals accepts ``config`` instead.
        """
        proposed = self._propose()
        return proposed is not None and dict(proposed) == dict(config)

    def _adopt(self, config: Config) -> None:  # noqa: B027  # most need not note it
        """Note that the next suggestion is an earlier configuration, not one of its own.

        By default nothing happens until it is observed.
        """

    @abstractmethod
    def _learn(self, observation: Observation) -> None:
        """Learn the result of a suggestion, each one once."""

    def _relearn(self, observation: Observation) -> None:  # noqa: B027  # most keep nothing
        """Learn the new result of a failed suggestion; by default do nothing."""

    def _open(self, config: Config) -> Suggestion:
        """Suggest the earlier configuration that is due."""
        self._adopt(config)
        suggestion = self._enter(config)
        self._opening.try_due(suggestion.id)
        return suggestion

    def _enter_own(self, config: Config) -> Suggestion:
        self._opening.note_own(config)
        return self._enter(config)

    def _enter(self, config: Config) -> Suggestion:
        suggestion = Suggestion(f"{len(self._suggestions):04d}", config)
        self._suggestions[suggestion.id] = suggestion
        return suggestion

    def _require_start(self) -> SearchSpace:
        if self._space is None:
            raise RecipeError(
                f"this {self._kind} is not started; call start(space, mode=...) first."
            )
        return self._space

    @property
    def _kind(self) -> str:
        return type(self).__name__

    def _keep_best(self, observation: Observation) -> None:
        suggestion, score = observation.suggestion, observation.score
        if score is None:
            return
        if self._best is None:
            better = True
        elif score == self._best[1]:
            better = suggestion.number < self._best[0].number
        else:
            better = (score < self._best[1]) == (self._mode == "min")
        if better:
            self._best = suggestion, score


def other_seed(random_seed: int, number: int) -> int:
    """Return another seed, which depends only on the two numbers."""
    (seed,) = np.random.SeedSequence([random_seed, number]).generate_state(1)
    return int(seed)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _finite(value: float | None) -> float | None:
    """Return a number as a Python float; None if it is not finite or too large for a float."""
    try:
        return None if value is None or not math.isfinite(value) else float(value)
    except OverflowError:
        return None
