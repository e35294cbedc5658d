"""The preparation of a study: all that follows from its options, each part found once."""

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import nn

from rayfold.data import DataSet, FoldPlan, SubProblem, load
from rayfold.description import DataDescription, StudyDescription
from rayfold.errors import RecipeError
from rayfold.groups.plan import PartPlan, Plan
from rayfold.journal import Entry, read_journal
from rayfold.library import model_source, resolve_model
from rayfold.results import Config
from rayfold.schedulers import Scheduler
from rayfold.space.coverage import MAX_CONFIGS, count_configurations, end_configurations
from rayfold.specification import Specification
from rayfold.storage import storage_folder
from rayfold.study.data_notes import data_warnings, input_lines
from rayfold.study.description import describe, describe_data_set
from rayfold.study.dry_run import DryRun, dry_run
from rayfold.study.head_start import HeadStart
from rayfold.study.recorded_code import done_so_far
from rayfold.study_folder import StudyFolder
from rayfold.tasks import Metric
from rayfold.training import Settings, StudySetup
from rayfold.training.changes import check_changes
from rayfold.training.hyperparameters import check_hyperparameters
from rayfold.training.learners import Learner
from rayfold.training.losses import check_loss
from rayfold.training.metrics import check_defined, check_mode, find_metrics, metric_mode
from rayfold.training.references import LEARNERS, STRATEGIES, read_references, references_in
from rayfold.training.warm_start import WarmStart
from rayfold.transfer.descriptors import describe_data
from rayfold.user_code import CodeRecord, SourceCode, find_source
from rayfold.user_code.first_import import try_import

FEW_ROWS = 1000
"""With fewer development rows, the plan advises repeated folds."""


@dataclass(frozen=True)
class Part:
    """The part of another study that a study trains on.

    Attributes:
        of: Name of the whole study.
        problem: The part: its rows, and the folds that train on them.
    """

    of: str
    problem: SubProblem


