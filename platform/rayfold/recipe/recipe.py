"""The recipe: one YAML file that says what is fixed, searched, acceptable, and runs on what.

::

    study: digits
    fixed:
      model: cnn
      data: {hdf5: digits.h5, test_fraction: 0.2}
      folds: {count: 5, random_seed: 7}
      epochs: 10
    search:
      space: cnn
      searcher: {genetic: {population: 16, generations: 8, random_seed: 7}}
      num_trials: 128
    accept:
      - {metric: val_accuracy, at_least: 0.97}
    resources:
      groups: {minimum: 1, maximum: 4, workers: 1}

Only what the recipe itself can tell is checked here: names of searchers, losses, metrics and
models are looked up by those who have them. ``recipe.schema.json`` beside this file, which
editors use, is the output of ``schema_text()``.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from rayfold.data import HDF5, SubProblems
from rayfold.documents import read_file, read_yaml, write_yaml
from rayfold.errors import RecipeError
from rayfold.recipe.acceptance import Acceptance
from rayfold.recipe.fields import (
    Count,
    Number,
    Parameters,
    SchedulerName,
    SearcherName,
    Seconds,
    Seed,
    SpaceName,
    StudyName,
    TaskName,
    Text,
    Texts,
    ValueLists,
    names_alone,
    number_alone,
    refuse_empty_list,
    refuse_strange_names,
    study_name,
)
from rayfold.recipe.sections import Section, explain, override, show

DEFAULT_EPOCHS = 10
"""Epochs of each fold where a recipe or a ``Study`` names none."""

DEFAULT_NUM_TRIALS = 50
"""Trials of a study where neither it nor its searcher says how many."""


class DataSource(Section):
    """Where the data are, and what is held out of them."""

    hdf5: Texts
    """HDF5 file or files, relative to the recipe; a glob such as ``data/*.h5`` is allowed."""
    features: Texts | None = None
    """Data set, or data sets, that hold the features; null takes features, or the only other."""
    labels: Text = "labels"
    """Data set that holds the labels."""
    row_groups: Text | None = None
    """Data set that says which rows belong together, and to the same fold."""
    task: TaskName | None = None
    """Kind of labels; null tells it from their type."""
    test_fraction: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    """Share of the rows that no trial sees."""
    random_seed: Seed = 0
    """Seed of the split into development and test rows."""
    channels: Literal["first", "last"] = "first"
    """Axis of the channels of images (rows of 3 or 4 axes), as stored; models get them first."""

    def source(self, base: Path) -> HDF5:
        """Return the data source, with paths that start at ``base``."""
        paths = (self.hdf5,) if isinstance(self.hdf5, str) else self.hdf5
        return HDF5(
            [base / os.path.expanduser(path) for path in paths],  # noqa: PTH111
            features=self.features,
            labels=self.labels,
            row_groups=self.row_groups,
            task=self.task,
            test_fraction=self.test_fraction,
            random_seed=self.random_seed,
            channels=self.channels,
        )


class FoldSettings(Section):
    """How trials are cross-validated."""

    count: Annotated[int, Field(strict=True, ge=2)] = 5
    """Number of folds."""
    random_seed: Seed = 0
    """Seed of the split into folds."""
    kind: Literal["auto", "stratified", "plain", "grouped"] = "auto"
    """How rows are dealt out; auto follows from the labels and ``row_groups``."""
    repeats: Count = 1
    """How often the rows are cut into folds; more than once steadies the scores of few rows."""
    order: Literal["in_turn", "together"] = "in_turn"
    """One fold after another, or all folds epoch by epoch."""


class InitialWeightsSettings(Section):
    """What trials begin with; the names of studies alone take the defaults."""

    studies: Texts
    """Earlier studies in MLflow, names or ids."""
    shrink: Annotated[Number, Field(gt=0, le=1)] = 0.6
    """Factor of the loaded weights."""
    noise: Annotated[Number, Field(ge=0, le=1)] = 0.1
    """Factor of the fresh weights that are added to them."""
    frozen_epochs: Annotated[int, Field(strict=True, ge=0)] = 0
    """Epochs for which loaded weights stay as they are."""
    learning_rate_factor: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """Factor of the learning rate of loaded weights."""


_Folds = Annotated[FoldSettings, number_alone(FoldSettings, "count")]
_InitialWeights = Annotated[InitialWeightsSettings, names_alone(InitialWeightsSettings, "studies")]


class Fixed(Section):
    """What is the same in every trial."""

    model: Text
    """The model: a name of the library, package.module:ClassName or ./file.py:ClassName."""
    data: DataSource
    """Where the data are: {hdf5: file.h5}."""
    folds: _Folds = FoldSettings()
    """How trials are cross-validated; a number alone is their count."""
    epochs: Count = DEFAULT_EPOCHS
    """Epochs that each fold is trained for."""
    loss: Text | None = None
    """Name of the loss; null takes the task's default."""
    metrics: Annotated[tuple[Text, ...], refuse_empty_list] = ()
    """Names of the metrics on the validation rows; without any, the task's default."""
    parameters: Parameters = Field(default_factory=dict)
    """Hyperparameters that are not searched: dotted name to value."""
    random_seed: Seed = 0
    """Seed of weights, dropout and the order of rows; each fold has its own from it."""
    initial_weights: _InitialWeights | None = None
    """Earlier studies whose fold models trials begin with: names, or a mapping with studies."""


class SubProblemSettings(Section):
    """How the rows are cut into parts that are searched first, each alone."""

    by: Literal["files", "column", "labels"]
    """Whether each file, each value of a column or each group of classes is a part."""
    num_trials: Count
    """Configurations to try for each part."""
    column: Text | None = None
    """Data set with a value for each row, for parts by column."""
    groups: ValueLists | None = None
    """Parts by name, each with its files, values or classes; null makes one of each."""

    def request(self, base: Path) -> SubProblems:
        """Return what is asked for, with paths that start at ``base``."""
        groups: Mapping[str, Sequence[Any]] | None = self.groups
        if groups is not None and self.by == "files":
            groups = {name: [base / str(path) for path in paths] for name, paths in groups.items()}
        return SubProblems(
            by=self.by, num_trials=self.num_trials, column=self.column, groups=groups
        )


class Search(Section):
    """What is searched, and how."""

    space: SpaceName | None = None
    """The search space: a name of the library, a YAML file, or the space itself; null takes that
    of the library's model."""
    searcher: SearcherName | None = None
    """A searcher's name, or its name with its arguments; null is genetic."""
    scheduler: SchedulerName | None = None
    """A scheduler's name, or its name with its arguments; null trains every trial to its end."""
    num_trials: Count | None = None
    """Configurations to try at most; null takes all that the searcher has, else 50."""
    max_time: Seconds | None = None
    """Seconds after which a run ends in order; the next one goes on."""
    max_time_per_trial: Seconds | None = None
    """Seconds of training after which a trial ends with what it has."""
    start_from: Texts | None = None
    """Earlier studies to start from, names or ids; similar takes those of the nearest data."""
    rename: Annotated[dict[str, Text], refuse_strange_names] = Field(default_factory=dict)
    """Names of parameters of the past, each with its name in this space."""
    prune_space: bool = Field(default=False, strict=True)
    """Whether to search only the box around what was good in the past."""
    sub_problems: SubProblemSettings | None = None
    """Parts of the rows that are searched first, each alone; null searches the whole at once."""
    metric: Text = "val_loss"
    """What to search for."""
    mode: Literal["min", "max"] | None = None
    """Whether a small or a large metric is good; null tells it from the metric."""

    @property
    def searcher_call(self) -> tuple[str, dict[str, Any]] | None:
        """The searcher's name, and its arguments; None leaves it to the study."""
        return None if self.searcher is None else _call(self.searcher)

    @property
    def scheduler_call(self) -> tuple[str, dict[str, Any]] | None:
        """The scheduler's name, and its arguments; None without one."""
        return None if self.scheduler is None else _call(self.scheduler)


def _call(named: str | dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    if isinstance(named, str):
        return named, {}
    ((name, arguments),) = named.items()
    return name, arguments


class GroupBounds(Section):
    """How many groups of workers train folds."""

    minimum: Count = 1
    """Groups that must be had before the study starts."""
    maximum: Count = 1
    """Groups at most, as the cluster allows."""
    workers: Count = 1
    """Data-parallel workers of each group."""
    per_trial: Count = 1
    """Groups that a trial takes at once, at most one per fold."""
    cpus_per_worker: Annotated[Number, Field(gt=0)] = 1.0
    """CPU cores of each worker."""
    gpus_per_worker: Annotated[Number, Field(ge=0)] = 0.0
    """GPUs of each worker."""

    @model_validator(mode="after")
    def _fits_maximum(self) -> Self:
        for name in ("minimum", "per_trial"):
            if getattr(self, name) > self.maximum:
                raise ValueError(
                    f"must not have a {name} above its maximum, "
                    f"got {name} {getattr(self, name)} and maximum {self.maximum}"
                )
        return self


class Resources(Section):
    """What the study runs on, and where it keeps its files."""

    groups: GroupBounds = GroupBounds()
    """Worker groups: bounds, size and devices."""
    storage: Text | None = None
    """Folder of everything that the study keeps; null takes RAYFOLD_STORAGE."""


class Recipe(Section):
    """A validated recipe.

    Equal recipes have equal contents and equal folders that their paths are relative to.

    Raises:
        RecipeError: If anything is missing, unknown or wrong: a line for each field.
    """

    study: StudyName
    """Name of the study."""
    fixed: Fixed
    """What is the same in every trial: model, data, folds, epochs."""
    search: Search = Field(default_factory=lambda: Search())
    """What is searched, and how: space, searcher, num_trials."""
    accept: Annotated[tuple[Acceptance, ...], refuse_empty_list] = ()
    """What the best trial must reach for the study to have succeeded."""
    resources: Resources = Resources()
    """What the study runs on, and where it keeps its files."""

    _base: Path = PrivateAttr(default_factory=Path.cwd)

    def __init__(self, **contents: Any) -> None:
        try:
            super().__init__(**contents)
        except ValidationError as error:
            raise RecipeError(explain(error, type(self))) from None

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Return the recipe that a mapping describes.

        Raises:
            RecipeError: If it describes none.
        """
        if isinstance(obj, cls):
            return obj
        if not isinstance(obj, Mapping) or not all(isinstance(key, str) for key in obj):
            raise RecipeError(
                "a recipe is a mapping with the keys "
                f"{', '.join(cls.model_fields)}, got {show(obj)}."
            )
        return cls(**obj)

    @classmethod
    def from_yaml(
        cls,
        text: str,
        *,
        source: str = "recipe",
        base: Path | None = None,
        overrides: Sequence[str] = (),
    ) -> Self:
        """Read a recipe from a YAML document.

        Args:
            text: The document.
            source: What the errors name, such as the name of the file.
            base: Folder that its paths are relative to; None is the current folder.
            overrides: Changes such as ``"search.num_trials=20"``, made in order; values are YAML.

        Raises:
            RecipeError: If the document or an override is wrong.
        """
        document = read_yaml(text, source=source)
        if document is None:
            raise RecipeError(f"{source}: the recipe is empty; it needs study and fixed.")
        if isinstance(document, dict):
            for change in overrides:
                override(document, change, cls)
        try:
            recipe = cls.model_validate(document)
        except RecipeError as error:
            lines = str(error).splitlines()
            raise RecipeError("\n".join(f"{source}: {line}" for line in lines)) from None
        recipe._base = (base or Path()).resolve()
        return recipe

    def to_yaml(self) -> str:
        """Return the recipe as YAML: what was given, and no defaults."""
        return write_yaml(self.model_dump(exclude_unset=True))

    @property
    def base(self) -> Path:
        """The folder that relative paths refer to: the recipe file's."""
        return self._base

    @model_validator(mode="after")
    def _has_a_fold_for_each_group(self) -> Self:
        per_trial, count = self.resources.groups.per_trial, self.fixed.folds.count
        if per_trial > count:
            raise ValueError(
                "resources.groups.per_trial must not be above fixed.folds.count, "
                f"got {per_trial} and {count}"
            )
        return self


def check_study_name(name: str) -> None:
    """Check that a name can name a study's folder and its runs.

    Raises:
        RecipeError: If it cannot.
    """
    try:
        study_name(name)
    except ValueError as error:
        raise RecipeError(f"the name of a study {error}.") from None


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file.

    Args:
        path: The file; relative paths in it refer to its folder.
        overrides: Changes such as ``"search.num_trials=20"``, made in order; values are YAML.

    Raises:
        RecipeError: If the file cannot be read, or it or an override is wrong.
    """
    path = Path(path)
    text = read_file(path, "recipe")
    return Recipe.from_yaml(text, source=str(path), base=path.parent, overrides=overrides)


def schema_text() -> str:
    """Return the JSON schema of a recipe, the contents of ``recipe.schema.json``."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Recipe.model_json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"
