"""The training loop of one fold: epochs, validation, checkpoints, and what it leaves behind."""

import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rayfold.data import DataSet
from rayfold.data.scales import far_scales
from rayfold.errors import ModelError
from rayfold.isolation import (
    Snapshot,
    generator_states,
    isolated,
    own_generators,
    seed_generators,
    set_generator_states,
)
from rayfold.jobs import FoldJob
from rayfold.process_guard import guarded_process
from rayfold.results import FoldResult
from rayfold.storage import replacing
from rayfold.training.batches import batches_of, fold_seed
from rayfold.training.checkpoint import (
    ShrinkAndPerturb,
    newest_checkpoint,
    newest_epoch,
    put_aside,
    readable_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)
from rayfold.training.collective import Collective
from rayfold.training.hyperparameters import DEFAULT_BATCH_SIZE
from rayfold.training.loading import Loader
from rayfold.training.metrics import check_defined, evaluate, find_metrics
from rayfold.training.references import LEARNERS, STRATEGIES
from rayfold.training.settings import StudySetup
from rayfold.training.strategies import Share
from rayfold.training.weights_file import save_weights

EVALUATION_ROWS = 1024
"""Rows in a validation batch, over all workers; results do not depend on it."""

RELOADED_ROWS = 8
"""Rows that are predicted again with the weights that a fold leaves behind."""

logger = logging.getLogger(__name__)


