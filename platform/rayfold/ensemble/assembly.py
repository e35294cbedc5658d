"""Ensembles made of selections: the candidates' models are fetched and loaded."""

import logging
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rayfold.ensemble.builders import Selection
from rayfold.ensemble.candidates import Candidates
from rayfold.ensemble.combination import Combination
from rayfold.ensemble.evaluation.conformal import nonconformity
from rayfold.ensemble.evaluation.nested_validation import Evaluation
from rayfold.ensemble.evaluation.study_metrics import known_metrics
from rayfold.ensemble.members import arguments_of, load_model
from rayfold.ensemble.predictor import EnsembleModule
from rayfold.ensemble.records import Contents, Member, Origin, Signature
from rayfold.errors import ModelError
from rayfold.library import model_reference, resolve_model
from rayfold.tasks import Metric, find_task
from rayfold.training.metrics import find_metrics, scored_names

logger = logging.getLogger(__name__)


class Assembly:
    """Makes ensembles of candidates; each candidate's models are loaded once.

    Args:
        candidates: The trials that can be members.
        model: The model's class or reference, if the logged one cannot be imported here.

    Attributes:
        candidates: The trials that can be members.
        signature: Inputs and outputs.
        origin: The studies that the candidates come from.
    """

    def __init__(self, candidates: Candidates, model: str | type[nn.Module] | None) -> None:
        description = candidates.studies[0].description
        data = description.data
        self.candidates = candidates
        self._model = model
        self._models: dict[int, tuple[nn.Module, ...]] = {}
        self._losses = candidates.out_of_fold.losses()
        self.signature = Signature(
            task=find_task(data.task),
            inputs=data.inputs,
            num_outputs=data.num_outputs,
            classes=data.classes,
        )
        self.origin = Origin(
            studies={study.id: study.name for study in candidates.studies},
            data_digest=data.digest,
            fold_digest=description.fold_digest,
            labels=data.labels,
            test=data.test,
            runs={study.id: study.run_id for study in candidates.studies},
            scored=scored_names(description.metrics, description.metric),
        )

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """Those metrics of the study whose code can be imported here."""
        found: dict[str, Metric] = {}
        for given in self.candidates.studies[0].description.metrics:
            try:
                found |= find_metrics((given,), self.signature.task)
            except ModelError as error:
                logger.warning("%s; the report is without it", str(error).removesuffix("."))
        return known_metrics(self.origin.scored, found)

    @property
    def best(self) -> int:
        """The complete candidate with the lowest loss that is a single trial."""
        alone = [len(trials) == 1 for trials in self.candidates.made_of]
        complete = self.candidates.out_of_fold.complete & alone
        return int(np.where(complete, self._losses, np.inf).argmin())

    @property
    def best_by_metric(self) -> int:
        """The complete candidate with the best score by the study's metric; a single trial."""
        description = self.candidates.studies[0].description
        sign = -1.0 if description.mode == "max" else 1.0
        scores = np.full(len(self._losses), np.inf)
        for index, trials in enumerate(self.candidates.made_of):
            trial = self.candidates.trials[trials[0]][1]
            measured = trial.measured(description.metric)
            if len(trials) == 1 and measured and self.candidates.out_of_fold.complete[index]:
                scores[index] = sign * measured[0]
        return int(scores.argmin()) if np.isfinite(scores).any() else self.best

    @property
    def best_alone(self) -> Selection:
        """The selection of only that candidate."""
        return Selection.of_weights(np.eye(len(self._losses))[self.best])

    def models(self, trial: int) -> tuple[nn.Module, ...]:
        """Return the models of a candidate's trial, one for each of its folds."""
        if trial not in self._models:
            number, logged = self.candidates.trials[trial]
            description = self.candidates.studies[number].description
            model_class = resolve_model(self._model or description.model, tried=True)
            arguments = arguments_of(model_class, logged.config, description)
            shapes = self.signature.model_shapes
            self._models[trial] = tuple(
                load_model(model_class, arguments, logged.weights(fold), input_shapes=shapes)
                for fold in logged.folds
            )
        return self._models[trial]

    def module(self, selection: Selection) -> EnsembleModule:
        """Return a selection as one module."""
        trials, combination = self._members(selection)
        return EnsembleModule(
            [self.models(trial) for trial in trials], combination, self.signature
        )

    def contents(
        self, selection: Selection, evaluations: Sequence[Evaluation], reason: str
    ) -> Contents:
        """Return a selection as an ensemble.

        Args:
            selection: The candidates and their combination.
            evaluations: Evaluations of the builders that were tried, the chosen one first.
            reason: Why this builder was chosen.
        """
        out_of_fold, chosen = self.candidates.out_of_fold, evaluations[0]
        trials, combination = self._members(selection)
        predictions = selection.predict(out_of_fold)
        return Contents(
            signature=self.signature,
            origin=self.origin,
            members=tuple(
                self._member(trial, weight)
                for trial, weight in zip(trials, combination.shares, strict=True)
            ),
            combination=combination,
            out_of_fold_loss=float(
                out_of_fold.task.row_losses(predictions, out_of_fold.target).mean()
            ),
            single_best_loss=float(self._losses[self.best]),
            nested_loss=chosen.loss,
            reason=reason,
            nonconformity=nonconformity(out_of_fold.task, chosen.predictions, out_of_fold.target),
            spread=_spread(out_of_fold.target) if out_of_fold.task.quantities else None,
        )

    def predictions_of(self, candidate: int) -> NDArray[np.float64]:
        """Return the out-of-fold predictions of a candidate, shape ``(rows, outputs)``."""
        predictions = self.candidates.out_of_fold.predictions[candidate]
        return np.asarray(predictions, dtype=np.float64)

    def _members(self, selection: Selection) -> tuple[tuple[int, ...], Combination]:
        """Return the trials of the chosen candidates, and the combination of these trials.

        The trial with the largest weight comes first. A trial in several candidates gets the sum
        of its weights.
        """
        made_of = [self.candidates.made_of[candidate] for candidate in selection.candidates]
        if all(len(trials) == 1 for trials in made_of):
            return tuple(trial for (trial,) in made_of), selection.combination
        trials = list(dict.fromkeys(trial for together in made_of for trial in together))
        parts = np.zeros((len(made_of), len(trials)))
        for row, together in zip(parts, made_of, strict=True):
            row[[trials.index(trial) for trial in together]] = 1 / len(together)
        shares = selection.combination.of_parts(torch.from_numpy(parts)).shares
        order = np.argsort(-np.array(shares), kind="stable")
        combination = selection.combination.of_parts(torch.from_numpy(parts[:, order]))
        return tuple(trials[place] for place in order), combination

    def _member(self, index: int, weight: float) -> Member:
        number, trial = self.candidates.trials[index]
        study = self.candidates.studies[number]
        reference = self._model or study.description.model
        return Member(
            study_id=study.id,
            trial=trial.id,
            weight=weight,
            score=trial.score,
            out_of_fold_loss=float(self.candidates.losses[index]),
            config=trial.config,
            model=model_reference(reference),
            arguments=arguments_of(
                resolve_model(reference, tried=True), trial.config, study.description
            ),
            models=self.models(index),
            run_id=trial.run_id,
        )


def _spread(target: NDArray[np.generic]) -> tuple[float, ...]:
    return tuple(np.asarray(target, np.float64).std(axis=0).tolist())
