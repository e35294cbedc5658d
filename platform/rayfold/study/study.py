"""The facade: what a study is, and how it begins, goes on and ends."""

import copy
import logging
import math
import os
import platform
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from torch import nn

from rayfold import schedulers, search
from rayfold.data import HDF5, DataSet, Folds, SeenRows, load
from rayfold.errors import RecipeError, one_of
from rayfold.groups.plan import Groups, Plan
from rayfold.journal import Entry, Journal, read_journal
from rayfold.library import model_reference, resolve_model, resolve_space
from rayfold.orders import FoldOrder
from rayfold.recipe import Acceptance, Recipe, check_study_name
from rayfold.report import create_progress
from rayfold.results import Mode, Value
from rayfold.schedulers import Population, Replay, Scheduler
from rayfold.search import Fixed, Past, Searcher
from rayfold.space import SearchSpace
from rayfold.storage import default_storage
from rayfold.study.arguments import (
    check_initial_weights,
    check_limit,
    check_order,
    check_replay,
    check_seconds,
    check_start,
    check_turns,
    own_scheduler,
    own_searcher,
    scheduler_settings,
)
from rayfold.study.interruption import Interruption
from rayfold.study.result import StudyResult
from rayfold.tracking import SEEN_ROWS, Uploader, tracking_uri
from rayfold.training import Settings, StudySetup
from rayfold.training.changes import check_schedule_keeps_shapes, check_shapes_stay
from rayfold.training.hyperparameters import check_hyperparameters
from rayfold.training.losses import check_loss
from rayfold.training.metrics import check_metrics, metric_mode
from rayfold.transfer import (
    ColdStarts,
    FoundWeights,
    InitialWeights,
    Start,
    describe_data,
    find_start,
    find_weights,
)
from rayfold.tuning.ledger import Ledger

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler
    from ray.tune.search import Searcher as TuneSearcher

logger = logging.getLogger(__name__)

UPLOAD_SECONDS = 120.0
"""How long the end of a study waits for MLflow before it leaves the rest to the next run."""

FEW_ROWS = 1000
"""Below so many development rows, the plan advises to cut them into folds more than once."""


NOT_COMPARED = ("environment", "descriptors")
"""What of a study's description may differ when it goes on; studies of old lack descriptors."""