@dataclass(eq=False)
class Preparation:
    """A study's options and everything that follows from them; each is found once, on first use.

    Args:
        specification: The options.
        part: The part of another study that it trains on; None: all rows.
        whole: The preparation of that study, which shares its data.

    Raises:
        RecipeError: If the model cannot be found, or the storage cannot be a folder.
    """

    specification: Specification
    part: Part | None = None
    whole: "Preparation | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        options = self.specification
        self.storage: Path = storage_folder(options.storage)
        self.folder = StudyFolder(self.storage / options.name)
        if self.whole is not None:
            self.sources: tuple[SourceCode, ...] = self.whole.sources
            self._references: dict[str, SourceCode] = self.whole._references
        else:
            named = references_in(options.loss, options.metrics, options.parameters, options.space)
            self._references = read_references(named, base=options.base)
            self.sources = (
                model_source(options.model, base=options.base),
                LEARNERS.source(options.learner, base=options.base),
                STRATEGIES.source(options.strategy, base=options.base),
                *self._references.values(),
            )
            try_import(*self.sources)
        self.model, self._learner, self._strategy, *_ = self.sources
        self.model_class: type[nn.Module] = resolve_model(self.model)
        self.learner_class: type[Learner] = LEARNERS.load(self._learner)
        STRATEGIES.load(self._strategy)
        self.code = CodeRecord.of(*self.sources)
        self.source_code = find_source(type(options.data), what="source")

    @cached_property
    def parameters(self) -> Config:
        """Hyperparameters that are not searched, classes by their references."""
        given = self.specification.parameters
        return {name: _reference(value) for name, value in given.items()}

    @cached_property
    def data(self) -> DataSet:
        """The data, read and checked."""
        if self.whole is not None:
            return self.whole.data
        options = self.specification
        return load(options.data, task=options.task, holdout=options.holdout)

    @cached_property
    def data_description(self) -> DataDescription:
        """What the data are, and their descriptors; landmarks take a second."""
        if self.whole is not None:
            descriptors = self.whole.data_description.descriptors
        else:
            descriptors = describe_data(self.data)
        return describe_data_set(self, descriptors)

    @cached_property
    def fold_plan(self) -> FoldPlan:
        """The folds.

        Raises:
            DataError: If the data hold too few rows for them.
        """
        if self.part is not None:
            return self.part.problem.plan
        options, plan = self.specification, self.specification.folds.split(self.data)
        sought = self.metrics.get(options.metric.removeprefix("val_"))
        if sought is not None:
            check_defined(options.metric, sought, plan, self.data)
        return plan

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The metrics by the names that results call them."""
        return find_metrics(self._named_metrics(), self.data.task, self._references)

    @cached_property
    def settings(self) -> Settings:
        """The settings of all trials, with names checked against the task and the model."""
        options, task = self.specification, self.data.task
        loss, loss_parameters = check_loss(_reference(options.loss), task, self._references)
        reports = self.learner_class.reports
        own_mode = metric_mode(options.metric, self.metrics, reports)
        for criterion in options.accept:
            try:
                metric_mode(criterion.metric, self.metrics, reports)
            except RecipeError as error:
                raise RecipeError(f"accept: {error}") from None
        check_hyperparameters(
            options.space,
            self.parameters,
            model_class=self.model_class,
            loss=loss,
            loss_parameters=loss_parameters,
            code=self._references,
        )
        return Settings(
            epochs=options.epochs,
            loss=loss,
            metrics=self._named_metrics(),
            metric=options.metric,
            mode=check_mode(options.mode, options.metric, own_mode),
            random_seed=options.random_seed,
            checkpoint_seconds=options.checkpoint_seconds,
        )

    def _named_metrics(self) -> tuple[str, ...]:
        """Return the metrics of predictions by name or reference; some learners have none."""
        options = self.specification
        if self.learner_class.predicts:
            given = tuple(dict.fromkeys(map(_reference, options.metrics)))
            return given or self.data.task.default_metrics
        if options.metrics:
            raise RecipeError(
                f"metrics are computed of predictions, and the learner {self._learner.reference} "
                f"has none; leave them out. It reports {', '.join(self.learner_class.reports)}."
            )
        return ()

    @cached_property
    def scheduler(self) -> Scheduler | None:
        """The scheduler, checked and started, without any trial yet; None: there is none.

        Raises:
            RecipeError: If it does not suit the study.
        """
        options = self.specification
        if options.scheduler is None:
            return None
        scheduler: Scheduler = copy.deepcopy(options.scheduler)
        scheduler.start(
            mode=self.settings.mode,
            num_folds=options.folds.total,
            epochs=options.epochs,
            repeats=options.folds.repeats,
        )
        scheduler.check(options.space, options.searcher.configs)
        check_changes(
            scheduler.value_changes(options.space),
            self.parameters,
            model_class=self.model_class,
            data=self.data,
        )
        return scheduler

    @cached_property
    def head_start(self) -> HeadStart:
        """The study's head start from other studies."""
        options = self.specification
        return HeadStart(
            start_from=options.past,
            initial_weights=options.initial_weights,
            data=self.data,
            describe_data=lambda: self.data_description,
            plan=self.fold_plan,
            model_class=self.model_class,
            space=options.space,
            parameters=self.parameters,
            storage=self.storage,
            folder=self.folder.path,
        )

    @cached_property
    def parts(self) -> tuple["Preparation", ...]:
        """The studies of the parts, which run first; empty without ``sub_problems``.

        Raises:
            RecipeError: If the rows cannot be cut in this way.
            DataError: If a part is too small for the folds.
        """
        wanted = self.specification.sub_problems
        if wanted is None:
            return ()
        problems = wanted.split(self.data, self.fold_plan, self.specification.data)
        return tuple(
            self._of_part(problem, number) for number, problem in enumerate(problems, start=1)
        )

    def _of_part(self, problem: SubProblem, number: int) -> Self:
        """Return the study of a part, which differs in the rows that it trains on.

        Its searcher has its own seed, so that parts try different configurations.
        """
        options, wanted = self.specification, self.specification.sub_problems
        assert wanted is not None
        specification = dataclasses.replace(
            options,
            name=f"{options.name}.{problem.name}",
            searcher=options.searcher.with_seed(number),
            sub_problems=None,
            num_trials=wanted.num_trials,
        )
        return type(self)(specification, Part(options.name, problem), self)

    def plan(self, entries: Sequence[Entry], num_trials: int, *, begun: bool) -> Plan:
        """Return the plan, without a try of the model.

        Args:
            entries: The study's journal.
            num_trials: Largest number of trials.
            begun: Whether an earlier run has begun the study.

        Raises:
            RayfoldError: If an option is wrong.
        """
        options = self.specification
        start, weights = self.head_start.start(entries), self.head_start.weights(entries)
        return Plan(
            groups=options.groups,
            num_trials=num_trials,
            num_folds=len(self.fold_plan.folds),
            epochs=options.epochs,
            data_bytes=self.data.num_bytes,
            inputs=input_lines(self.data),
            warnings=(
                *self._space_warnings(num_trials),
                *data_warnings(self.data, self.model_class),
            ),
            hints=self._hints(),
            past=(*start.lines, *(weights.lines if weights else ())),
            parts=tuple(part._part_plan() for part in self.parts),
            done=done_so_far(entries) if begun else "",
        )

    def check(self) -> None:
        """Check everything that needs no journal.

        Raises:
            RecipeError: If an option is wrong.
            SpaceError: If a given configuration does not belong to the space.
            DataError: If the data cannot be read, or hold too few rows for the folds.
        """
        self.specification.searcher.check(self.specification.space)
        for needed in ("settings", "scheduler", "fold_plan", "parts"):
            getattr(self, needed)
        for study in (*self.parts, self):
            study.folder.check()

    def entries(self) -> list[Entry]:
        """Return the present entries of the study's journal; empty before the study begins."""
        journal = self.folder.journal
        return read_journal(journal) if journal.exists() else []

    def setup(self, warm_start: WarmStart | None = None) -> StudySetup:
        """Return the setup of all folds."""
        return StudySetup(
            model=self.model,
            learner=self._learner,
            strategy=self._strategy,
            settings=self.settings,
            plan=self.fold_plan,
            folder=self.folder.path,
            parameters=self.parameters,
            references=self._references,
            warm_start=warm_start,
        )

    def dry_run(self) -> DryRun:
        """Try the model at the ends of the space, or with the given configurations.

        Raises:
            ModelError: If it fails.
        """
        options = self.specification
        configs: Sequence[Config] = options.searcher.configs[:MAX_CONFIGS]
        return dry_run(
            self.setup(),
            self.data,
            configs or end_configurations(options.space, limit=MAX_CONFIGS),
            uses_gpu=options.groups.gpus_per_worker > 0,
        )

    def description(self, entries: Sequence[Entry]) -> StudyDescription:
        """Return the description of the study, for its journal and MLflow."""
        return describe(self, self.head_start.start(entries).space)

    def _part_plan(self) -> PartPlan:
        assert self.part is not None
        problem = self.part.problem
        return PartPlan(self.specification.name, problem.num_rows, self.specification.limit())

    def _space_warnings(self, num_trials: int) -> tuple[str, ...]:
        """Warn if there are more trials than configurations: some would be trained twice."""
        options = self.specification
        number = count_configurations(options.space)
        chosen = options.searcher.configs or (
            options.scheduler is not None and options.scheduler.trains_side_by_side
        )
        if chosen or number is None or num_trials <= number:
            return ()
        different = "one configuration" if number == 1 else f"{number} configurations at most"
        return (
            f"the space holds {different}, so that {num_trials} trials train some again; lower "
            f"num_trials to {number}, or widen the space.",
        )

    def _hints(self) -> tuple[str, ...]:
        num_rows = len(self.data.development_rows)
        if num_rows >= FEW_ROWS or self.specification.folds.repeats > 1:
            return ()
        return (f"{num_rows} rows are few: folds.repeats=3 would steady the scores",)


def _reference(given: Any) -> Any:
    """Return the reference of a class; anything else as it is."""
    return find_source(given).reference if isinstance(given, type) else given
