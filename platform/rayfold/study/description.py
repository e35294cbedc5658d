"""What a study is, as its journal and MLflow hold it, and whether it still is that."""

import dataclasses
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from rayfold.data import Channels, DataSet, Holdout
from rayfold.data.inputs import has_channels_last
from rayfold.errors import RecipeError
from rayfold.space import SearchSpace
from rayfold.study.differences import differences
from rayfold.training import Settings
from rayfold.training.references import LEARNERS, STRATEGIES, references_in
from rayfold.user_code import CodeRecord

if TYPE_CHECKING:
    from rayfold.study.preparation import Preparation

NUM_TRIALS = "num_trials"
"""Trials that a study began with, which its searcher is fitted to."""

NOT_COMPARED = ("environment", "descriptors", "accept", "code", "source_code")
"""What of a description may differ when a study goes on; code is compared by ``check_code``, and a
source by what it records and by its rows."""


def describe(study: "Preparation", space: SearchSpace) -> dict[str, Any]:
    """Return what a study is.

    Args:
        study: The study.
        space: What it searches: its space, pruned where that was asked for.
    """
    options, past = study.specification, study.specification.past
    weights, scheduler = options.initial_weights, options.scheduler
    return {
        "model": study.model.reference,
        "code": study.code.to_dict(),
        **describe_data_set(study.data, options.holdout),
        **_describe_source(study),
        "descriptors": study.descriptors,
        "fold_digest": study.fold_plan.digest,
        "num_folds": len(study.fold_plan.folds),
        "folds": {
            "count": options.folds.count,
            "random_seed": options.folds.random_seed,
            "kind": options.folds.kind,
            "repeats": options.folds.repeats,
            "row_groups": study.data.row_groups_name,
        },
        **_describe_training(study.settings),
        **_describe_training_code(study),
        "parameters": dict(study.parameters),
        "start_from": None if past is None else past.settings(),
        "initial_weights": None if weights is None else weights.settings(),
        "sub_problems": _describe_parts(study),
        "sub_problem": _describe_part(study),
        "searcher": options.searcher.settings(),
        "scheduler": None if scheduler is None else scheduler.settings(),
        "space": space.to_dict(),
        "accept": [criterion.to_dict() for criterion in options.accept],
        "environment": _describe_environment(),
    }


def describe_data_set(data: DataSet, holdout: Holdout) -> dict[str, Any]:
    """Return what the data are, and how its test rows were chosen."""
    return {
        "task": data.task.name,
        "classes": list(data.classes) if data.classes else None,
        "inputs": [
            _describe_input(name, array, data.channels)
            for name, array in zip(data.feature_names, data.features, strict=True)
        ],
        "labels": data.label_name,
        "num_outputs": data.num_outputs,
        "data_digest": data.digest,
        "num_rows": len(data.development_rows),
        "test": {
            "fraction": holdout.fraction,
            "random_seed": holdout.random_seed,
            "row_groups": data.row_groups_name,
        },
    }


def check_same(name: str, begun: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Check that a study goes on as it began.

    Args:
        name: The study's.
        begun: Its description when it began.
        present: Its description now.

    Raises:
        RecipeError: If they differ; the message names each field with both values.
    """
    compared = {field: value for field, value in present.items() if field not in NOT_COMPARED}
    if changes := list(differences(begun, compared)):
        raise RecipeError(
            f"study {name!r} has changed since it began: {'; '.join(changes)}; put that back, or "
            "give the study another name."
        )


def _describe_input(name: str, array: NDArray[Any], channels: Channels) -> dict[str, Any]:
    """Return what a feature array is as stored; one with channels first says nothing of them."""
    shape = array.shape[1:]
    entry: dict[str, Any] = {"name": name, "shape": list(shape), "dtype": str(array.dtype)}
    return {**entry, "channels": "last"} if has_channels_last(shape, channels) else entry


def _describe_source(study: "Preparation") -> dict[str, Any]:
    """Return what the source of the rows says of itself, and its code if it is the user's own."""
    recorded, code = dict(study.specification.data.describe()), study.source_code
    described: dict[str, Any] = {"source": recorded} if recorded else {}
    if not code.is_ours:
        described["source_code"] = CodeRecord.of(code).to_dict()
    return described


def _describe_training(settings: Settings) -> dict[str, Any]:
    described = dataclasses.asdict(settings)
    del described["checkpoint_seconds"]
    return {**described, "metrics": list(settings.metrics)}


def _describe_training_code(study: "Preparation") -> dict[str, Any]:
    """Return learner, strategy and all other references, where they are not those of old."""
    _, learner, strategy, *_ = study.sources
    settings = study.settings
    named = references_in(
        settings.loss, settings.metrics, study.parameters, study.specification.space
    )
    described: dict[str, Any] = {"references": named} if named else {}
    defaults = (LEARNERS.names["supervised"], STRATEGIES.names["all_reduce"])
    for source, default in zip((learner, strategy), defaults, strict=True):
        if source.reference != default:
            described[source.what] = source.reference
    return described if study.learner_class.predicts else described | {"predicts": False}


def _describe_parts(study: "Preparation") -> dict[str, Any] | None:
    """Return how the rows are cut into parts, and how these are called."""
    wanted = study.specification.sub_problems
    if wanted is None:
        return None
    names = [part.part.problem.name for part in study.parts if part.part is not None]
    return {**wanted.settings(), "parts": names}


def _describe_part(study: "Preparation") -> dict[str, Any] | None:
    """Return which part of which study this is a study of."""
    if study.part is None:
        return None
    problem = study.part.problem
    return {
        "of": study.part.of,
        "part": problem.name,
        "rows": problem.num_rows,
        "digest": problem.digest,
    }


def _describe_environment() -> dict[str, str]:
    """Return what the study runs with here."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "ray": version("ray"),
        "rayfold": version("rayfold"),
        "torch": version("torch"),
    }
