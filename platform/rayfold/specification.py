"""The options of a study: each one once, with its default, its check and its meaning.

``Study(...)``, a recipe, its JSON schema, and the description in the journal and MLflow are made
from ``Specification``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from rayfold import search
from rayfold.acceptance import Acceptance
from rayfold.data import Folds, Holdout, SubProblems
from rayfold.data.sources.option import DataOption
from rayfold.errors import RecipeError, SpaceError
from rayfold.groups.plan import Groups
from rayfold.jobs import FoldOrder
from rayfold.library import resolve_space
from rayfold.options import options
from rayfold.options.explain import show
from rayfold.options.fields import (
    Count,
    Flag,
    Parameters,
    Seconds,
    Seed,
    Text,
    alone,
    as_tuple,
    named,
    one_or_more_texts,
    plain,
    refuse_empty_list,
    refuse_strange_names,
)
from rayfold.results import MAX_COUNT
from rayfold.schedulers import SCHEDULERS, Scheduler
from rayfold.search import SEARCHERS, Searcher
from rayfold.space import SearchSpace
from rayfold.storage import is_own_name
from rayfold.tasks import TASKS, task_hint
from rayfold.transfer.requests import InitialWeights, StartFrom

DEFAULT_EPOCHS = 10
"""Epochs of each fold by default."""

DEFAULT_NUM_TRIALS = 50
"""Trials of a study if neither it nor its searcher sets their number."""

_STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def _study_name(name: str) -> str:
    if not re.fullmatch(_STUDY_NAME, name):
        raise ValueError(
            "must be 1 to 100 letters, digits, dots, dashes and underscores, and begin with a "
            f"letter or a digit, got {show(name)}"
        )
    if is_own_name(name):
        raise ValueError(
            f"must not be {name!r}, because the storage has a file or folder of that name; "
            "choose another name"
        )
    return name


def _class_reference(value: object) -> object:
    if (isinstance(value, str) and value) or isinstance(value, type):
        return value
    raise ValueError(f"must be a name, a reference or a class, got {show(value)}")


def _studies(value: object) -> object:
    """Check names of studies. A single name stays a text: in a list, ``similar`` is a study."""
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    return one_or_more_texts(value)


def _space(value: object) -> object:
    """Check a space given as plain values; names and files are resolved later."""
    if (isinstance(value, str | Path) and str(value)) or value is None:
        return value
    try:
        return SearchSpace.from_dict(value) if isinstance(value, Mapping) else _is_space(value)
    except SpaceError as error:
        raise ValueError(f"is wrong: {str(error).removesuffix('.')}") from None


def _is_space(value: object) -> SearchSpace:
    if isinstance(value, SearchSpace):
        return value
    raise ValueError(f"must be a name, a path or the space itself, got {show(value)}")


def _own_searcher(value: object) -> object:
    """Return a searcher of Rayfold, which may wrap one of Ray Tune."""
    if value is None or isinstance(value, Searcher):
        return value
    from rayfold.tuning.foreign import ForeignSearcher, is_tune_searcher

    if is_tune_searcher(value):
        return ForeignSearcher(value)
    raise ValueError(
        "must be an object of rayfold.search, such as rayfold.search.Bayesian(), or a Searcher of "
        f"ray.tune, got {show(value)}"
    )


def _own_scheduler(value: object) -> object:
    """Return a scheduler of Rayfold, which may wrap one of Ray Tune."""
    if value is None or isinstance(value, Scheduler):
        return value
    from rayfold.tuning.foreign import ForeignScheduler, is_tune_scheduler

    if is_tune_scheduler(value):
        return ForeignScheduler(value)
    raise ValueError(
        "must be an object of rayfold.schedulers, such as rayfold.schedulers.Racing(), or a "
        f"TrialScheduler of ray.tune, got {show(value)}"
    )


StudyName = Annotated[
    Text, AfterValidator(_study_name), Field(json_schema_extra={"pattern": f"^{_STUDY_NAME}$"})
]
"""A study's name; its folder and its runs in MLflow have the same name."""


ClassReference = Annotated[
    str | type[Any], BeforeValidator(_class_reference, json_schema_input_type=Text)
]
"""A class, or its name or reference."""


def _known_task(name: str) -> str:
    if name not in TASKS:
        known = " or ".join(map(repr, TASKS))
        raise ValueError(f"must be {known}, got {show(name)}{task_hint(name)}")
    return name


TaskName = Annotated[
    str, AfterValidator(_known_task), Field(strict=True, json_schema_extra={"enum": [*TASKS]})
]
"""A task's name."""


