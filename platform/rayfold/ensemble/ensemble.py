"""Ensembles: built from logged trials, or loaded from a bundle."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from rayfold.acceptance import Acceptance
from rayfold.ensemble import conformal, uncertainty
from rayfold.ensemble.arguments import (
    bundle_folder,
    check_builders,
    check_export,
    check_options,
)
from rayfold.ensemble.assembly import Assembly
from rayfold.ensemble.budget import Budget, Cost, Costs, WithinBudget, measure
from rayfold.ensemble.builders import Best, Builder, Convex, Greedy, Stacked
from rayfold.ensemble.bundle import (
    PROGRAMS,
    CardReport,
    Predict,
    read_bundle,
    read_onnx,
    write_bundle,
)
from rayfold.ensemble.candidates import read_candidates, read_parts
from rayfold.ensemble.combination import WeightedMean
from rayfold.ensemble.evaluation import Evaluation, compare, reason
from rayfold.ensemble.held_out import Paths, read_held_out
from rayfold.ensemble.measures import metric_names
from rayfold.ensemble.predictor import (
    EnsembleModule,
    batches,
    check_features,
    predict_each,
    predict_rows,
    predict_variants,
)
from rayfold.ensemble.records import Contents
from rayfold.ensemble.registry import register_bundle
from rayfold.ensemble.report import Report, report_of_folds, report_of_held_out
from rayfold.ensemble.same_code import check_trials_left, of_present_code
from rayfold.errors import BundleError, EnsembleError, one_of
from rayfold.results import shortened
from rayfold.tracking import read_study, study_names

if TYPE_CHECKING:
    from sklearn.utils import Tags

Features = ArrayLike | tuple[ArrayLike, ...]


@dataclass(frozen=True, eq=False)
class _Made:
    """What an ensemble that was built here is made from."""

    assembly: Assembly
    evaluations: Sequence[Evaluation]


class Ensemble:
    """Trained models whose predictions are combined.

    A member is a trial: a bag of the models of its folds, which count alike. ``Ensemble.greedy``,
    ``Ensemble.best``, ``Ensemble.single_best`` and ``Ensemble.build`` make one from MLflow, also
    while the study runs; ``load_bundle`` loads an exported one.

    Attributes:
        members: The trials in it, the one that counts most first, with weights that sum to 1.
        signature: What goes in and what comes out.
        origin: The studies that it comes from, and how their test rows were split off.
        out_of_fold_loss: Log loss (classification) or mean squared error (regression) over all
            rows, each predicted by models that did not see it.
        nested_loss: The same by ensembles that were chosen on the rows of other folds.
        single_best_loss: The same of the best trial alone.
        reason: Why its builder was chosen.
    """

    def __init__(
        self, contents: Contents, predict: Predict | None = None, made: _Made | None = None
    ) -> None:
        self._contents, self._program, self._made = contents, predict, made
        self.members = contents.members
        self.signature = contents.signature
        self.origin = contents.origin
        self.out_of_fold_loss = contents.out_of_fold_loss
        self.nested_loss = contents.nested_loss
        self.single_best_loss = contents.single_best_loss
        self.reason = contents.reason

    @classmethod
    def best(
        cls,
        studies: str | Sequence[str],
        *,
        builders: Sequence[Builder] | None = None,
        budget: Budget | None = None,
        min_share: float = 0.5,
        sub_problems: bool = True,
        storage: str | Path | None = None,
        tracking_uri: str | None = None,
        model: str | type[nn.Module] | None = None,
    ) -> Self:
        """Build an ensemble by the builder with the lowest nested out-of-fold loss.

        ``reason`` says why it was chosen, ``report()`` how good the others are.

        Args:
            studies: Name or id of a study in MLflow, or of several that have the same data and
                folds.
            builders: What is tried; None: every builder of ``rayfold.ensemble`` with its
                defaults, and the best trial alone.
            budget: What the ensemble may cost; None: anything.
            min_share: Trials that were stopped after some folds take part if these hold at least
                this share of the rows, in (0, 1].
            sub_problems: Whether the best trials of a study's sub-problems, averaged, are a
                candidate.
            storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.
            tracking_uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in
                ``storage``.
            model: The model's class or reference, where the logged one cannot be imported here.

        Raises:
            TrackingError: If MLflow holds no such study, or cannot be reached.
            EnsembleError: If there is no completed trial, trials cannot be combined, or none
                fits the budget.
            ModelError: If the model cannot be imported or built.
        """
        if builders is None:
            builders = (
                Greedy(),
                Greedy(num_bags=10),
                Best(),
                Best(weighting="score"),
                Convex(),
                Stacked(),
                Best(1, calibrate=False),
            )
        builders = check_builders(builders)
        names = study_names("studies", studies, error=EnsembleError)
        check_options(budget, min_share, sub_problems)
        folder = None if storage is None else Path(storage)
        logged = [
            read_study(name, uri=tracking_uri, storage=folder, completed_only=False)
            for name in names
        ]
        parts = [
            read_parts(study, uri=tracking_uri, storage=folder) for study in logged if sub_problems
        ]
        everything, logged = logged, [*of_present_code(logged, model)]
        check_trials_left(everything, logged, model)
        parts = [of_present_code(group, model) for group in parts]
        assembly = Assembly(read_candidates(logged, min_share=min_share, parts=parts), model)
        out_of_fold = assembly.candidates.out_of_fold
        if budget is not None:
            costs = Costs(assembly.module, assembly.signature, timed=bool(budget.max_latency))
            builders = [WithinBudget(builder, budget, costs) for builder in builders]
        evaluations = compare(builders, out_of_fold)
        selection = evaluations[0].builder.build(out_of_fold)
        why = reason(evaluations, is_class=out_of_fold.is_class)
        return cls(
            assembly.contents(selection, evaluations, why), made=_Made(assembly, evaluations)
        )

    @classmethod
    def build(cls, studies: str | Sequence[str], builder: Builder, **options: Any) -> Self:
        """Build an ensemble by one builder.

        Args:
            studies: As for ``best``.
            builder: Chooses the trials and says how they are combined.
            options: ``budget``, ``min_share``, ``sub_problems``, ``storage``, ``tracking_uri``
                and ``model``, as for ``best``.

        Raises:
            TrackingError, EnsembleError, ModelError: As ``best`` does.
        """
        return cls.best(studies, builders=(builder,), **options)

    @classmethod
    def greedy(cls, studies: str | Sequence[str], num_members: int = 10, **options: Any) -> Self:
        """Build an ensemble by greedy selection.

        Args:
            studies: As for ``best``.
            num_members: Rounds of the selection. A trial may be chosen in several rounds: it is
                one member then, of a larger weight.
            options: As for ``build``.

        Raises:
            TrackingError, EnsembleError, ModelError: As ``best`` does.
        """
        if num_members < 1:
            raise EnsembleError(f"num_members must be at least 1, got {num_members}.")
        return cls.build(studies, Greedy(num_members), **options)

    @classmethod
    def single_best(cls, studies: str | Sequence[str], **options: Any) -> Self:
        """Build an ensemble of one: the trial with the lowest out-of-fold loss.

        Arguments and errors are those of ``build``.
        """
        alone = Best(1, calibrate=False)
        return cls.build(studies, alone, **{**options, "sub_problems": False})

    @property
    def classes_(self) -> NDArray[Any] | None:
        """The class of each column of ``predict_proba``, shape ``(classes,)``, or None."""
        classes = self.signature.classes
        return None if classes is None else np.array(classes)

    @property
    def n_features_in_(self) -> int:
        """How many numbers a row has, of a single input that is a table, as scikit-learn says it.

        Raises:
            AttributeError: If rows have another shape, or there are several inputs.
        """
        first, *others = self.signature.inputs
        if others or len(first.shape) != 1:
            raise AttributeError("rows are no vectors; see signature.inputs.")
        return first.shape[0]

    def predict(self, features: Features) -> NDArray[Any]:
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
        return self.decide(self._combined(features))

    @property
    def predict_proba(self) -> Callable[[Features], NDArray[np.float64]]:
        """Predicts the probability of each class from features: shape ``(rows, classes)``.

        A property, so that a regression has none, as scikit-learn's functions expect. When called
        it raises ``DataError`` if the features' number, shape, type or values are wrong.

        Raises:
            AttributeError: If this is a regression.
        """
        if self.classes_ is None:
            raise AttributeError("a regression has no class probabilities; use predict.")
        return self._combined

    def predict_set(self, features: Features, *, coverage: float = 0.9) -> NDArray[np.bool_]:
        """Return which classes belong to each row's conformal set, shape ``(rows, classes)``.

        Args:
            features: As for ``predict``.
            coverage: Share of the rows whose set holds the true class, in (0, 1).

        Raises:
            EnsembleError: If this is a regression, or ``coverage`` is out of range.
            DataError: If the features' number, shape, type or values are wrong.
        """
        self._check_task("classification", "a regression has no sets; use predict_interval.")
        scores = self._contents.nonconformity
        return conformal.class_sets(self._combined(features), scores, coverage)

    def predict_interval(
        self, features: Features, *, coverage: float = 0.9
    ) -> NDArray[np.float64]:
        """Return both ends of each value's conformal interval, shape ``(rows, outputs, 2)``.

        Args:
            features: As for ``predict``.
            coverage: Share of the rows whose interval holds the true value, in (0, 1).

        Raises:
            EnsembleError: If this is a classification, or ``coverage`` is out of range.
            DataError: If the features' number, shape, type or values are wrong.
        """
        self._check_task("regression", "a classification has no intervals; use predict_set.")
        scores = self._contents.nonconformity
        return conformal.intervals(self._combined(features), scores, coverage)

    def uncertainty(self, features: Features) -> uncertainty.Uncertainty:
        """Return how uncertain each prediction is: what the data and what the models leave open.

        The models are those of all members, or for a stack its variants by one model of each. Of
        values, the data's part is the ensemble's own nested squared error, which holds what the
        models get wrong together, too; the total is the squared error to be expected of one of
        the models, drawn by weight.

        Args:
            features: As for ``predict``.

        Raises:
            DataError: If the features' number, shape, type or values are wrong.
        """
        combination, checked = self.module.combination, check_features(features, self.signature)
        is_mean = isinstance(combination, WeightedMean)
        each, weights = (predict_each if is_mean else predict_variants)(self.module, checked)
        if self.classes_ is not None:
            combined = (
                combination.of_mean(torch.from_numpy(np.tensordot(weights, each, axes=1))).numpy()
                if isinstance(combination, WeightedMean)
                else self.predict_checked(checked)
            )
            return uncertainty.of_classes(each, weights, combined)
        noise = np.square(self._contents.nonconformity).mean(axis=0)
        return uncertainty.of_values(each, weights, noise)

    def cost(self) -> Cost:
        """Return members, parameters, and seconds of a prediction, measured on this machine."""
        return measure(self.module, self.signature)

    def report(self, data: Paths | None = None) -> Report:
        """Say how good it is, by rows that it was not chosen on.

        Args:
            data: The study's files, for the rows that it kept for the test; None: without.

        Raises:
            EnsembleError: If the ensemble was loaded from a bundle, which holds its report.
            DataError: If the study kept no rows for the test, or the files hold other data.
        """
        if self._made is None:
            raise EnsembleError(
                "a loaded ensemble has no out-of-fold predictions to report on; see README.md in "
                "its bundle, or build it from MLflow."
            )
        assembly, evaluations = self._made.assembly, self._made.evaluations
        study = assembly.candidates.studies[0].description
        report = report_of_folds(
            evaluations,
            assembly.candidates.out_of_fold,
            single_best=assembly.predictions_of(assembly.best),
            best_by_metric=assembly.predictions_of(assembly.best_by_metric),
            best_name=assembly.candidates.name(assembly.best_by_metric),
            scored=self.origin.scored,
            mode=study["mode"],
            accept=[Acceptance(**criterion) for criterion in study.get("accept") or ()],
            reason=self.reason,
        )
        if data is None:
            return report
        held_out = read_held_out(data, self.signature, self.origin)
        features = check_features(held_out.features, self.signature)
        best = assembly.module(assembly.best_alone)
        return replace(
            report,
            held_out=report_of_held_out(
                ensemble=predict_rows(self.module, features),
                best_models=predict_each(best, features)[0],
                target=held_out.target,
                nonconformity=self._contents.nonconformity,
                uncertainty=self.uncertainty(held_out.features),
                names=metric_names(self.origin.scored),
            ),
        )

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
            return predict_rows(self.module, features)
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
        report: CardReport | None = None,
    ) -> Path:
        """Write a bundle, which ``load_bundle`` reads; return its folder.

        Each form is loaded in a fresh process and compared with this ensemble before the folder
        appears.

        Args:
            folder: A folder that does not exist yet.
            licence: What the ensemble may be used for, ``"CC-BY-4.0"`` say.
            programs: Which programs to write besides the weights: ``"torch"`` (``torch.export``)
                and ``"onnx"``, which run without the models' classes.
            report: Sections and plots for the model card, ``Ensemble.report`` or ``find_out``;
                None: those that a loaded ensemble was exported with.

        Raises:
            BundleError: If ``folder`` exists, a model cannot be exported as a program, or what
                was written predicts something else.
        """
        if self._program is not None:
            raise BundleError(
                "this ensemble was loaded as a program; load its weights to export it again."
            )
        check_export(licence, report)
        folder = bundle_folder(folder)
        write_bundle(self._contents, folder, licence=licence, programs=programs, report=report)
        return folder

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
        """Return one row per member, of largest weight first, with its configuration.

        The score is called by the study's metric.
        """
        metric = next(iter(self.origin.scored), "score")
        rows = [
            {
                "trial": self.origin.trial_name(member),
                "weight": member.weight,
                metric: member.score,
                "out_of_fold_loss": member.out_of_fold_loss,
                **member.config,
            }
            for member in self.members
        ]
        return pd.DataFrame(rows)

    def fit(self, features: Features, target: ArrayLike | None = None) -> Self:
        """Return the ensemble as it is: it is fitted; for scikit-learn's functions."""
        return self

    def score(self, features: Features, target: ArrayLike) -> float:
        """Return the accuracy of classes, or R2 of values, as scikit-learn's estimators do.

        Args:
            features: As for ``predict``.
            target: Classes, shape ``(rows,)``, or values, as ``predict`` returns them.

        Raises:
            DataError: If the features' number, shape, type or values are wrong.
        """
        from sklearn.metrics import accuracy_score, r2_score

        metric = accuracy_score if self.classes_ is not None else r2_score
        return float(metric(target, self.predict(features)))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return nothing: a fitted ensemble has no parameters to set."""
        return {}

    def set_params(self, **params: Any) -> Self:
        """Return the ensemble as it is.

        Raises:
            EnsembleError: If a parameter is given.
        """
        if params:
            raise EnsembleError(
                f"a fitted ensemble has no parameters to set, got {', '.join(params)}; build "
                "another one."
            )
        return self

    def __sklearn_clone__(self) -> Self:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> "Tags":
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        is_class = self.classes_ is not None
        return Tags(
            estimator_type="classifier" if is_class else "regressor",
            target_tags=TargetTags(required=False, multi_output=self.signature.num_outputs > 1),
            classifier_tags=ClassifierTags() if is_class else None,
            regressor_tags=None if is_class else RegressorTags(),
            input_tags=InputTags(three_d_array=True),
            requires_fit=False,
        )

    def __repr__(self) -> str:
        name = self.origin.trial_name
        parts = ", ".join(f"{name(member)}: {member.weight:.2f}" for member in self.members)
        loss = "log loss" if self.signature.task == "classification" else "squared error"
        return (
            f"<Ensemble of {shortened(self.origin.study, 40)!r}, {len(self.members)} members "
            f"{{{shortened(parts, 50)}}}, nested out-of-fold {loss} "
            f"{self.nested_loss:.4g} (best trial alone {self.single_best_loss:.4g})>"
        )

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False))

    @cached_property
    def module(self) -> EnsembleModule:
        """All of it as one ``torch.nn.Module``.

        Raises:
            BundleError: If the ensemble was loaded as a program, which holds no models.
        """
        if self._program is not None:
            raise BundleError("this ensemble was loaded as a program; load its weights for this.")
        return EnsembleModule(
            [member.models for member in self.members], self._contents.combination, self.signature
        )

    def _combined(self, features: Features) -> NDArray[np.float64]:
        return self.predict_checked(check_features(features, self.signature))

    def _check_task(self, task: str, message: str) -> None:
        if self.signature.task != task:
            raise EnsembleError(message)


def load_bundle(
    folder: str | Path,
    *,
    models: Mapping[str, type[nn.Module]] | None = None,
    allow_code: bool = False,
    form: Literal["weights", "onnx"] = "weights",
) -> Ensemble:
    """Load an exported ensemble, after checking every byte of it against its manifest.

    Args:
        folder: The bundle.
        models: Your model classes, by the reference that the manifest names.
        allow_code: Run the code of models that do not come with Rayfold: the bundle's own copy of
            your files, or the installed module that it names. The file that the model was
            trained from is not read again.
        form: What predicts: the models with their weights, or the bundle's ONNX program, which
            needs no code at all.

    Raises:
        BundleError: If the bundle is damaged, foreign, of an unknown version, or wants to import
            a model that does not come with Rayfold.
    """
    folder = bundle_folder(folder)
    if one_of("form", form, ("weights", "onnx")) == "onnx":
        return Ensemble(*read_onnx(folder))
    return Ensemble(read_bundle(folder, models=models or {}, allow_code=allow_code))
