"""Ensembles: built from a study's logged trials, or loaded from a bundle."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from torch import nn

from rayfold.ensemble.bundle import read_bundle, write_bundle
from rayfold.ensemble.greedy import averaged_loss, greedy_selection, member_losses
from rayfold.ensemble.members import OutOfFold, arguments_of, load_model, read_out_of_fold
from rayfold.ensemble.predictor import average_predictions, check_features
from rayfold.ensemble.records import Contents, Input, Member, Origin, Signature
from rayfold.errors import EnsembleError
from rayfold.library import model_reference, resolve_model
from rayfold.tracking import LoggedStudy, read_study


class Ensemble:
    """Trained models whose predictions are averaged.

    A member is a trial: a bag of the models of its folds. ``Ensemble.greedy`` and
    ``Ensemble.single_best`` build one from MLflow, ``load_bundle`` from an exported folder.

    Attributes:
        members: The trials in it, with weights that sum to 1, in the order chosen.
        signature: What goes in and what comes out.
        origin: The study that it comes from, and how its test rows were split off.
        out_of_fold_loss: Log loss (classification) or mean squared error (regression) over all
            rows, each predicted by models that did not see it.
        single_best_loss: The same for the best trial alone.
    """

    def __init__(self, contents: Contents):
        self._contents = contents
        self.members = contents.members
        self.signature = contents.signature
        self.origin = contents.origin
        self.out_of_fold_loss = contents.out_of_fold_loss
        self.single_best_loss = contents.single_best_loss

    @classmethod
    def greedy(
        cls,
        study: str,
        num_members: int = 10,
        *,
        storage: str | Path | None = None,
        tracking_uri: str | None = None,
        model: str | type[nn.Module] | None = None,
    ) -> Self:
        """Build an ensemble from a study's completed trials, by greedy selection.

        Args:
            study: Name or id of the study in MLflow.
            num_members: Rounds of the selection. A trial may be chosen in several rounds: it is
                one member then, of a larger weight.
            storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.
            tracking_uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in
                ``storage``.
            model: The model's class or reference, where the logged one cannot be imported here.

        Raises:
            TrackingError: If MLflow holds no such study, or cannot be reached.
            EnsembleError: If there is no completed trial, or trials cannot be combined.
            ModelError: If the model cannot be imported or built.
        """
        if num_members < 1:
            raise EnsembleError(f"num_members must be at least 1, got {num_members}.")
        logged = _read(study, storage, tracking_uri)
        out_of_fold = read_out_of_fold(logged)
        chosen = greedy_selection(
            out_of_fold.predictions, out_of_fold.target, num_rounds=num_members
        )
        return cls(_build(logged, out_of_fold, chosen, model))

    @classmethod
    def single_best(
        cls,
        study: str,
        *,
        storage: str | Path | None = None,
        tracking_uri: str | None = None,
        model: str | type[nn.Module] | None = None,
    ) -> Self:
        """Build an ensemble of one: the trial with the lowest out-of-fold loss.

        Arguments and errors are those of ``greedy``.
        """
        return cls.greedy(
            study, num_members=1, storage=storage, tracking_uri=tracking_uri, model=model
        )

    @property
    def classes_(self) -> NDArray[Any] | None:
        """The class of each column of ``predict_proba``, shape ``(classes,)``, or None."""
        classes = self.signature.classes
        return None if classes is None else np.array(classes)

    def predict(self, features: ArrayLike | tuple[ArrayLike, ...]) -> NDArray[Any]:
        """Predict classes or values.

        Args:
            features: Array of shape ``(rows, ...)``, or a tuple with one for each input, as they
                are in the data file.

        Returns:
            The most probable class of each row, shape ``(rows,)``; or values, shape ``(rows,)``
            for one output, else ``(rows, outputs)``.

        Raises:
            DataError: If the features' number, shape, type or values are wrong.
        """
        predictions = self._average(features)
        if self.classes_ is not None:
            return np.asarray(self.classes_[predictions.argmax(axis=1)])
        return predictions[:, 0] if predictions.shape[1] == 1 else predictions

    def predict_proba(self, features: ArrayLike | tuple[ArrayLike, ...]) -> NDArray[np.float64]:
        """Predict the probability of each class, shape ``(rows, classes)``.

        Raises:
            EnsembleError: If this is a regression.
            DataError: If the features' number, shape, type or values are wrong.
        """
        if self.classes_ is None:
            raise EnsembleError("a regression has no class probabilities; use predict.")
        return self._average(features)

    def export(self, folder: str | Path) -> Path:
        """Write a bundle, which ``load_bundle`` reads; return its folder.

        Raises:
            BundleError: If ``folder`` exists.
        """
        write_bundle(self._contents, Path(folder))
        return Path(folder)

    def table(self) -> pd.DataFrame:
        """Return one row per member, of largest weight first, with its configuration."""
        rows = [
            {
                "trial": member.trial,
                "weight": member.weight,
                "score": member.score,
                "out_of_fold_loss": member.out_of_fold_loss,
                **member.config,
            }
            for member in sorted(self.members, key=lambda member: -member.weight)
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        parts = ", ".join(f"{member.trial}: {member.weight:.2f}" for member in self.members)
        loss = "log loss" if self.signature.task == "classification" else "squared error"
        return (
            f"<Ensemble of {self.origin.study!r}, members {{{parts}}}, out-of-fold {loss} "
            f"{self.out_of_fold_loss:.4g} (best trial alone {self.single_best_loss:.4g})>"
        )

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False))

    def _average(self, features: ArrayLike | tuple[ArrayLike, ...]) -> NDArray[np.float64]:
        models = [
            (member.weight / len(member.models), model)
            for member in self.members
            for model in member.models
        ]
        arrays = check_features(features, self.signature)
        return average_predictions(models, arrays, signature=self.signature)


def load_bundle(
    folder: str | Path,
    *,
    models: Mapping[str, type[nn.Module]] | None = None,
    allow_references: bool = False,
) -> Ensemble:
    """Load an exported ensemble, after checking every byte of it against its manifest.

    Args:
        folder: The bundle.
        models: Your model classes, by the reference that the manifest names.
        allow_references: Import whatever model the manifest names; this runs its code.

    Raises:
        BundleError: If the bundle is damaged, foreign, of an unknown version, or wants to import
            a model that does not come with Rayfold.
    """
    return Ensemble(
        read_bundle(Path(folder), models=models or {}, allow_references=allow_references)
    )


def _read(study: str, storage: str | Path | None, tracking_uri: str | None) -> LoggedStudy:
    folder = None if storage is None else Path(storage)
    return read_study(study, uri=tracking_uri, storage=folder)


def _build(
    study: LoggedStudy,
    out_of_fold: OutOfFold,
    chosen: list[int],
    model: str | type[nn.Module] | None,
) -> Contents:
    """Fetch and load the chosen trials' models."""
    description = study.description
    model_class = resolve_model(model or description["model"])
    losses = member_losses(out_of_fold.predictions, out_of_fold.target)
    counts = Counter(chosen)
    weights = np.zeros(len(losses))
    members = []
    for index, count in counts.items():
        trial = out_of_fold.trials[index]
        weights[index] = count / len(chosen)
        arguments = arguments_of(model_class, trial.config, description)
        members.append(
            Member(
                trial=trial.id,
                weight=count / len(chosen),
                score=trial.score,
                out_of_fold_loss=float(losses[index]),
                config=trial.config,
                model=model_reference(model or description["model"]),
                arguments=arguments,
                models=tuple(
                    load_model(model_class, arguments, trial.weights(fold)) for fold in trial.folds
                ),
            )
        )
    return Contents(
        signature=Signature(
            task=description["task"],
            inputs=tuple(
                Input(name=entry["name"], shape=tuple(entry["shape"]), dtype=entry["dtype"])
                for entry in description["inputs"]
            ),
            num_outputs=description["num_outputs"],
            classes=None if description["classes"] is None else tuple(description["classes"]),
        ),
        origin=Origin(
            study=study.name,
            study_id=study.id,
            data_digest=description["data_digest"],
            fold_digest=description["fold_digest"],
            labels=description.get("labels"),
            test=description.get("test", {}),
        ),
        members=tuple(members),
        out_of_fold_loss=averaged_loss(out_of_fold.predictions, out_of_fold.target, weights),
        single_best_loss=float(losses.min()),
    )
