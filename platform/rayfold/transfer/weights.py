"""Which fold models of earlier studies the trials of a new one begin with."""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import nn

from rayfold.data import DataSet, FoldPlan, SeenRows
from rayfold.errors import DataError, ModelError, RecipeError, TrackingError
from rayfold.results import Config
from rayfold.space import SearchSpace
from rayfold.storage import replacing
from rayfold.tracking import LoggedStudy, LoggedTrial, read_study
from rayfold.training.warm_start import (
    Shapes,
    SourceTrial,
    WarmStart,
    model_shapes,
    output_tensors,
)
from rayfold.transfer.requests import InitialWeights

MAX_TRIALS = 32
"""So many of a study's best trials are looked at; of those with equal shapes the best counts."""

NUM_SAMPLED = 16
"""Configurations of the new space that are held against the sources before the study begins."""


@dataclass(frozen=True, kw_only=True)
class FoundWeights:
    """What the trials of a study begin with, and where that comes from.

    Attributes:
        warm_start: For the workers.
        lines: Where the weights come from and what fits, a line for each study and more.
        inherited: For each fold of the new study, digests of rows that its sources have seen.
        files: Where each file that ``warm_start`` names can be copied from; empty once that was
            done.
    """

    warm_start: WarmStart
    lines: tuple[str, ...]
    inherited: Mapping[int, np.ndarray] = field(default_factory=dict, repr=False)
    files: Mapping[Path, tuple[LoggedTrial, int]] = field(default_factory=dict, repr=False)

    def keep(self, folder: Path) -> None:
        """Copy the weights into the study's folder.

        Raises:
            TrackingError: If they cannot be fetched any more.
        """
        for name, (trial, fold) in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                shutil.copyfile(trial.weights(fold), temporary)

    def check_kept(self, folder: Path) -> None:
        """Check that the weights are still in the study's folder.

        Raises:
            RecipeError: If a file is missing.
        """
        for source in self.warm_start.sources:
            for fold in {fold for fold in source.folds if fold is not None}:
                if not (folder / source.file(fold)).is_file():
                    raise RecipeError(
                        f"{folder / source.file(fold)} is missing, which the study's trials begin "
                        "with; put it back, or give the study another name."
                    )

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values, for the journal."""
        return {"warm_start": self.warm_start.to_dict(), "lines": list(self.lines)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a record from ``to_dict()``: the weights are kept by then."""
        return cls(
            warm_start=WarmStart.from_dict(values["warm_start"]), lines=tuple(values["lines"])
        )


