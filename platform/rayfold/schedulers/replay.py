"""Replay: every trial follows the schedule that a population has found."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from rayfold.errors import RecipeError, SpaceError
from rayfold.results import Config, Status, ValueChange
from rayfold.schedulers.base import Decision, Scheduler
from rayfold.schedulers.population import fixed_while_training
from rayfold.space import SearchSpace, plain_config


class Replay(Scheduler):
    """Trains with values that change at given epochs, as ``StudyResult.schedule`` returns them.

    Population-based training finds a schedule of configurations. This scheduler trains the
    schedule again, for example with more folds::

        schedule = result.schedule(result.best.id)  # [(0, {...}), (4, {...}), ...]
        Study(
            "again", ..., scheduler=Replay(schedule), folds=Folds(10)
        ).run()

    Only values that a ``Population`` may change can change.

    Args:
        schedule: Pairs of an epoch and the configuration from then on, beginning with epoch 0.

    Raises:
        RecipeError: If it does not begin with epoch 0, or the epochs do not increase.
    """

    fold_order = "together"
    changes_values = True
    runs_in_tune = True

    def __init__(self, schedule: Sequence[tuple[int, Config]]) -> None:
        try:
            pairs = [(epoch, plain_config(dict(config))) for epoch, config in schedule]
        except SpaceError as error:
            raise SpaceError(f"schedule: {error}") from None
        except (TypeError, ValueError):
            raise RecipeError(
                f"schedule must be pairs of an epoch and a configuration, got {schedule!r}."
            ) from None
        epochs = [epoch for epoch, _ in pairs]
        whole = all(type(epoch) is int for epoch in epochs)
        if not whole or epochs[:1] != [0] or epochs != sorted(set(epochs)):
            raise RecipeError(f"schedule must begin with epoch 0 and rise, got epochs {epochs}.")
        self.schedule: tuple[tuple[int, Mapping[str, Any]], ...] = tuple(pairs)

    def settings(self) -> dict[str, Any]:
        """Return ``{"replay": {"schedule": [[0, {...}], ...]}}``."""
        return {"replay": {"schedule": [[epoch, dict(config)] for epoch, config in self.schedule]}}

    @property
    def milestones(self) -> tuple[int, ...]:
        """The epochs after which values change."""
        return tuple(epoch for epoch, _ in self.schedule[1:])

    @property
    def configs(self) -> tuple[Config, ...]:
        """The first configuration of the schedule."""
        return (self.schedule[0][1],)

    def check(self, space: SearchSpace, configs: Sequence[Config]) -> None:
        """Check the schedule's configurations and changes; all trials must begin with its first.

        Raises:
            SpaceError: If a configuration does not belong to the space.
            RecipeError: If a value changes that must not, or a trial begins with another
                configuration.
        """
        for epoch, config in self.schedule:
            try:
                space.check(config)
            except SpaceError as error:
                raise SpaceError(f"schedule, epoch {epoch}: {error}") from None
        for (_, before), (epoch, config) in pairwise(self.schedule):
            for name in space:
                if name not in before or name not in config or before[name] == config[name]:
                    continue
                if reason := fixed_while_training(name, space):
                    raise RecipeError(
                        f"schedule, epoch {epoch}: {name} {reason}; keep it {before[name]!r}."
                    )
        self._check_first(space, configs)

    def value_changes(self, space: SearchSpace) -> Iterator[ValueChange]:
        """Yield each change of a model parameter."""
        for (_, before), (epoch, config) in pairwise(self.schedule):
            changes = [
                f"{name} from {before[name]!r} to {value!r}"
                for name, value in config.items()
                if name.startswith("model.") and before[name] != value
            ]
            if changes:
                yield ValueChange(
                    f"schedule, epoch {epoch}: {' and '.join(changes)}", before, config
                )

    def _check_first(self, space: SearchSpace, configs: Sequence[Config]) -> None:
        first = self.schedule[0][1]
        if not configs:
            raise RecipeError(
                "the scheduler replay trains the first configuration of its schedule; use "
                "searcher=Fixed([schedule[0][1]]) (search.searcher: {fixed: {configs: [...]}} in "
                "a recipe)."
            )
        for number, config in enumerate(configs):
            for name in space:
                if config.get(name) != first.get(name):
                    raise RecipeError(
                        f"configs[{number}]: {name} is {config.get(name)!r}, but the schedule "
                        f"begins with {first.get(name)!r}; use "
                        "searcher=Fixed([schedule[0][1]])."
                    )

    def _begin(self) -> None:
        last = self.schedule[-1][0]
        if last >= self.epochs:
            raise RecipeError(
                f"schedule changes values after epoch {last}, but the study has {self.epochs} "
                "epochs; leave that entry out, or give the study more epochs."
            )

    def _decide(self, trial: str, scores: dict[int, float], epoch: int) -> Decision:
        """Stop no trial."""
        return "go on"

    def _end(self, trial: str, status: Status) -> None:
        """Do nothing."""
