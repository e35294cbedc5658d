"""Ensembles: built from logged trials, or loaded from a bundle."""

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from torch import nn

from rayfold.ensemble.builders import Builder, Greedy, Selection
from rayfold.ensemble.bundle import (
    PROGRAMS,
    Predict,
    Report,
    read_bundle,
    read_onnx,
    write_bundle,
)
from rayfold.ensemble.candidates import Candidates, read_candidates
from rayfold.ensemble.members import arguments_of, load_model
from rayfold.ensemble.out_of_fold import row_losses
from rayfold.ensemble.predictor import EnsembleModule, batches, check_features, predict_rows
from rayfold.ensemble.records import Contents, Input, Member, Origin, Signature
from rayfold.ensemble.registry import register_bundle
from rayfold.errors import BundleError, EnsembleError, one_of
from rayfold.library import model_reference, resolve_model
from rayfold.tracking import LoggedStudy, LoggedTrial, read_study


class Ensemble:
    """Trained models whose predictions are combined.

    A member is a trial: a bag of the models of its folds, which count alike. ``Ensemble.greedy``,
    ``Ensemble.single_best`` and ``Ensemble.build`` make one from MLflow, ``load_bundle`` from an
    exported folder.

    Attributes:
        members: The trials in it, the one that counts most first, with weights that sum to 1.
        signature: What goes in and what comes out.
        origin: The studies that it comes from, and how their test rows were split off.
        out_of_fold_loss: Log loss (classification) or mean squared error (regression) over all
            rows, each predicted by models that did not see it.
        single_best_loss: The same for the best trial alone.
    """

    def __init__(self, contents: Contents, predict: Predict | None = None):
        self._contents = contents
        self._program = predict
        self.members = contents.members
        self.signature = contents.signature
        self.origin = contents.origin
        self.out_of_fold_loss = contents.out_of_fold_loss
        self.single_best_loss = contents.single_best_loss

    @classmethod
    def build(
        cls,
        studies: str | Sequence[str],
        builder: Builder,
        *,
        min_share: float = 0.5,
        storage: str | Path | None = None,
        tracking_uri: str | None = None,
        model: str | type[nn.Module] | None = None,
    ) -> Self:
        """Build an ensemble from completed trials, also while the studies run.

        Args:
            studies: Name or id of a study in MLflow, or of several that have the same data and
                folds.
            builder: Chooses the trials and says how they are combined.
            min_share: Trials that were stopped after some folds take part if these hold at least
                this share of the rows, in (0, 1].
            storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.
            tracking_uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in
                ``storage``.
            model: The model's class or reference, where the logged one cannot be imported here.

        Raises:
            TrackingError: If MLflow holds no such study, or cannot be reached.
            EnsembleError: If there is no completed trial, or trials cannot be combined.
            ModelError: If the model cannot be imported or built.
        """
        candidates = _read(studies, min_share, storage, tracking_uri)
        return cls(_contents(candidates, builder.build(candidates.out_of_fold), model))

    @classmethod
    def greedy(
        cls,
        studies: str | Sequence[str],
        num_members: int = 10,
        *,
        storage: str | Path | None = None,
        tracking_uri: str | None = None,
        model: str | type[nn.Module] | None = None,
    ) -> Self:
        """Build an ensemble by greedy selection.

        Args:
            studies: As for ``build``.
            num_members: Rounds of the selection. A trial may be chosen in several rounds: it is
                one member then, of a larger weight.
            storage: As for ``build``.
            tracking_uri: As for ``build``.
            model: As for ``build``.

        Raises:
            TrackingError, EnsembleError, ModelError: As ``build`` does.
        """
        if num_members < 1:
            raise EnsembleError(f"num_members must be at least 1, got {num_members}.")
        return cls.build(
            studies,
            Greedy(num_rounds=num_members),
            storage=storage,
            tracking_uri=tracking_uri,
            model=model,
        )

    @classmethod
    def single_best(
        cls,
        studies: str | Sequence[str],
        *,
        storage: str | Path | None = None,
        tracking_uri: str | None = None,
        model: str | type[nn.Module] | None = None,
    ) -> Self:
        """Build an ensemble of one: the trial with the lowest out-of-fold loss.

        Arguments and errors are those of ``greedy``.
        """
        return cls.greedy(
            studies, num_members=1, storage=storage, tracking_uri=tracking_uri, model=model
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
        return self.decide(self._average(features))

    def predict_proba(self, features: ArrayLike | tuple[ArrayLike, ...]) -> NDArray[np.float64]:
        """Predict the probability of each class, shape ``(rows, classes)``.

        Raises:
            EnsembleError: If this is a regression.
            DataError: If the features' number, shape, type or values are wrong.
        """
        if self.classes_ is None:
            raise EnsembleError("a regression has no class probabilities; use predict.")
        return self._average(features)

    def decide(self, predictions: NDArray[np.float64]) -> NDArray[Any]:
        """Turn what ``predict_checked`` returns into what ``predict`` returns."""
        if self.classes_ is not None:
            return np.asarray(self.classes_[predictions.argmax(axis=1)])
        return predictions[:, 0] if predictions.shape[1] == 1 else predictions

    def predict_checked(self, features: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
        """Predict the arrays of ``check_features``, for callers that have checked them.

        Returns:
            Probabilities or values, shape ``(rows, outputs)``.
        """
        if self._program is None:
            return predict_rows(self._module, features)
        parts = [
            self._program([tensor.numpy() for tensor in batch]) for batch in batches(features)
        ]
        return np.concatenate([np.zeros((0, self.signature.num_outputs)), *parts])

    def export(
        self,
        folder: str | Path,
        *,
        licence: str | None = None,
        programs: Sequence[str] = PROGRAMS,
        report: Report | None = None,
    ) -> Path:
        """Write a bundle, which ``load_bundle`` reads; return its folder.

        Each form is loaded in a fresh process and compared with this ensemble before the folder
        appears.

        Args:
            folder: A folder that does not exist yet.
            licence: What the ensemble may be used for, ``"CC-BY-4.0"`` say.
            programs: Which programs to write besides the weights: ``"torch"`` (``torch.export``)
                and ``"onnx"``, which run without the models' classes.
            report: Sections and plots for the model card.

        Raises:
            BundleError: If ``folder`` exists, a model cannot be exported as a program, or what
                was written predicts something else.
        """
        if self._program is not None:
            raise BundleError(
                "this ensemble was loaded as a program; load its weights to export it again."
            )
        write_bundle(
            self._contents, Path(folder), licence=licence, programs=programs, report=report
        )
        return Path(folder)

    def register(
        self,
        name: str,
        *,
        alias: str = "champion",
        bundle: str | Path | None = None,
        storage: str | Path | None = None,
        tracking_uri: str | None = None,
    ) -> int:
        """Register this ensemble in MLflow's Model Registry, as a model that MLflow serves.

        Args:
            name: Name of the registered model, which is made if there is none.
            alias: Alias that the new version gets; it moves here from an older one.
            bundle: Folder that this ensemble was exported to; None: it is exported for this.
            storage: As for ``build``.
            tracking_uri: As for ``build``.

        Returns:
            The version's number.

        Raises:
            BundleError: As ``export`` does.
            TrackingError: If MLflow cannot be reached, or refuses a name.
        """
        with tempfile.TemporaryDirectory(prefix="rayfold-") as place:
            folder = Path(bundle) if bundle is not None else self.export(Path(place, "bundle"))
            return register_bundle(
                folder, name, alias=alias, storage=storage, tracking_uri=tracking_uri
            )

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
            for member in self.members
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

    @cached_property
    def _module(self) -> EnsembleModule:
        return EnsembleModule(
            [member.models for member in self.members], self._contents.combination, self.signature
        )

    def _average(self, features: ArrayLike | tuple[ArrayLike, ...]) -> NDArray[np.float64]:
        return self.predict_checked(check_features(features, self.signature))


def load_bundle(
    folder: str | Path,
    *,
    models: Mapping[str, type[nn.Module]] | None = None,
    allow_references: bool = False,
    form: Literal["weights", "onnx"] = "weights",
) -> Ensemble:
    """Load an exported ensemble, after checking every byte of it against its manifest.

    Args:
        folder: The bundle.
        models: Your model classes, by the reference that the manifest names.
        allow_references: Import whatever model the manifest names; this runs its code.
        form: What predicts: the models with their weights, or the bundle's ONNX program, which
            imports no model at all.

    Raises:
        BundleError: If the bundle is damaged, foreign, of an unknown version, or wants to import
            a model that does not come with Rayfold.
    """
    if one_of("form", form, ("weights", "onnx")) == "onnx":
        return Ensemble(*read_onnx(Path(folder)))
    return Ensemble(
        read_bundle(Path(folder), models=models or {}, allow_references=allow_references)
    )


def _read(
    studies: str | Sequence[str],
    min_share: float,
    storage: str | Path | None,
    tracking_uri: str | None,
) -> Candidates:
    names = [studies] if isinstance(studies, str) else list(studies)
    if not names or len(set(names)) < len(names):
        raise EnsembleError(f"studies must be one name, or several different ones, got {names}.")
    if not 0 < min_share <= 1:
        raise EnsembleError(f"min_share must be in (0, 1], got {min_share!r}.")
    folder = None if storage is None else Path(storage)
    logged = [
        read_study(name, uri=tracking_uri, storage=folder, completed_only=False) for name in names
    ]
    return read_candidates(logged, min_share=min_share)


def _contents(
    candidates: Candidates, selection: Selection, model: str | type[nn.Module] | None
) -> Contents:
    """Fetch and load the chosen trials' models."""
    out_of_fold = candidates.out_of_fold
    losses = out_of_fold.losses()
    members = []
    for index, weight in zip(selection.candidates, selection.combination.shares, strict=True):
        number, trial = candidates.trials[index]
        study = candidates.studies[number]
        members.append(_member(study, trial, weight, float(losses[index]), model))
    description = candidates.studies[0].description
    combined = row_losses(selection.predict(out_of_fold), out_of_fold.target)
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
            studies={study.id: study.name for study in candidates.studies},
            data_digest=description["data_digest"],
            fold_digest=description["fold_digest"],
            labels=description.get("labels"),
            test=description.get("test", {}),
            runs={study.id: study.run_id for study in candidates.studies},
        ),
        members=tuple(members),
        combination=selection.combination,
        out_of_fold_loss=float(combined.mean()),
        single_best_loss=float(losses[out_of_fold.complete].min()),
    )


def _member(
    study: LoggedStudy,
    trial: LoggedTrial,
    weight: float,
    loss: float,
    model: str | type[nn.Module] | None,
) -> Member:
    reference = model or study.description["model"]
    model_class = resolve_model(reference)
    arguments = arguments_of(model_class, trial.config, study.description)
    return Member(
        study_id=study.id,
        trial=trial.id,
        weight=weight,
        score=trial.score,
        out_of_fold_loss=loss,
        config=trial.config,
        model=model_reference(reference),
        arguments=arguments,
        models=tuple(
            load_model(model_class, arguments, trial.weights(fold)) for fold in trial.folds
        ),
        run_id=trial.run_id,
    )
