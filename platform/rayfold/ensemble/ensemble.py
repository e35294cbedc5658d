"""Ensembles: built from logged trials, or loaded from a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd
from torch import nn

from rayfold.ensemble.assembly import Assembly
from rayfold.ensemble.budget import Budget, Cost, Costs, WithinBudget, measure
from rayfold.ensemble.builders import (
    BUILDERS,
    DEFAULT_ROUNDS,
    Best,
    Builder,
    Convex,
    Greedy,
    Stacked,
)
from rayfold.ensemble.candidates import read_candidates, read_parts
from rayfold.ensemble.estimator import Estimator, Predict
from rayfold.ensemble.evaluation.held_out import StudyData, read_held_out
from rayfold.ensemble.evaluation.nested_validation import Evaluation, compare, reason
from rayfold.ensemble.evaluation.report import Report, report_of_folds, report_of_held_out
from rayfold.ensemble.predictor import check_features, predict_each, predict_rows
from rayfold.ensemble.records import Contents
from rayfold.ensemble.same_code import check_trials_left, of_present_code
from rayfold.errors import EnsembleError
from rayfold.options.arguments import checked
from rayfold.options.fields import Flag, SomeShare
from rayfold.results import shortened
from rayfold.tracking import read_study, study_names


@dataclass(frozen=True, eq=False)
class _Made:
    """The sources of an ensemble that was built in this process."""

    assembly: Assembly
    evaluations: Sequence[Evaluation]


class Ensemble(Estimator):
    """Trained models whose predictions are combined.

    A member is a trial: the plain average of the models of its folds. ``Ensemble.greedy``,
    ``Ensemble.best``, ``Ensemble.single_best`` and ``Ensemble.build`` make an ensemble from
    MLflow, also while the study runs. ``load_bundle`` loads an exported one.

    Attributes:
        out_of_fold_loss: Mean loss of the task (log loss, squared error) over all rows, each
            predicted by models that did not see it.
        nested_loss: The same loss, with each row predicted by an ensemble that was chosen on the
            rows of other folds.
        single_best_loss: The out-of-fold loss of the best trial.
        reason: Why its builder was chosen.
    """

    def __init__(
        self, contents: Contents, program: Predict | None = None, made: _Made | None = None
    ) -> None:
        super().__init__(contents, program)
        self._made = made
        self.out_of_fold_loss = contents.out_of_fold_loss
        self.nested_loss = contents.nested_loss
        self.single_best_loss = contents.single_best_loss
        self.reason = contents.reason

    @classmethod
    @checked
    def best(
        cls,
        studies: str | Sequence[str],
        *,
        builders: Sequence[Builder | str | type[Builder]] | None = None,
        budget: Budget | None = None,
        min_share: SomeShare = 0.5,
        sub_problems: Flag = True,
        storage: str | Path | None = None,
        tracking_uri: str | None = None,
        model: str | type[nn.Module] | None = None,
    ) -> Self:
        """Build an ensemble by the builder with the lowest nested out-of-fold loss.

        ``reason`` says why it was chosen; ``report()`` scores the other builders.

        Args:
            studies: Name or id of a study in MLflow, or of several with the same data and folds.
            builders: The builders to try. A name, a reference or a class stands for a builder with
                its defaults. None: every builder of ``rayfold.ensemble``, and the best trial.
            budget: Limits of the ensemble; None: no limits.
            min_share: A stopped trial takes part if its folds hold at least this share of the
                rows, in (0, 1].
            sub_problems: Whether the average of the best trials of a study's sub-problems is a
                candidate.
            storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.
            tracking_uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in
                ``storage``.
            model: The model's class or reference, if the logged one cannot be imported here.

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
        tried = _checked_builders(builders)
        names = study_names("studies", studies, error=EnsembleError)
        if budget is not None and not isinstance(budget, Budget):
            raise EnsembleError(
                f"budget must be a Budget, such as Budget(max_members=5), got {budget!r}."
            )
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
            tried = [WithinBudget(builder, budget, costs) for builder in tried]
        evaluations = compare(tried, out_of_fold)
        selection = evaluations[0].builder.build(out_of_fold)
        why = reason(evaluations, out_of_fold.task)
        return cls(
            assembly.contents(selection, evaluations, why), made=_Made(assembly, evaluations)
        )

    @classmethod
    def build(
        cls,
        studies: str | Sequence[str],
        builder: Builder | str | type[Builder],
        **options: Any,
    ) -> Self:
        """Build an ensemble by one builder.

        Args:
            studies: As for ``best``.
            builder: Chooses the trials and says how they are combined: a builder, or its name,
                reference (``"./mine.py:Mine"``) or class for its defaults.
            options: ``budget``, ``min_share``, ``sub_problems``, ``storage``, ``tracking_uri``
                and ``model``, as for ``best``.

        Raises:
            TrackingError, EnsembleError, ModelError: As ``best`` does.
        """
        return cls.best(studies, builders=(builder,), **options)

    @classmethod
    def greedy(
        cls, studies: str | Sequence[str], num_rounds: int = DEFAULT_ROUNDS, **options: Any
    ) -> Self:
        """Build an ensemble by greedy selection.

        Args:
            studies: As for ``best``.
            num_rounds: Rounds of the selection, at least 1. A trial that is chosen in several
                rounds is one member with a larger weight.
            options: As for ``build``.

        Raises:
            TrackingError, EnsembleError, ModelError: As ``best`` does.
        """
        return cls.build(studies, Greedy(num_rounds), **options)

    @classmethod
    def single_best(cls, studies: str | Sequence[str], **options: Any) -> Self:
        """Build an ensemble of one: the trial with the lowest out-of-fold loss.

        Arguments and errors are those of ``build``.
        """
        alone = Best(1, calibrate=False)
        return cls.build(studies, alone, **{**options, "sub_problems": False})

    def cost(self) -> Cost:
        """Return members, parameters, and seconds of a prediction, measured on this machine."""
        return measure(self.module, self.signature)

    def report(self, data: StudyData | None = None) -> Report:
        """Score the ensemble on rows that it was not chosen on.

        Args:
            data: The study's files or its source, for the test rows; None: without test rows.

        Raises:
            EnsembleError: If the ensemble was loaded from a bundle, which holds its report.
            DataError: If the study has no test rows, or these are other data.
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
            metrics=assembly.metrics,
            mode=study.mode,
            accept=study.accept,
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
                task=self.signature.task,
                ensemble=predict_rows(self.module, features),
                best_models=predict_each(best, features)[0],
                target=held_out.target,
                nonconformity=self.contents.nonconformity,
                uncertainty=self.uncertainty(held_out.features),
                metrics=assembly.metrics,
            ),
        )

    def table(self) -> pd.DataFrame:
        """Return one row per member, largest weight first, with its configuration.

        The column of scores has the name of the study's metric.
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

    def __repr__(self) -> str:
        name = self.origin.trial_name
        parts = ", ".join(f"{name(member)}: {member.weight:.2f}" for member in self.members)
        loss = self.signature.task.loss_name
        return (
            f"<Ensemble of {shortened(self.origin.study, 40)!r}, {len(self.members)} members "
            f"{{{shortened(parts, 50)}}}, nested out-of-fold {loss} "
            f"{self.nested_loss:.4g} (best trial alone {self.single_best_loss:.4g})>"
        )

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False))


def _checked_builders(builders: object) -> list[Builder]:
    """Return the builders that are named; there is at least one."""
    if not isinstance(builders, list | tuple) or not builders:
        raise EnsembleError(f"builders must name at least one builder, got {builders!r}.")
    for each in builders:
        if not isinstance(each, Builder | str | type):
            raise EnsembleError(
                "a builder is a name, a reference, a class or an object, got "
                f"{shortened(repr(each), 60)}; to give arguments, pass an object such as "
                "Greedy(20)."
            )
    return [each if isinstance(each, Builder) else BUILDERS.create(each) for each in builders]
