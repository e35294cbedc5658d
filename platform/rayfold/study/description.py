"""What a study is, as its journal and MLflow hold it, and whether it still is that."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from rayfold.data import DataSet
from rayfold.data.inputs import Input, has_channels_last
from rayfold.description import (
    DataDescription,
    FoldSplit,
    HoldoutSplit,
    PartOf,
    Parts,
    StudyDescription,
)
from rayfold.errors import RecipeError
from rayfold.space import SearchSpace
from rayfold.study.differences import differences
from rayfold.training.references import LEARNERS, STRATEGIES, references_in
from rayfold.user_code import CodeRecord, SourceCode

if TYPE_CHECKING:
    from rayfold.study.preparation import Preparation

NOT_COMPARED = ("environment", "descriptors", "accept", "code", "source_code", "num_trials")
"""Fields that may differ when a study resumes. ``check_code`` compares code. A source is compared
by ``describe()`` and by its rows."""


def describe(study: "Preparation", space: SearchSpace) -> StudyDescription:
    """Return what a study is.

    Args:
        study: The study.
        space: What it searches: its space, pruned where that was asked for.
    """
    options, past, settings = study.specification, study.specification.past, study.settings
    weights, scheduler = options.initial_weights, options.scheduler
    _, learner, strategy, *_ = study.sources
    named = references_in(settings.loss, settings.metrics, study.parameters, options.space)
    return StudyDescription(
        model=study.model.reference,
        code=study.code,
        data=study.data_description,
        fold_digest=study.fold_plan.digest,
        num_folds=len(study.fold_plan.folds),
        folds=FoldSplit(
            count=options.folds.count,
            random_seed=options.folds.random_seed,
            kind=options.folds.kind,
            repeats=options.folds.repeats,
            row_groups=study.data.row_groups_name,
        ),
        epochs=settings.epochs,
        loss=settings.loss,
        metrics=settings.metrics,
        metric=settings.metric,
        mode=settings.mode,
        random_seed=settings.random_seed,
        predicts=study.learner_class.predicts,
        learner=_name(learner, LEARNERS.names),
        strategy=_name(strategy, STRATEGIES.names),
        references={what: [*map(str, given)] for what, given in named.items()} or None,
        parameters=study.parameters,
        start_from=None if past is None else past.settings(),
        initial_weights=None if weights is None else weights.settings(),
        sub_problems=_parts(study),
        sub_problem=_part_of(study),
        searcher=options.searcher.settings(),
        scheduler=None if scheduler is None else scheduler.settings(),
        space=space,
        accept=tuple(options.accept),
        environment=_environment(),
    )


def describe_data_set(
    study: "Preparation", descriptors: Mapping[str, Any] | None
) -> DataDescription:
    """Return the description of a study's data, with the split of its test rows.

    Args:
        study: The study.
        descriptors: Numbers that show how similar its data are to other data.
    """
    data, options, code = study.data, study.specification, study.source_code
    return DataDescription(
        task=data.task.name,
        classes=tuple(data.classes) if data.classes else None,
        inputs=_inputs(data),
        labels=data.label_name,
        num_outputs=data.num_outputs,
        digest=data.digest,
        num_rows=len(data.development_rows),
        test=HoldoutSplit(
            fraction=options.holdout.fraction,
            random_seed=options.holdout.random_seed,
            row_groups=data.row_groups_name,
        ),
        source=options.data.describe(),
        source_code=None if code.is_ours else CodeRecord.of(code),
        descriptors=descriptors,
    )


def check_same(name: str, begun: StudyDescription, present: StudyDescription) -> None:
    """Check that a study goes on as it began.

    Args:
        name: The study's.
        begun: Its description when it began.
        present: Its description now.

    Raises:
        RecipeError: If they differ; the message names each field with both values.
    """
    compared = {
        field: value for field, value in present.all_fields().items() if field not in NOT_COMPARED
    }
    if changes := list(differences(begun.all_fields(), compared)):
        raise RecipeError(
            f"study {name!r} has changed since it began: {'; '.join(changes)}; put that back, or "
            "give the study another name."
        )


def _inputs(data: DataSet) -> tuple[Input, ...]:
    return tuple(
        Input(
            name=name,
            shape=array.shape[1:],
            dtype=str(array.dtype),
            channels="last" if has_channels_last(array.shape[1:], data.channels) else "first",
        )
        for name, array in zip(data.feature_names, data.features, strict=True)
    )


def _name(source: SourceCode, names: Mapping[str, object]) -> str:
    """Return the name of a learner or a strategy of Rayfold; of any other, its reference."""
    ours = (name for name, reference in names.items() if reference == source.reference)
    return next(ours, source.reference)


def _parts(study: "Preparation") -> Parts | None:
    """Return how the rows are cut into parts, and how these are called."""
    wanted = study.specification.sub_problems
    if wanted is None:
        return None
    names = tuple(part.part.problem.name for part in study.parts if part.part is not None)
    return Parts(by=wanted.by, column=wanted.column, parts=names)


def _part_of(study: "Preparation") -> PartOf | None:
    """Return which part of which study this is a study of."""
    if study.part is None:
        return None
    problem = study.part.problem
    return PartOf(
        of=study.part.of, part=problem.name, rows=problem.num_rows, digest=problem.digest
    )


def _environment() -> dict[str, str]:
    """Return what the study runs with here."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "ray": version("ray"),
        "rayfold": version("rayfold"),
        "torch": version("torch"),
    }
