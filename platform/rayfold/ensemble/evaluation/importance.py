"""Importance of hyperparameters for the score, and of features for the predictions."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rayfold.ensemble.ensemble import Ensemble
from rayfold.ensemble.predictor import check_features, predict_rows
from rayfold.errors import DataError, EnsembleError
from rayfold.options.arguments import checked
from rayfold.options.fields import Count, Seed
from rayfold.results import Config
from rayfold.space import Choice, SearchSpace
from rayfold.tracking import LoggedStudy, read_study

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEAST_TRIALS = 4
MIDDLE = 0.5
"""Place in its range of a parameter that does not apply."""


def hyperparameter_importance(
    study: str,
    *,
    random_seed: int = 0,
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
) -> pd.DataFrame:
    """Return the share of the scores' variance that each hyperparameter explains.

    A forest is fitted to the completed trials, and its variance is decomposed (fANOVA). A
    parameter that does not apply in a trial counts as the middle of its range.

    Args:
        study: Name or id of a study in MLflow.
        random_seed: Seed of the forest.
        storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.
        tracking_uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in
            ``storage``.

    Returns:
        Columns ``parameter`` and ``importance`` (shares with sum 1), the most important first.

    Raises:
        TrackingError: If MLflow holds no such study, or cannot be reached.
        EnsembleError: If fewer than four trials are complete.

    References:
        Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter
        Importance", ICML 2014.
    """
    folder = None if storage is None else Path(storage)
    return _importance(read_study(study, uri=tracking_uri, storage=folder), random_seed)


@checked
def feature_importance(
    ensemble: Ensemble,
    features: ArrayLike | tuple[ArrayLike, ...],
    target: ArrayLike,
    *,
    num_repeats: Count = 5,
    random_seed: Seed = 0,
) -> pd.DataFrame:
    """Return how much the loss grows when one feature is shuffled among the rows.

    Take rows that no model has seen, such as the study's test rows. Every place of an input is a
    feature: an image of 28 x 28 has 784. Each needs ``num_repeats`` predictions of all rows.

    Args:
        ensemble: The ensemble.
        features: Array of shape ``(rows, ...)``, or a tuple with one for each input.
        target: Classes as ``predict`` returns them, shape ``(rows,)``, or values, shape
            ``(rows,)`` or ``(rows, outputs)``.
        num_repeats: How often each feature is shuffled, at least 1.
        random_seed: Seed of the shuffles.

    Returns:
        Columns ``input`` (its name), ``place`` (index within a row, such as ``(3, 7)``),
        ``importance`` (mean increase of log loss or squared error) and ``deviation`` over the
        repeats, the most important first.

    Raises:
        DataError: If features or target are wrong.
        RecipeError: If ``num_repeats`` or ``random_seed`` is out of range.

    References:
        Breiman, "Random Forests", Machine Learning 45 (2001).
    """
    arrays = [np.array(array) for array in check_features(features, ensemble.signature)]
    truth = _target(ensemble, target, len(arrays[0]))
    generator = np.random.default_rng(random_seed)
    before = _loss(ensemble, arrays, truth)
    found: list[dict[str, Any]] = []
    for entry, array in zip(ensemble.signature.inputs, arrays, strict=True):
        for place in np.ndindex(*entry.shape):
            column = (slice(None), *place)
            kept = array[column].copy()
            rises = []
            for _ in range(num_repeats):
                array[column] = generator.permutation(kept)
                rises.append(_loss(ensemble, arrays, truth) - before)
            array[column] = kept
            found.append(
                {
                    "input": entry.name,
                    "place": place,
                    "importance": float(np.mean(rises)),
                    "deviation": float(np.std(rises)),
                }
            )
    table = pd.DataFrame(found)
    return table.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def _importance(study: LoggedStudy, random_seed: int) -> pd.DataFrame:
    import optuna

    scored = [trial for trial in study.trials if trial.score is not None]
    if len(scored) < LEAST_TRIALS:
        raise EnsembleError(
            f"study {study.name!r} has {len(scored)} completed trials; importance needs at least "
            f"{LEAST_TRIALS}: run more."
        )
    space = study.description.space
    distributions = {name: _distribution(space, name) for name in space}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        recreated = optuna.create_study()
        for trial in scored:
            recreated.add_trial(
                optuna.trial.create_trial(
                    params=_coordinates(space, trial.config),
                    distributions=distributions,
                    value=trial.score,
                )
            )
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=random_seed)
        shares = optuna.importance.get_param_importances(recreated, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return pd.DataFrame({"parameter": list(shares), "importance": list(shares.values())})


def _distribution(space: SearchSpace, name: str) -> "BaseDistribution":
    """Return a parameter's distribution over the unit interval, or over its choices' numbers."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    domain = space[name]
    if isinstance(domain, Choice):
        return CategoricalDistribution(range(len(domain.values)))
    return FloatDistribution(0.0, 1.0)


def _coordinates(space: SearchSpace, config: Config) -> dict[str, float | int]:
    coordinates: dict[str, float | int] = {}
    for name, domain in space.items():
        value = config[name] if name in config else domain.from_unit(MIDDLE)
        if isinstance(domain, Choice):
            coordinates[name] = [repr(one) for one in domain.values].index(repr(value))
        else:
            coordinates[name] = domain.to_unit(value)
    return coordinates


def _loss(
    ensemble: Ensemble, arrays: list[NDArray[np.generic]], target: NDArray[np.generic]
) -> float:
    predictions = predict_rows(ensemble.module, arrays)
    return float(ensemble.signature.task.row_losses(predictions, target).mean())


def _target(ensemble: Ensemble, target: ArrayLike, num_rows: int) -> NDArray[np.generic]:
    """Return the labels, as the task encodes them."""
    given = np.asarray(target)
    if len(given) != num_rows:
        raise DataError(
            f"target: expected {num_rows} rows as the features have, got {len(given)}."
        )
    return ensemble.signature.task.encode_known(given, ensemble.signature.classes)