@options(moved={"fold_order": "order of the folds: folds=Folds(order=...)"})
class Specification:
    """All options of a study."""

    name: StudyName
    """Name of the study."""
    _: KW_ONLY
    model: ClassReference
    """The model: a name of the library, package.module:ClassName or ./file.py:ClassName."""
    learner: ClassReference = "supervised"
    """What a fold learns and how: supervised, package.module:ClassName or ./file.py:ClassName."""
    strategy: ClassReference = "all_reduce"
    """How the workers of a group train together: all_reduce, or a reference as for the learner."""
    data: DataOption
    """Source of the rows: {hdf5: file.h5}, or a reference to your own source with its arguments,
    such as {"./file.py:ClassName": {argument: value}}."""
    task: TaskName | None = None
    """Kind of problem; null means regression if labels are floats, classification otherwise."""
    holdout: Annotated[Holdout, alone(Holdout, "fraction", float)] = Holdout()
    """Test rows, which no trial sees; a number is their share of all rows."""
    folds: Annotated[Folds, alone(Folds, "count", int)] = Folds()
    """Cross-validation; a number is the count of folds."""
    epochs: Count = DEFAULT_EPOCHS
    """Epochs of each fold."""
    loss: ClassReference | None = None
    """The loss: a name, or a reference as for the learner; null is the task's default."""
    metrics: Annotated[Sequence[ClassReference], refuse_empty_list, as_tuple] = ()
    """The metrics on the validation rows: names, or references as for the learner; empty is the
    task's default."""
    parameters: Parameters = Field(default_factory=dict)
    """Hyperparameters that are not searched: dotted name to value. The values of optimizer.name
    and schedule.name may be references."""
    random_seed: Seed = 0
    """Seed of weights, dropout and the order of rows; each fold's seed is derived from it."""
    initial_weights: (
        Annotated[InitialWeights, alone(InitialWeights, "studies", str | list[str])] | None
    ) = None
    """Earlier studies whose models four of five trials begin with, for tensors whose names and
    shapes match: names, or a mapping with studies. The models are copied into the study's
    folder."""

    space: Annotated[
        Any, BeforeValidator(_space, json_schema_input_type=Text | dict[str, Any] | None)
    ] = None
    """The search space: a name of the library, a YAML file, or the space itself; null takes the
    space of the library's model."""
    searcher: Annotated[
        Any,
        BeforeValidator(_own_searcher),
        named("searcher", "{genetic: {population: 16}}", SEARCHERS.create),
    ] = None
    """A searcher's name, or its name with arguments. Null is genetic, or the searcher that the
    scheduler needs, such as random for a population."""
    scheduler: Annotated[
        Any,
        BeforeValidator(_own_scheduler),
        named("scheduler", "{racing: {rule: paired}}", SCHEDULERS.create),
    ] = None
    """A scheduler's name, or its name with arguments; null trains every trial to its end."""
    num_trials: Count | None = None
    """Largest number of trials; null takes all configurations of the searcher, or 50 if it never
    ends."""
    max_time: Seconds | None = None
    """Seconds after which a run ends in order; the next run resumes."""
    max_time_per_trial: Seconds | None = None
    """Seconds of training after which a trial ends and keeps what it has."""
    start_from: Annotated[
        str | Sequence[str] | None,
        PlainValidator(_studies, json_schema_input_type=str | list[str] | None),
    ] = None
    """Earlier studies to start from, names or ids; similar takes those with the nearest data. The
    journal records what was taken, so a study that resumes does not ask MLflow again."""
    rename: Annotated[Mapping[str, Text], refuse_strange_names] = Field(default_factory=dict)
    """Names of parameters in earlier studies, each with its name in this space."""
    prune_space: Flag = False
    """Whether to search only the box around good configurations of earlier studies."""
    sub_problems: SubProblems | None = None
    """Parts of the rows that are searched first, each by its own study NAME.PART. This study then
    starts from their trials. Null: no parts."""
    metric: Text = "val_loss"
    """The metric that the search optimises: val_loss, or val_ and one of the metrics."""
    mode: Literal["min", "max"] | None = None
    """Whether the metric is minimised or maximised; null follows from the metric."""

    accept: Annotated[Sequence[Acceptance], refuse_empty_list, as_tuple] = ()
    """Criteria that the best trial must meet."""

    groups: Groups = Groups()
    """Worker groups: bounds, size and devices."""
    storage: str | Path | None = None
    """Folder of all studies; null takes RAYFOLD_STORAGE, or rayfold-store."""
    checkpoint_seconds: Annotated[float, Field(strict=True, ge=0, le=MAX_COUNT), plain] = 30.0
    """Seconds between two checkpoints of a fold in training."""
    base: Path | None = None
    """Folder in which relative paths of models, spaces and data start."""

    def __post_init__(self) -> None:
        if self.searcher is None:
            object.__setattr__(self, "searcher", self._default_searcher())
        object.__setattr__(self, "space", self._resolved_space())
        if self.base is not None:
            object.__setattr__(self, "data", self.data.under(self.base))
            if self.sub_problems is not None:
                object.__setattr__(self, "sub_problems", self.sub_problems.under(self.base))
        for check in (self._check_past, self._check_weights, self._check_groups):
            check()
        if self.scheduler is not None:
            self._check_scheduler(self.scheduler)

    @property
    def fold_order(self) -> FoldOrder:
        """The order in which folds are trained: as given, or as the scheduler needs it."""
        needed = None if self.scheduler is None else self.scheduler.fold_order
        return self.folds.order or needed or "in_turn"

    @property
    def past(self) -> StartFrom | None:
        """What the search starts from; None: no earlier studies."""
        if self.start_from is None:
            return None
        return StartFrom(self.start_from, self.rename, self.prune_space)

    def limit(self) -> int:
        """Return the largest number of trials.

        Raises:
            RecipeError: If there are too few trials for the scheduler.
        """
        capacity = self.searcher.capacity
        limit = self.num_trials or capacity or DEFAULT_NUM_TRIALS
        if capacity is not None:
            limit = min(limit, capacity)
        if self.scheduler is not None and self.scheduler.trains_side_by_side and limit < 2:
            raise RecipeError(
                f"num_trials is the size of the population, at least 2, not {limit}."
            )
        return int(limit)

    def _default_searcher(self) -> Searcher:
        scheduler = self.scheduler
        if scheduler is not None and scheduler.configs:
            return search.Fixed(scheduler.configs)
        if scheduler is not None and scheduler.trains_side_by_side:
            return search.Random(random_seed=self.random_seed)
        return search.Genetic()

    def _resolved_space(self) -> SearchSpace:
        space = self.space
        if space is None:
            if not isinstance(self.model, str) or ":" in self.model:
                raise RecipeError("space is missing; say what is to be searched.")
            space = self.model
        return resolve_space(space, base=self.base)

    def _check_past(self) -> None:
        if self.past is None:
            for name in ("rename", "prune_space"):
                if getattr(self, name):
                    raise RecipeError(
                        f"{name} needs earlier studies; give start_from (search.start_from in a "
                        "recipe) too."
                    )
            return
        if not self.searcher.opens_with_past:
            raise RecipeError(
                f"the searcher {_name(self.searcher)} cannot start from earlier studies; leave "
                "start_from out, or use another searcher."
            )
        self.past.check(self.space)

    def _check_weights(self) -> None:
        wanted = self.initial_weights
        if wanted is not None and wanted.frozen_epochs >= self.epochs:
            raise RecipeError(
                f"initial_weights.frozen_epochs must be below epochs, {self.epochs}, not "
                f"{wanted.frozen_epochs}; loaded weights would never learn."
            )

    def _check_groups(self) -> None:
        if self.groups.per_trial > self.folds.total:
            raise RecipeError(
                "groups.per_trial must not be above the number of folds, got "
                f"{self.groups.per_trial} and {self.folds.total}; a group would stay idle."
            )

    def _check_scheduler(self, scheduler: Scheduler) -> None:
        name, order = _name(scheduler), scheduler.fold_order
        if order not in (None, self.fold_order):
            what = "fold by fold" if order == "in_turn" else "epoch by epoch"
            raise RecipeError(
                f"the scheduler {name} compares trials {what}; set folds.order to {order!r}, not "
                f"{self.fold_order!r}."
            )
        if scheduler.trains_side_by_side and self.searcher.learns:
            raise RecipeError(
                f"the scheduler {name} trains all trials side by side, so the searcher "
                f"{_name(self.searcher)} gets no results to learn from; use searcher=Random() "
                "(search.searcher: random in a recipe) for the first values."
            )
        if scheduler.changes_values and self.max_time_per_trial is not None:
            raise RecipeError(
                f"max_time_per_trial does not work with the scheduler {name}, whose trials take "
                "turns; leave it out, and limit the study with max_time."
            )
        if self.sub_problems is not None and scheduler.runs_in_tune:
            raise RecipeError(
                f"sub_problems do not work with the scheduler {name}, which would compare trials "
                "of different parts; leave one of them out, or use racing or halving."
            )


def _name(of: Searcher | Scheduler) -> str:
    return next(iter(of.settings()))
