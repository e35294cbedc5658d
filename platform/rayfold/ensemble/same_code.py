"""Leaves out trials whose weights belong to other code than the present model class."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from rayfold.errors import EnsembleError, ModelError
from rayfold.library import model_reference, model_source
from rayfold.tracking import LoggedStudy
from rayfold.training.references import LEARNERS, STRATEGIES, read_references
from rayfold.user_code import CodeRecord

logger = logging.getLogger(__name__)

_SHOWN = 5


def of_present_code(
    studies: Sequence[LoggedStudy], model: str | type[nn.Module] | None
) -> tuple[LoggedStudy, ...]:
    """Return studies with only those trials that were trained with the present code.

    Weights of one version of a file may fit another version and predict something else there. A
    warning names the trials that are left out. Trials of unknown code are kept: those of journals
    that did not record it, and those of an installed model, which has versions instead.

    Args:
        studies: The logged studies.
        model: The model's class or reference, if it is not the logged one.
    """
    return tuple(_of_present_code(study, model) for study in studies)


def check_trials_left(
    studies: Sequence[LoggedStudy],
    kept: Sequence[LoggedStudy],
    model: str | type[nn.Module] | None,
) -> None:
    """Check that trials with weights are left.

    Args:
        studies: The logged studies.
        kept: The result of ``of_present_code``.
        model: The model's class or reference, if it is not the logged one.

    Raises:
        EnsembleError: If there were trials, and all of them have other code.
    """
    if _have_weights(studies) and not _have_weights(kept):
        reference = model_reference(model or studies[0].description.model)
        raise EnsembleError(
            f"all trials were trained with other code than {reference} has now; put that back "
            "(its text is below code/ in the study's folder and among the artifacts of its run), "
            "or run the study under another name."
        )


def _of_present_code(study: LoggedStudy, model: str | type[nn.Module] | None) -> LoggedStudy:
    description = study.description
    try:
        source = model_source(model or description.model)
        others = (
            LEARNERS.source(description.learner),
            STRATEGIES.source(description.strategy),
            *read_references(description.references or {}).values(),
        )
    except ModelError:
        return study  # told when its models are built
    digest = CodeRecord.of(source, *others).digest
    if not digest:
        return study
    kept = tuple(trial for trial in study.trials if trial.code in ("", digest))
    if len(kept) == len(study.trials):
        return study
    other = [trial.id for trial in study.trials if trial not in kept]
    logger.warning(
        "%d of %d trials of study %s are left out: they were trained with other code than %s has "
        "now (%s).",
        len(other),
        len(study.trials),
        study.name,
        source.reference,
        ", ".join(other[:_SHOWN]) + (", ..." if len(other) > _SHOWN else ""),
    )
    return replace(study, trials=kept)


def _have_weights(studies: Sequence[LoggedStudy]) -> bool:
    return any(trial.folds for study in studies for trial in study.trials)