class Study:
    """One search over one data set, resumable at any moment.

    Args:
        name: Names the study's folder in the storage, and its runs in MLflow.
        model: A name of the library (``"cnn"``), a reference (``"package.module:Net"``,
            ``"./net.py:Net"``) or the class itself.
        data: Where the data lie.
        space: What is searched; None takes the search space of the library's model.
        searcher: Proposes the trials; None takes ``search.Genetic()``, and ``search.Random()`` for
            the first values of a population. Any searcher of Ray Tune will do, see
            ``tuning.foreign``.
        folds: How each trial is cross-validated.
        epochs: Epochs of each fold.
        loss: Name of the loss; None takes the task's default.
        metrics: Names of the metrics; none takes the task's default.
        metric: What the study searches for, ``"val_loss"`` or ``"val_"`` + one of ``metrics``.
        mode: Whether a small or a large metric is good; None knows it from the metric.
        parameters: Hyperparameters that are not searched, dotted name to value.
        start_from: Earlier studies in MLflow, by name or id, whose completed trials the searcher
            starts from; ``"similar"`` takes those of the most similar data. What was taken is in
            the journal: a study that goes on does not ask MLflow again.
        rename: What parameters of the past are called in this space, old name to new.
        prune_space: Whether to search only the box around what was good in the past.
        initial_weights: Earlier studies in MLflow, by name or id, or ``InitialWeights(...)``: four
            of five trials begin with their best fold models, where names and shapes of tensors
            match. What was taken is copied into the study's folder.
        scheduler: Ends weak trials early, such as ``schedulers.Racing()``; None trains all folds
            of every trial. Any scheduler of Ray Tune will do.
        max_time_per_trial: Seconds of training after which a trial ends as stopped, with what it
            has after its present epoch; None sets no limit.
        fold_order: ``"in_turn"`` or ``"together"``, see ``tuning.TrialRunner``.
        groups: The worker groups.
        random_seed: Seed of every fold's initial weights, batches and dropout.
        accept: What the best trial must reach, for ``rayfold run``'s exit status.
        storage: Folder of all studies; None takes ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.
        checkpoint_seconds: Seconds between two checkpoints of a fold in training.
        base: Folder that relative references to models and spaces start from.

    Raises:
        RecipeError: If an argument is wrong; the message names it.
        DataError: If the data source is wrong.
    """

    def __init__(
        self,
        name: str,
        *,
        model: str | type[nn.Module],
        data: HDF5,
        space: SearchSpace | Mapping[str, Any] | str | Path | None = None,
        searcher: "Searcher | TuneSearcher | None" = None,
        scheduler: "Scheduler | TrialScheduler | None" = None,
        max_time_per_trial: float | None = None,
        folds: Folds | None = None,
        epochs: int = 10,
        loss: str | None = None,
        metrics: Sequence[str] = (),
        metric: str = "val_loss",
        mode: Mode | None = None,
        parameters: Mapping[str, Value] | None = None,
        start_from: str | Sequence[str] | None = None,
        rename: Mapping[str, str] | None = None,
        prune_space: bool = False,
        initial_weights: InitialWeights | str | Sequence[str] | None = None,
        fold_order: FoldOrder = "in_turn",
        groups: Groups | None = None,
        random_seed: int = 0,
        accept: Sequence[Acceptance] = (),
        storage: str | Path | None = None,
        checkpoint_seconds: float = 30.0,
        base: str | Path | None = None,
    ) -> None:
        check_study_name(name)
        base = Path(base) if base is not None else Path.cwd()
        if space is None:
            if not isinstance(model, str) or ":" in model:
                raise RecipeError("space is missing; say what is to be searched.")
            space = model
        if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
            raise RecipeError(f"epochs must be a whole number of at least 1, not {epochs!r}.")
        self.name = name
        self.space = resolve_space(space, base=base)
        self.folds = folds or Folds()
        self.groups = groups or Groups()
        self.storage = Path(storage).absolute() if storage is not None else default_storage()
        self._model_class = resolve_model(model, base=base)
        self._model_reference = model_reference(model)
        self._data = data
        self._dataset: DataSet | None = None
        self._scheduler, self._tune_scheduler = own_scheduler(scheduler)
        if searcher is None and isinstance(self._scheduler, Population):
            searcher = search.Random(random_seed=random_seed)
        self._searcher = own_searcher(searcher)
        self._start_from = check_start(start_from, rename, prune_space, self._searcher, self.space)
        self._start: Start | None = None
        self._initial_weights = check_initial_weights(initial_weights, epochs)
        self._weights: FoundWeights | None = None
        self._max_time_per_trial = check_limit("max_time_per_trial", max_time_per_trial)
        self._epochs, self._loss, self._metrics = epochs, loss, tuple(metrics)
        self._metric, self._parameters = metric, dict(parameters or {})
        self._mode = None if mode is None else one_of("mode", mode, get_args(Mode))
        self._fold_order = one_of("fold_order", fold_order, get_args(FoldOrder))
        self._random_seed = random_seed
        self._checkpoint_seconds = check_seconds(
            "checkpoint_seconds", checkpoint_seconds, zero=True
        )
        self.accept = tuple(accept)
        self._num_trials: int | None = None
        self._max_time: float | None = None

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> Self:
        """Build the study that a recipe describes; relative paths start at its folder."""
        fixed, base = recipe.fixed, recipe.base
        study = cls(
            recipe.study,
            model=fixed.model,
            data=fixed.data.source(base),
            space=recipe.search.space,
            searcher=search.create(*recipe.search.searcher_call),
            scheduler=(
                schedulers.create(*recipe.search.scheduler_call)
                if recipe.search.scheduler_call
                else None
            ),
            max_time_per_trial=recipe.search.max_time_per_trial,
            folds=Folds(
                fixed.folds.count,
                random_seed=fixed.folds.random_seed,
                kind=fixed.folds.kind,
                repeats=fixed.folds.repeats,
            ),
            epochs=fixed.epochs,
            loss=fixed.loss,
            metrics=fixed.metrics,
            metric=recipe.search.metric,
            mode=recipe.search.mode,
            parameters=fixed.parameters,
            start_from=recipe.search.start_from,
            rename=recipe.search.rename,
            prune_space=recipe.search.prune_space,
            initial_weights=(
                InitialWeights(**fixed.initial_weights.model_dump())
                if fixed.initial_weights
                else None
            ),
            fold_order=fixed.folds.order,
            groups=Groups(**recipe.resources.groups.model_dump()),
            random_seed=fixed.random_seed,
            accept=recipe.accept,
            storage=recipe.resources.storage,
            base=base,
        )
        study._num_trials = recipe.search.num_trials
        study._max_time = recipe.search.max_time
        return study

    @property
    def folder(self) -> Path:
        """Where the study keeps its journal and its trials."""
        return self.storage / self.name

    @property
    def dataset(self) -> DataSet:
        """The data, read and checked on first use."""
        if self._dataset is None:
            self._dataset = load(self._data)
        return self._dataset

    def plan(self, num_trials: int | None = None) -> Plan:
        """Check everything that can be checked without starting anything, and say what will run.

        Raises:
            RecipeError: If anything about the study is wrong.
            SpaceError: If a given configuration is none of the space.
            DataError: If the data cannot be read, or hold too few rows for the folds.
        """
        settings = self._settings()
        if isinstance(self._searcher, Fixed):
            self._searcher.check(self.space)
        self._start_scheduler(settings.mode)
        self.folds.split(self.dataset)
        _check_folder(self.folder)
        journal = self.folder / "journal.jsonl"
        entries = read_journal(journal) if journal.exists() else []
        start, weights = self._find_start(entries), self._find_weights(entries)
        return Plan(
            groups=self.groups,
            num_trials=self._limit(num_trials),
            num_folds=self.folds.total,
            epochs=self._epochs,
            data_bytes=self.dataset.num_bytes,
            hints=self._hints(),
            past=(*start.lines, *(weights.lines if weights else ())),
        )

    def run(
        self,
        num_trials: int | None = None,
        *,
        max_time: float | None = None,
        address: str | None = None,
        show_progress: bool = True,
    ) -> StudyResult:
        """Run the study, or go on where it stopped.

        Ctrl-C once: folds in training write a checkpoint, everything is written, and the result
        so far is returned. Twice: the process ends at once; nothing that is finished is lost.

        Args:
            num_trials: Trials at most, those of earlier runs included; None takes what the
                searcher or the recipe says.
            max_time: Seconds after which the study ends in order: no new trials, and folds in
                training write a checkpoint after their epoch. Run it again to go on for as long.
                None takes what the recipe says.
            address: Address of a Ray cluster; None takes ``$RAY_ADDRESS``, else starts Ray here.
            show_progress: Whether to show a live table.

        Raises:
            RecipeError: If anything about the study is wrong, or differs from how it began.
            DataError: If the data are wrong.
            ResourcesError: If no cluster answers, or it cannot hold a single group.
            JournalError: If another process runs the study, or its journal is damaged.
        """
        from rayfold.groups.cluster import check_reachable  # Ray, which plan() does without
        from rayfold.study.execution import Execution

        max_time = check_limit("max_time", max_time) or self._max_time
        deadline = math.inf if max_time is None else time.monotonic() + max_time
        num_trials = self.plan(num_trials).num_trials
        settings = self._settings()
        setup = StudySetup(
            model_class=self._model_class,
            settings=settings,
            plan=self.folds.split(self.dataset),
            folder=self.folder,
            parameters=self._parameters,
        )
        searcher = copy.deepcopy(self._searcher)
        scheduler, tune_scheduler = self._start_scheduler(settings.mode)
        uri = tracking_uri(self.storage)
        check_reachable(address)
        with Journal.open(self.folder / "journal.jsonl") as journal:
            entries = read_journal(journal.path)
            start = self._find_start(entries)
            searcher.start(start.space, mode=settings.mode, past=start.past)
            weights = self._find_weights(entries)
            if weights is not None:
                setup = replace(setup, warm_start=weights.warm_start)
            self._begin(
                journal, entries, self._description(setup, searcher, start), start, weights
            )
            cold_starts = None if weights is None else ColdStarts(settings.mode)
            ledger = Ledger(
                searcher,
                journal,
                num_trials=num_trials,
                scheduler=scheduler,
                cold_starts=cold_starts,
            )
            ledger.replay(entries)
            uploader = Uploader(self.folder, uri, self.storage / "artifacts")
            uploader.start()
            interruption, out_of_time = Interruption(), False
            try:
                if not ledger.exhausted:
                    with interruption.listening(), create_progress(show_progress) as progress:
                        execution = Execution(
                            name=self.name,
                            setup=setup,
                            groups=self.groups,
                            fold_order=self._fold_order,
                            scheduler=scheduler,
                            tune_scheduler=tune_scheduler,
                            max_time_per_trial=self._max_time_per_trial,
                            deadline=deadline,
                            space=start.space,
                            ledger=ledger,
                            uploader=uploader,
                            progress=progress,
                            interruption=interruption,
                        )
                        execution.run(self.dataset, address)
                        out_of_time = execution.out_of_time and not interruption.requested
                state = "out_of_time" if out_of_time else "finished"
                journal.append("run", state="interrupted" if interruption.requested else state)
            finally:
                uploaded = uploader.finish(UPLOAD_SECONDS)
            if not uploaded:
                logger.warning(
                    "MLflow at %s does not hold everything yet; the journal does. "
                    "Run the study again to upload the rest.",
                    uri,
                )
        if cold_starts is not None and cold_starts.misled:
            logger.warning(
                "Trials that begin cold are clearly better than those with initial weights; all "
                "later ones begin cold."
            )
        return StudyResult(
            name=self.name,
            metric=settings.metric,
            mode=settings.mode,
            trials=tuple(ledger.results),
            interrupted=interruption.requested,
            uploaded=uploaded,
            tracking_uri=uri,
            out_of_time=out_of_time,
        )

    def _find_start(self, entries: Sequence[Entry]) -> Start:
        """Return what the search starts from: what its journal says, else what MLflow holds.

        Raises:
            RecipeError: If a study that is asked for cannot be started from.
            TrackingError: If MLflow cannot be read.
        """
        if self._start_from is None:
            return Start(past=Past(), space=self.space)
        for entry in entries:
            if entry.event == "past":
                return Start.from_dict(entry.fields)
        if self._start is None:
            data = self.dataset
            present = {
                "task": data.task,
                "data_digest": data.digest,
                "descriptors": describe_data(data),
            }
            self._start = find_start(self._start_from, self.space, present, storage=self.storage)
        return self._start

    def _find_weights(self, entries: Sequence[Entry]) -> FoundWeights | None:
        """Return what trials begin with: what the journal says, else what MLflow holds.

        Raises:
            RecipeError: If a study that is asked for cannot be used.
            TrackingError: If MLflow cannot be read.
        """
        if self._initial_weights is None:
            return None
        for entry in entries:
            if entry.event == "initial_weights":
                kept = FoundWeights.from_dict(entry.fields)
                kept.check_kept(self.folder)
                return kept
        if self._weights is None:
            self._weights = find_weights(
                self._initial_weights,
                data=self.dataset,
                plan=self.folds.split(self.dataset),
                model_class=self._model_class,
                space=self.space,
                parameters=self._parameters,
                storage=self.storage,
            )
        return self._weights

    def _start_scheduler(self, mode: Mode) -> "tuple[Scheduler | None, TrialScheduler | None]":
        """Return the scheduler, one of ours started or one of Ray Tune, or neither.

        Raises:
            RecipeError: If it does not suit the study.
        """
        if self._tune_scheduler is not None:
            from rayfold.tuning.foreign import prepared_scheduler

            return None, prepared_scheduler(self._tune_scheduler, mode)
        if self._scheduler is None:
            return None, None
        check_order(self._scheduler, self._fold_order, self.groups)
        check_turns(self._scheduler, self._searcher, self._max_time_per_trial)
        scheduler = copy.deepcopy(self._scheduler)
        scheduler.start(
            mode=mode,
            num_folds=self.folds.total,
            epochs=self._epochs,
            repeats=self.folds.repeats,
        )
        if isinstance(scheduler, Population):
            check_shapes_stay(
                scheduler.parameters(self.space),
                self.space,
                self._parameters,
                model_class=self._model_class,
                data=self.dataset,
            )
        if isinstance(scheduler, Replay):
            check_replay(scheduler, self._searcher, self.space)
            check_schedule_keeps_shapes(
                scheduler.schedule,
                self._parameters,
                model_class=self._model_class,
                data=self.dataset,
            )
        return scheduler, None

    def _hints(self) -> tuple[str, ...]:
        num_rows = len(self.dataset.development_rows)
        if num_rows >= FEW_ROWS or self.folds.repeats > 1:
            return ()
        return (f"{num_rows} rows are few: folds.repeats=3 would steady the scores",)

    def _limit(self, num_trials: int | None) -> int:
        """Return how many trials there will be at most."""
        wanted = num_trials if num_trials is not None else self._num_trials
        if wanted is not None and (
            not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1
        ):
            raise RecipeError(f"num_trials must be a whole number of at least 1, not {wanted!r}.")
        limits = [number for number in (wanted, self._searcher.capacity) if number is not None]
        if not limits:
            raise RecipeError(
                "num_trials is missing (search.num_trials in a recipe), and this searcher never "
                "ends by itself; say how many trials."
            )
        if isinstance(self._scheduler, Population) and min(limits) < 2:
            raise RecipeError(
                f"num_trials is the size of the population, at least 2, not {min(limits)}."
            )
        return min(limits)

    def _settings(self) -> Settings:
        """Check all names against the task and the model."""
        task = self.dataset.task
        loss = check_loss(self._loss, task)
        metrics = check_metrics(self._metrics, task)
        mode = metric_mode(self._metric, metrics, task)
        for criterion in self.accept:
            try:
                metric_mode(criterion.metric, metrics, task)
            except RecipeError as error:
                raise RecipeError(f"accept: {error}") from None
        check_hyperparameters(
            self.space, self._parameters, model_class=self._model_class, loss=loss
        )
        return Settings(
            epochs=self._epochs,
            loss=loss,
            metrics=metrics,
            metric=self._metric,
            mode=self._mode or mode,
            random_seed=self._random_seed,
            checkpoint_seconds=self._checkpoint_seconds,
        )

    def _description(self, setup: StudySetup, searcher: Searcher, start: Start) -> dict[str, Any]:
        """Return what the study is, for its journal and for MLflow."""
        data, settings = self.dataset, setup.settings
        shapes = zip(data.feature_names, data.input_shapes, data.features, strict=True)
        return {
            "model": self._model_reference,
            "task": data.task,
            "classes": list(data.classes) if data.classes is not None else None,
            "inputs": [
                {"name": name, "shape": list(shape), "dtype": str(array.dtype)}
                for name, shape, array in shapes
            ],
            "labels": self._data.labels,
            "num_outputs": data.num_outputs,
            "epochs": settings.epochs,
            "loss": settings.loss,
            "metrics": list(settings.metrics),
            "metric": settings.metric,
            "mode": settings.mode,
            "data_digest": data.digest,
            "descriptors": describe_data(data),
            "fold_digest": setup.plan.digest,
            "num_folds": len(setup.plan.folds),
            "num_rows": len(data.development_rows),
            "test": {
                "fraction": self._data.test_fraction,
                "random_seed": self._data.random_seed,
                "row_groups": self._data.row_groups,
            },
            "parameters": dict(self._parameters),
            "random_seed": settings.random_seed,
            "start_from": None if self._start_from is None else self._start_from.settings(),
            "initial_weights": (
                None if self._initial_weights is None else self._initial_weights.settings()
            ),
            "searcher": searcher.settings(),
            "scheduler": scheduler_settings(self._scheduler, self._tune_scheduler),
            "space": start.space.to_dict(),
            "environment": {
                "python": platform.python_version(),
                "platform": platform.platform(),
                "ray": version("ray"),
                "rayfold": version("rayfold"),
                "torch": version("torch"),
            },
        }

    def _begin(
        self,
        journal: Journal,
        entries: Sequence[Entry],
        description: dict[str, Any],
        start: Start,
        weights: FoundWeights | None,
    ) -> None:
        """Write the study's first lines, or check that it is still the same study.

        What was taken from the past is written before anything can be suggested by it, and which
        rows the models will have seen before there is any.
        """
        begun = next((entry for entry in entries if entry.event == "study"), None)
        if begun is not None:
            _check_same(self.name, begun.fields["description"], description)
        if self._start_from is not None and all(entry.event != "past" for entry in entries):
            journal.append("past", **start.to_dict())
            for line in start.lines:
                logger.info("starts from %s", line)
        if weights is not None and all(entry.event != "initial_weights" for entry in entries):
            weights.keep(self.folder)
            journal.append("initial_weights", **weights.to_dict())
            for line in weights.lines:
                logger.info("begins with %s", line)
        if begun is None:
            inherited = weights.inherited if weights is not None else {}
            seen = SeenRows.of(self.dataset, self.folds.split(self.dataset), inherited)
            seen.save(self.folder / SEEN_ROWS)
            journal.append("study", name=self.name, id=uuid.uuid4().hex, description=description)
        journal.append("run", state="started")


def _check_folder(folder: Path) -> None:
    """Check that a study can be kept in a folder, which need not be there yet."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise RecipeError(
            f"{folder}: the study's folder cannot be made, since {there} is no folder that can be "
            "written; choose another storage."
        )
    if (folder / "trials").exists() and not (folder / "journal.jsonl").exists():
        raise RecipeError(
            f"{folder} holds trials but no journal; move it away or choose another study name."
        )


def _check_same(name: str, begun: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Check that a study goes on as it began."""
    for field in present:
        if field not in NOT_COMPARED and begun.get(field) != present[field]:
            before, now = _short(begun.get(field)), _short(present[field])
            raise RecipeError(
                f"study {name!r} began with {field} = {before}, now it is {now}; "
                f"put that back, or give the study another name."
            )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