class FoldRun:
    """One fold in training, kept in memory between two jobs.

    Everything random follows from the study's seed, the trial's id and the fold, so that a trial
    repeated alone gives the same score. Several runs may take turns in one process: each puts
    back its own generator states before it goes on.

    Args:
        job: The first job for this fold; later ones go to ``advance``.
        setup: What all folds of the study share.
        data: The data set.
        collective: The workers of the group.
    """

    @guarded_process()
    def __init__(
        self,
        job: FoldJob,
        *,
        setup: StudySetup,
        data: DataSet,
        collective: Collective,
    ) -> None:
        self._setup, self._data, self._collective = setup, data, collective
        self._fold = setup.plan.folds[job.fold]
        self._trial = job.trial
        self._folder = setup.folder / job.folder
        self._checkpoints = setup.folder / job.checkpoints
        config = {**setup.parameters, **job.config}
        self._batch_size = int(config.get("batch_size", DEFAULT_BATCH_SIZE))
        self._metrics = find_metrics(setup.settings.metrics, data.task, setup.references)
        self._batches = batches_of(len(self._fold.training_rows), self._batch_size)
        self._seed = fold_seed(setup.settings.random_seed, job.trial, job.fold)
        seed_generators(self._seed, collective.device)
        with isolated():  # what the code of a learner or a strategy sets ends here
            self._strategy = STRATEGIES.load(setup.strategy)(collective)
            self._loader = Loader(data, self._strategy)
            self._learner = LEARNERS.load(setup.learner)(
                config,
                setup=setup,
                data=data,
                strategy=self._strategy,
                steps_per_epoch=len(self._batches),
                warm=(job.fold, int(job.trial)) if job.warm else None,
            )
        # Dropout differs between workers.
        seed_generators(self._seed + 1 + collective.rank, collective.device)
        self._generators = generator_states(collective.device)
        self._history: list[dict[str, float]] = []
        self._untrained_loss = 0.0  # of the first batch, before the first step
        self._predictions: Tensor | None = None
        self._started_at = time.time()
        self._saved_at = time.monotonic()
        self._busy_seconds = 0.0
        self._take_up()

    @property
    def model(self) -> nn.Module:
        """The model that is trained."""
        return self._learner.model

    @property
    def epoch(self) -> int:
        """How many epochs have been trained."""
        return len(self._history)

    @property
    def history(self) -> tuple[dict[str, float], ...]:
        """The metrics of each epoch so far."""
        return tuple(self._history)

    def is_outdated(self) -> bool:
        """Tell whether another group has taken the fold further: it left a newer checkpoint."""
        return bool(self._collective.broadcast(newest_epoch(self._checkpoints) > self.epoch))

    @guarded_process()
    def advance(
        self, job: FoldJob, *, should_stop: Callable[[], bool] = lambda: False
    ) -> FoldResult | None:
        """Carry out a job.

        Args:
            job: Which epoch to reach, and whether to write a checkpoint there.
            should_stop: Asked on rank 0 after each epoch; when true, a checkpoint is written and
                the job ends early.

        Returns:
            The fold's result when its last epoch is trained, else None.

        Raises:
            FloatingPointError: If a loss or the study's metric is no longer finite, or the learner
                finds that a loss has exploded.
        """
        device = self._collective.device
        set_generator_states(self._generators, device)
        try:
            with isolated():
                return self._advance(job, should_stop)
        finally:
            self._generators = generator_states(device)

    def _advance(self, job: FoldJob, should_stop: Callable[[], bool]) -> FoldResult | None:
        epochs = self._setup.settings.epochs
        while self.epoch < job.until_epoch:
            self._train_epoch()
            self._check_converging(job)
            stop = self._collective.broadcast(self.epoch < job.until_epoch and should_stop())
            if stop:
                self._save()
                return None
            if self.epoch < epochs and self._due():
                self._save()
        if self.epoch >= epochs:
            return self._finish(job)
        if job.save:
            self._save(milestone=True)
        return None

    def _train_epoch(self) -> None:
        began = time.perf_counter()
        learner, strategy, collective = self._learner, self._strategy, self._collective
        learning_rate = learner.learning_rate
        learner.train(True)
        total = torch.zeros((), device=collective.device)
        order = np.random.default_rng([self._seed, self.epoch]).permutation(
            self._fold.training_rows
        )
        loaded = self._loader.training_batches(order, self._batches)
        for rows, batch in zip(self._batches, loaded, strict=True):
            if batch is None:
                strategy.assist(learner.optimizers)
            else:
                total += learner.train_batch(batch)
            learner.end_batch()
            if not self._untrained_loss:
                self._untrained_loss = float(collective.sum(total)) / (rows.stop - rows.start)
        strategy.end_epoch(learner.model, learner.optimizers)
        training_loss = float(collective.sum(total)) / len(self._fold.training_rows)
        self._predictions, validation = self._validate()
        self._busy_seconds += time.perf_counter() - began
        self._history.append(
            {
                "train_loss": training_loss,
                **validation,
                "learning_rate": learning_rate,
                "seconds": time.perf_counter() - began,
                "finished_at": time.time(),
            }
        )

    def _validate(self) -> tuple[Tensor | None, dict[str, float]]:
        """Predict the validation rows, and score those that count; the same on every rank.

        What a model draws while it predicts follows from the fold's seed alone, and training goes
        on with the numbers that it would have drawn without. What a batch changes of the model is
        put back, so that no batch depends on another and what predicts is what is saved.

        Returns:
            The predictions on rank 0, if there are some, and the metrics.
        """
        before = Snapshot(self._learner.model, parameters=True)
        seed = self._seed + self._collective.rank
        with own_generators(seed, self._collective.device), torch.no_grad():
            self._learner.train(False)
            return self._predict_and_score(before)

    def _predict_and_score(self, before: Snapshot) -> tuple[Tensor | None, dict[str, float]]:
        collective = self._collective
        rows, scored = self._fold.validation_rows, self._fold.scored
        totals: dict[str, Tensor] = {}
        parts = []
        for start in range(0, len(rows), EVALUATION_ROWS):
            together = rows[start : start + EVALUATION_ROWS]
            share = self._strategy.validation_share(len(together))
            batch = self._loader.load(together, share)
            predictions, measured = self._learner.validate_batch(batch)
            before.restore()
            self._check_predicted(predictions)
            own = slice(batch.num_own_rows)
            for name, values in measured.items():
                mine = values[own]
                if scored is not None:
                    counted = scored[start : start + EVALUATION_ROWS][share.rows][own]
                    mine = mine[torch.from_numpy(counted)]
                totals[name] = totals[name] + mine.sum() if name in totals else mine.sum()
            if predictions is not None:
                joined = collective.gather_rows(predictions[own])
                parts += [] if joined is None else [joined.cpu()]
        num_scored = len(rows) if scored is None else int(np.count_nonzero(scored))
        metrics = {
            f"val_{name}": float(collective.sum(total)) / num_scored
            for name, total in totals.items()
        }
        gathered = torch.cat(parts) if parts else None
        if gathered is not None and self._metrics:
            which = slice(None) if scored is None else torch.from_numpy(scored)
            labels = torch.from_numpy(self._data.labels[rows])
            found = evaluate(self._metrics, self._data.task, gathered[which], labels[which])
            metrics |= {f"val_{name}": value for name, value in found.items()}
        return gathered, collective.broadcast(metrics)

    def _check_predicted(self, predictions: Tensor | None) -> None:
        if (predictions is not None) != self._learner.predicts:
            name = type(self._learner).__name__
            returned = "no predictions" if predictions is None else "predictions"
            raise ModelError(
                f"{name}.validate_batch returns {returned}, but {name}.predicts is "
                f"{self._learner.predicts}; change one of the two."
            )

    def _check_converging(self, job: FoldJob) -> None:
        metrics, wanted = self._history[-1], self._setup.settings.metric
        sought = self._metrics.get(wanted.removeprefix("val_"))
        if sought is not None and wanted not in metrics:
            check_defined(wanted, sought, self._setup.plan, self._data)
        reported = [f"val_{name}" for name in self._learner.reports]
        for name in dict.fromkeys(["train_loss", *reported, wanted]):
            value = metrics.get(name, math.nan)
            exploded = name.endswith("_loss") and self._learner.has_exploded(
                value, untrained=self._untrained_loss, rows=self._fold.training_rows
            )
            if exploded or not math.isfinite(value):
                raise FloatingPointError(
                    f"fold {job.fold} diverged: {name} is {value:.4g} after epoch {self.epoch}; "
                    f"{self._remedy()}."
                )

    def _remedy(self) -> str:
        """Say what may help: scales far from 1 are the usual reason."""
        scales = far_scales(self._data, self._fold.training_rows)
        if not scales:
            return "a smaller optimizer.learning_rate may help"
        remedies = dict.fromkeys(scale.remedy for scale in scales)
        return (
            f"the scale of {' and of '.join(map(str, scales))} is far from 1: "
            f"{' and '.join(remedies)} in the file, or try a smaller optimizer.learning_rate"
        )

    def _due(self) -> bool:
        elapsed = time.monotonic() - self._saved_at >= self._setup.settings.checkpoint_seconds
        return bool(self._collective.broadcast(elapsed))

    def _save(self, *, milestone: bool = False) -> None:
        """Write a checkpoint on rank 0; which another trial may copy if it is a milestone."""
        state = {
            "learner": self._learner.state_dict(),
            "strategy": self._strategy.state_dict(),
            "generators": self._gathered_generators(),
            "history": self._history,
            "started_at": self._started_at,
            "busy_seconds": self._busy_seconds,
            "untrained_loss": self._untrained_loss,
        }
        self._collective.on_rank_0(
            lambda: save_checkpoint(self._checkpoints, self.epoch, state, milestone=milestone)
        )
        self._saved_at = time.monotonic()

    def _gathered_generators(self) -> dict[str, Tensor]:
        """Return the generators' states, of each kind those of all workers, on every worker."""
        collective = self._collective
        gathered = {
            name: collective.gather_rows(state[None])
            for name, state in generator_states(collective.device).items()
        }
        on_rank_0 = {name: states.cpu() for name, states in gathered.items() if states is not None}
        generators: dict[str, Tensor] = collective.broadcast(on_rank_0)
        return generators

    def _take_up(self) -> None:
        """Go on from the newest checkpoint that every worker can read; damaged ones go aside."""
        collective = self._collective
        while (path := collective.broadcast(newest_checkpoint(self._checkpoints))) is not None:
            state = readable_checkpoint(path, collective.device)
            damaged = float(collective.sum(torch.tensor(float(state is None))))
            if state is not None and not damaged:
                self._restore(path, state)
                return
            if collective.rank == 0:
                put_aside(path)

    def _restore(self, path: Path, state: dict[str, Any]) -> None:
        """Go on from the state in a checkpoint."""
        restart = self._collective.broadcast(ShrinkAndPerturb.read(path))
        # versions before strategies had a state wrote the learner's beside all else
        self._learner.load_state_dict(state.get("learner", state), restart=restart)
        self._strategy.load_state_dict(state.get("strategy", {}))
        self._history = list(state["history"])
        self._started_at = state["started_at"]
        self._busy_seconds = state["busy_seconds"]
        self._untrained_loss = state.get("untrained_loss", 0.0)
        self._predictions = None
        generators = state["generators"]
        if isinstance(generators, list):  # written when PyTorch's alone were kept
            generators = dict(zip(("torch", "cuda"), generators, strict=False))
        if all(len(states) == self._collective.world_size for states in generators.values()):
            self._generators |= {
                name: states[self._collective.rank].cpu().clone()  # PyTorch crashes on a view
                for name, states in generators.items()
            }

    def _finish(self, job: FoldJob) -> FoldResult:
        """Write weights, out-of-fold predictions and the result; then the checkpoints go."""
        predicts = self._learner.predicts
        if predicts and self._collective.broadcast(self._predictions is None):
            self._predictions, _ = self._validate()  # restored at the last epoch
        weights = self._learner.weights()
        self._check_reloads(weights)
        score = self._history[-1][self._setup.settings.metric]
        result = FoldResult(
            fold=job.fold,
            score=score,
            history=self.history,
            started_at=self._started_at,
            finished_at=time.time(),
            busy_seconds=self._busy_seconds,
            weights=str(job.folder / "weights.safetensors"),
            predictions=str(job.folder / "predictions.safetensors") if predicts else None,
            initial=self._learner.initial,
        )
        self._collective.on_rank_0(lambda: self._write(result, weights))
        return result

    def _check_reloads(self, weights: dict[str, Any]) -> None:
        """Check that the weights alone give the predictions of a few rows again."""
        rows = self._fold.validation_rows[:RELOADED_ROWS]
        batch = self._loader.load(rows, Share(slice(0, len(rows))))
        try:
            with torch.no_grad():
                self._learner.train(False)
                problem = self._learner.reload_problem(batch, weights, self._seed)
        except ModelError as error:  # the other ranks wait
            problem = f"it cannot be built again: {str(error).removesuffix('.')}"
        if problem := self._collective.broadcast(problem):
            raise ModelError(f"{type(self.model).__name__}: {problem}.")

    def _write(self, result: FoldResult, weights: dict[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._setup.folder / result.weights) as temporary:
            save_weights(weights, temporary)
        if result.predictions is not None and self._predictions is not None:
            rows = self._fold.validation_rows
            predictions = {
                "rows": torch.from_numpy(rows.copy()),
                "predictions": self._predictions.float().contiguous(),
                "labels": torch.from_numpy(self._data.labels[rows]),
            }
            with replacing(self._setup.folder / result.predictions) as temporary:
                save_file(predictions, temporary)
        with replacing(self._folder / "result.json") as temporary:
            temporary.write_text(json.dumps(result.to_dict()))
        remove_checkpoints(self._folder)


def finished_result(job: FoldJob, study_folder: Path) -> FoldResult | None:
    """Return the result that an earlier run of this very fold has written, or None.

    A damaged one is put aside with a warning, and the fold is trained again.
    """
    path = study_folder / job.folder / "result.json"
    try:
        return FoldResult.from_dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("result %s cannot be read (%s); the fold is trained again.", path, error)
        put_aside(path)
        return None
