"""Leaving out trials whose weights belong to other code than the model's class has now."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from rayfold.errors import EnsembleError, ModelError
from rayfold.library import model_source
from rayfold.tracking import LoggedStudy

logger = logging.getLogger(__name__)

_SHOWN = 5


def of_present_code(
    studies: Sequence[LoggedStudy], model: str | type[nn.Module] | None
) -> tuple[LoggedStudy, ...]:
    """Return studies with those trials that were trained with the code of today.

    Weights of one version of a file may fit another one, and predict something else there. What
    was left out is told through ``logging``. Trials of which no code is recorded are kept.

    Args:
        studies: As they were logged.
        model: The model's class or reference, where it is not the logged one.

    Raises:
        EnsembleError: If no trial is left of all that have weights.
    """
    kept = tuple(_of_present_code(study, model) for study in studies)
    trained = [trial for study in studies for trial in study.trials if trial.folds]
    if trained and not any(trial.folds for study in kept for trial in study.trials):
        reference = model_source(model or studies[0].description["model"]).reference
        raise EnsembleError(
            f"all trials were trained with other code than {reference} has now; put that back "
            "(its text is below code/ in the study's folder and among the artifacts of its run), "
            "or run the study under another name."
        )
    return kept


def _of_present_code(study: LoggedStudy, model: str | type[nn.Module] | None) -> LoggedStudy:
    try:
        source = model_source(model or study.description["model"])
    except ModelError:
        return study  # told when its models are built
    other = [
        trial.id for trial in study.trials if trial.code and trial.code != source.digest != ""
    ]
    if not other:
        return study
    shown = ", ".join(other[:_SHOWN]) + (", ..." if len(other) > _SHOWN else "")
    logger.warning(
        "%d of %d trials of study %s are left out: they were trained with other code than %s has "
        "now (%s).",
        len(other),
        len(study.trials),
        study.name,
        source.reference,
        shown,
    )
    return replace(study, trials=tuple(t for t in study.trials if t.id not in set(other)))