def find_weights(
    wanted: InitialWeights,
    *,
    data: DataSet,
    plan: FoldPlan,
    model_class: type[nn.Module],
    space: SearchSpace,
    parameters: Config,
    uri: str | None = None,
    storage: Path | None = None,
) -> FoundWeights:
    """Choose what a study's trials begin with, from MLflow alone.

    A fold begins with a model that has seen none of its validation rows and none of the test
    rows, neither itself nor through the weights that it began with. Rows that the fold trains
    with anyway are no secret.

    Args:
        wanted: Which studies, and how they are taken.
        data: Of the new study.
        plan: Its folds.
        model_class: Its model.
        space: What it searches.
        parameters: What it does not search.
        uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in ``storage``.
        storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.

    Raises:
        RecipeError: If a study is unknown, has no completed trial, has seen what it must not, or
            no tensor of it fits.
        TrackingError: If MLflow cannot be read.
    """
    new = SeenRows.of(data, plan)
    secrets = [_secrets(new, data, plan, fold) for fold in range(len(plan.folds))]
    sources: list[SourceTrial] = []
    lines: list[str] = []
    files: dict[Path, tuple[LoggedTrial, int]] = {}
    inherited: dict[int, np.ndarray] = {}
    for name in wanted.studies:
        try:
            study = read_study(name, uri=uri, storage=storage)
            old = SeenRows.load(study.seen_rows())
        except TrackingError as error:
            raise TrackingError(f"initial_weights: {error}") from None
        except DataError as error:
            raise RecipeError(f"initial_weights: study {name!r}: {error}") from None
        folds = _matched_folds(old, secrets)
        if all(fold is None for fold in folds):
            raise RecipeError(
                f"initial_weights: every model of study {name!r} has seen validation or test rows "
                "of this study; use the same folds and holdout as there, or "
                "leave it out."
            )
        found = list(_sources(study, folds, _same_outputs(study, data), len(sources)))
        if not found:
            raise RecipeError(
                f"initial_weights: study {name!r} has no completed trial whose weights are in "
                "MLflow; wait until it has one, or leave it out."
            )
        for source, trial in found:
            sources.append(source)
            files |= {source.file(f): (trial, f) for f in folds if f is not None}
        for fold, source_fold in enumerate(folds):
            if source_fold is not None:
                seen = old.by_fold(source_fold)
                inherited[fold] = np.union1d(inherited.get(fold, seen[:0]), seen)
        lines.append(_line(study, [source for source, _ in found], folds))
    warm_start = WarmStart(
        sources=tuple(sources),
        shrink=wanted.shrink,
        noise=wanted.noise,
        frozen_epochs=wanted.frozen_epochs,
        learning_rate_factor=wanted.learning_rate_factor,
    )
    lines.append(_fit(warm_start, data, model_class, space, parameters))
    return FoundWeights(
        warm_start=warm_start, lines=tuple(lines), inherited=inherited, files=files
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _secrets(new: SeenRows, data: DataSet, plan: FoldPlan, fold: int) -> np.ndarray:
    """Return the digests of the rows that the models of a fold must not have seen."""
    hidden = np.union1d(new.digests[plan.folds[fold].validation_rows], new.digests[data.test_rows])
    return np.setdiff1d(hidden, new.digests[plan.folds[fold].training_rows])


def _matched_folds(old: SeenRows, secrets: Sequence[np.ndarray]) -> tuple[int | None, ...]:
    """Return for each fold of the new study one of the old that has seen none of its secrets.

    It is that of the same number where that will do, else they take turns.
    """
    all_seen = [old.by_fold(fold) for fold in range(len(old.training))]
    matched: list[int | None] = []
    for fold, hidden in enumerate(secrets):
        allowed = [
            number
            for number, seen in enumerate(all_seen)
            if not np.isin(hidden, seen, assume_unique=True).any()
        ]
        here = fold if fold in allowed else allowed[fold % len(allowed)] if allowed else None
        matched.append(here)
    return tuple(matched)


def _sources(
    study: LoggedStudy, folds: tuple[int | None, ...], same_outputs: bool, first_number: int
) -> Iterator[tuple[SourceTrial, LoggedTrial]]:
    """Yield the best trials of a study, each with other shapes than those before it."""
    needed = {fold for fold in folds if fold is not None}
    sign = 1.0 if study.description.mode == "min" else -1.0
    scored = [
        (sign * trial.score, trial)
        for trial in study.trials
        if trial.score is not None and math.isfinite(trial.score) and needed <= set(trial.folds)
    ]
    known: list[Shapes] = []
    for _, trial in sorted(scored, key=lambda pair: pair[0])[:MAX_TRIALS]:
        shapes = _file_shapes(trial.weights(min(needed)), f"trial {trial.id} of {study.name}")
        if shapes in known:
            continue
        known.append(shapes)
        source = SourceTrial(
            number=first_number + len(known) - 1,
            study=study.name,
            study_id=study.id,
            trial=trial.id,
            shapes=shapes,
            same_outputs=same_outputs,
            folds=folds,
        )
        yield source, trial


def _file_shapes(path: Path, what: str) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise TrackingError(
            f"initial_weights: the weights of {what} cannot be read: {error}."
        ) from error


def _same_outputs(study: LoggedStudy, data: DataSet) -> bool:
    """Tell whether a study predicts what the new data ask for."""
    past = study.description.data
    return (
        past.task == data.task.name
        and (past.classes or ()) == tuple(data.classes or ())
        and past.num_outputs == data.num_outputs
    )


def _line(study: LoggedStudy, sources: Sequence[SourceTrial], folds: Sequence[int | None]) -> str:
    cold = [str(fold) for fold, source_fold in enumerate(folds) if source_fold is None]
    parts = [
        f"weights of {study.name}: {len(sources)} of {len(study.trials)} trials, the best of each "
        f"shape, {sources[0].trial} first"
    ]
    if not sources[0].same_outputs:
        parts.append("the output layer begins anew, since what is predicted differs")
    if cold:
        parts.append(
            f"fold {', '.join(cold)} begins cold, for all its models have seen validation or test "
            "rows of it"
        )
    return "; ".join(parts)


def _fit(
    warm_start: WarmStart,
    data: DataSet,
    model_class: type[nn.Module],
    space: SearchSpace,
    parameters: Config,
) -> str:
    """Say how much of the new models can be loaded, by a sample of the space.

    Raises:
        RecipeError: If nothing can.
    """
    generator = np.random.default_rng(0)
    fold = next(
        fold
        for source in warm_start.sources
        for fold, source_fold in enumerate(source.folds)
        if source_fold is not None
    )
    loaded: list[tuple[int, int]] = []
    for _ in range(NUM_SAMPLED):
        config = {**parameters, **space.sample(generator)}
        try:
            shapes = model_shapes(model_class, config, data)
            outputs = output_tensors(model_class, config, data)
        except ModelError:
            continue  # a trial of it fails, and says why
        source = warm_start.choose(shapes, outputs, fold=fold, number=0)
        fitting = source.fitting(shapes, outputs) if source is not None else ()
        loaded.append((len(fitting), len(shapes)))
    shares = [number for number, _ in loaded]
    if loaded and not any(shares):
        studies = ", ".join(dict.fromkeys(source.study for source in warm_start.sources))
        raise RecipeError(
            f"initial_weights: no tensor of {studies} has the name and shape of one of "
            f"{model_class.__name__}'s; use the same model, or leave it out."
        )
    sizes = [size for _, size in loaded]
    return (
        f"{_range(shares)} of {_range(sizes)} tensors can be loaded in {len(loaded)} "
        "configurations of the space"
    )


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers, default=0), max(numbers, default=0)
    return str(low) if low == high else f"{low} to {high}"
