"""The training loop of one fold: epochs, validation, checkpoints, and what it leaves behind."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from rayfold.data import DataSet, to_float
from rayfold.data.scales import far_scales
from rayfold.isolation import (
    generator_states,
    own_generators,
    seed_generators,
    set_generator_states,
)
from rayfold.orders import FoldTask
from rayfold.results import FoldResult
from rayfold.storage import replacing
from rayfold.training.checkpoint import (
    ShrinkAndPerturb,
    newest_checkpoint,
    newest_epoch,
    put_aside,
    readable_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)
from rayfold.training.hyperparameters import DEFAULT_BATCH_SIZE
from rayfold.training.learner import Batch, Learner
from rayfold.training.metrics import check_defined, evaluate
from rayfold.training.settings import StudySetup
from rayfold.training.strategies import Strategy
from rayfold.training.weights_file import save_weights

EVALUATION_ROWS = 1024
"""Rows in a validation batch, over all workers; results do not depend on it."""


logger = logging.getLogger(__name__)

EXPLODED = 1e6
"""A fold has diverged once a loss is above this many times the larger of three: the loss of its
untrained model (on the first batch), that of outputs of 0 for the training rows, and 1.

No epoch of a training that learns anything comes near, the first included, since the untrained
model is what it is compared with; the 1 keeps targets of tiny scale out of it.
"""


class FoldRun:
    """One fold in training, kept in memory between two orders.

    Everything random follows from the study's seed, the trial's id and the fold, so that a trial
    repeated alone gives the same score. Several runs may take turns in one process: each puts
    back its own generator states before it goes on.

    Args:
        task: The first order for this fold; later ones go to ``advance``.
        setup: What all folds of the study share.
        data: The data set.
        strategy: How the workers of the group share a batch.
    """

    def __init__(
        self,
        task: FoldTask,
        *,
        setup: StudySetup,
        data: DataSet,
        strategy: Strategy,
    ) -> None:
        self._setup, self._data, self._strategy = setup, data, strategy
        self._fold = setup.plan.folds[task.fold]
        self._trial = task.trial
        self._folder = setup.folder / task.folder
        self._checkpoints = setup.folder / task.checkpoints
        config = {**setup.parameters, **task.config}
        self._batch_size = int(config.get("batch_size", DEFAULT_BATCH_SIZE))
        self._batches = batches_of(len(self._fold.training_rows), self._batch_size)
        self._seed = fold_seed(setup.settings.random_seed, task.trial, task.fold)
        seed_generators(self._seed, strategy.device)
        self._learner = Learner(
            config,
            setup=setup,
            data=data,
            strategy=strategy,
            steps_per_epoch=len(self._batches),
            warm=(task.fold, int(task.trial)) if task.warm else None,
        )
        # Dropout differs between workers.
        seed_generators(self._seed + 1 + strategy.rank, strategy.device)
        self._generators = generator_states(strategy.device)
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
        return bool(self._strategy.broadcast(newest_epoch(self._checkpoints) > self.epoch))

    def advance(
        self, task: FoldTask, *, should_stop: Callable[[], bool] = lambda: False
    ) -> FoldResult | None:
        """Carry out an order.

        Args:
            task: Which epoch to reach, and whether to write a checkpoint there.
            should_stop: Asked on rank 0 after each epoch; when true, a checkpoint is written and
                the order ends early.

        Returns:
            The fold's result when its last epoch is trained, else None.

        Raises:
            FloatingPointError: If a loss or the study's metric is no longer finite, or a loss has
                exploded (see ``EXPLODED``).
        """
        set_generator_states(self._generators, self._strategy.device)
        try:
            return self._advance(task, should_stop)
        finally:
            self._generators = generator_states(self._strategy.device)

    def _advance(self, task: FoldTask, should_stop: Callable[[], bool]) -> FoldResult | None:
        epochs = self._setup.settings.epochs
        while self.epoch < task.until_epoch:
            self._train_epoch()
            self._check_converging(task)
            stop = self._strategy.broadcast(self.epoch < task.until_epoch and should_stop())
            if stop:
                self._save()
                return None
            if self.epoch < epochs and self._due():
                self._save()
        if self.epoch >= epochs:
            return self._finish(task)
        if task.save:
            self._save(milestone=True)
        return None

    def _train_epoch(self) -> None:
        began = time.perf_counter()
        learner, strategy = self._learner, self._strategy
        learning_rate = learner.learning_rate
        learner.train(True)
        total = torch.zeros((), device=strategy.device)
        order = np.random.default_rng([self._seed, self.epoch]).permutation(
            self._fold.training_rows
        )
        for batch in self._batches:
            rows = order[batch]
            total += learner.train_batch(self._load(rows, strategy.training_part(len(rows))))
            if not self._untrained_loss:
                self._untrained_loss = float(strategy.sum(total)) / len(rows)
        training_loss = float(strategy.sum(total)) / len(self._fold.training_rows)
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

    def _load(self, rows: NDArray[np.int64], part: slice) -> Batch:
        """Load this worker's part of a batch; without rows of its own it takes the first two."""
        mine = rows[part]
        weight = 1.0 if len(mine) else 0.0
        features, labels = self._read(mine if len(mine) else rows[:2])
        return Batch(features, labels, total_rows=len(rows), weight=weight)

    def _read(self, rows: NDArray[np.int64]) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return copies of the rows: features as a model takes them, and labels."""
        device = self._strategy.device
        features = tuple(
            torch.from_numpy(to_float(array[rows], self._data.channels)).to(device)
            for array in self._data.features
        )
        return features, torch.from_numpy(self._data.labels[rows]).to(device)

    def _validate(self) -> tuple[Tensor | None, dict[str, float]]:
        """Predict the validation rows, and score those that count; the same on every rank.

        What a model draws while it predicts follows from the fold's seed alone, and training goes
        on with the numbers that it would have drawn without.
        """
        with own_generators(self._seed + self._strategy.rank, self._strategy.device):
            return self._predict_and_score()

    def _predict_and_score(self) -> tuple[Tensor | None, dict[str, float]]:
        learner, strategy = self._learner, self._strategy
        learner.train(False)
        strategy.share_buffers(learner.model)  # what is predicted with is what is saved
        rows, scored = self._fold.validation_rows, self._fold.scored
        if scored is None:
            scored = np.ones(len(rows), np.bool_)
        total = torch.zeros((), device=strategy.device)
        parts = []
        for start in range(0, len(rows), EVALUATION_ROWS):
            together = rows[start : start + EVALUATION_ROWS]
            part = strategy.part(len(together))
            batch = self._load(together, part)
            counted = scored[start : start + EVALUATION_ROWS][part]
            predictions, losses = learner.predict_batch(batch)
            joined = strategy.gather_rows(predictions[: batch.num_own_rows], batch.total_rows)
            total += losses[: batch.num_own_rows][torch.from_numpy(counted)].sum()
            if joined is not None:
                parts.append(joined.cpu())
        values = {"val_loss": float(strategy.sum(total)) / int(np.count_nonzero(scored))}
        gathered = torch.cat(parts) if parts else None
        if gathered is not None:
            labels = torch.from_numpy(self._data.labels[rows[scored]])
            metrics = evaluate(
                self._setup.settings.metrics,
                self._data.task,
                gathered[torch.from_numpy(scored)],
                labels,
            )
            values |= {f"val_{name}": value for name, value in metrics.items()}
        return gathered, strategy.broadcast(values)

    def _check_converging(self, task: FoldTask) -> None:
        metrics, wanted = self._history[-1], self._setup.settings.metric
        if wanted not in metrics:
            check_defined(wanted, self._setup.plan, self._data)
        for name in ("train_loss", "val_loss", wanted):
            value = metrics.get(name, math.nan)
            if not math.isfinite(value) or (name.endswith("_loss") and self._has_exploded(value)):
                raise FloatingPointError(
                    f"fold {task.fold} diverged: {name} is {value:.4g} after epoch {self.epoch}; "
                    f"{self._remedy()}."
                )

    def _has_exploded(self, loss: float) -> bool:
        if loss <= EXPLODED * max(1.0, self._untrained_loss):
            return False
        labels = torch.from_numpy(self._data.labels[self._fold.training_rows])
        return loss > EXPLODED * self._learner.blank_loss(labels)

    def _remedy(self) -> str:
        """Say what may help: scales far from 1 are the usual reason."""
        scales = far_scales(self._data, self._fold.training_rows)
        if not scales:
            return "a smaller optimizer.learning_rate may help"
        return (
            f"the scale of {' and of '.join(map(str, scales))} is far from 1: standardise, "
            "or try a smaller optimizer.learning_rate"
        )

    def _due(self) -> bool:
        elapsed = time.monotonic() - self._saved_at >= self._setup.settings.checkpoint_seconds
        return bool(self._strategy.broadcast(elapsed))

    def _save(self, *, milestone: bool = False) -> None:
        """Write a checkpoint on rank 0; which another trial may copy if it is a milestone."""
        state = {
            **self._learner.state_dict(),
            "generators": self._gathered_generators(),
            "history": self._history,
            "started_at": self._started_at,
            "busy_seconds": self._busy_seconds,
            "untrained_loss": self._untrained_loss,
        }
        self._strategy.on_rank_0(
            lambda: save_checkpoint(self._checkpoints, self.epoch, state, milestone=milestone)
        )
        self._saved_at = time.monotonic()

    def _gathered_generators(self) -> dict[str, Tensor]:
        """Return the generators' states, of each kind those of all workers, on every worker."""
        strategy = self._strategy
        gathered = {
            name: strategy.gather_rows(state[None], strategy.world_size)
            for name, state in generator_states(strategy.device).items()
        }
        on_rank_0 = {name: states.cpu() for name, states in gathered.items() if states is not None}
        generators: dict[str, Tensor] = strategy.broadcast(on_rank_0)
        return generators

    def _take_up(self) -> None:
        """Go on from the newest checkpoint that every worker can read; damaged ones go aside."""
        strategy = self._strategy
        while (path := strategy.broadcast(newest_checkpoint(self._checkpoints))) is not None:
            state = readable_checkpoint(path, strategy.device)
            damaged = float(strategy.sum(torch.tensor(float(state is None))))
            if state is not None and not damaged:
                self._restore(path, state)
                return
            if strategy.rank == 0:
                put_aside(path)

    def _restore(self, path: Path, state: dict[str, Any]) -> None:
        """Go on from the state in a checkpoint."""
        restart = self._strategy.broadcast(ShrinkAndPerturb.read(path))
        self._learner.load_state_dict(state, restart=restart)
        self._history = list(state["history"])
        self._started_at = state["started_at"]
        self._busy_seconds = state["busy_seconds"]
        self._untrained_loss = state.get("untrained_loss", 0.0)
        self._predictions = None
        generators = state["generators"]
        if isinstance(generators, list):  # written when PyTorch's alone were kept
            generators = dict(zip(("torch", "cuda"), generators, strict=False))
        if all(len(states) == self._strategy.world_size for states in generators.values()):
            self._generators |= {
                name: states[self._strategy.rank].cpu().clone()  # PyTorch crashes on a view
                for name, states in generators.items()
            }

    def _finish(self, task: FoldTask) -> FoldResult:
        """Write weights, out-of-fold predictions and the result; then the checkpoints go."""
        if self._strategy.broadcast(self._predictions is None):  # restored at the last epoch
            self._predictions, _ = self._validate()
        score = self._history[-1][self._setup.settings.metric]
        result = FoldResult(
            fold=task.fold,
            score=score,
            history=self.history,
            started_at=self._started_at,
            finished_at=time.time(),
            busy_seconds=self._busy_seconds,
            weights=str(task.folder / "weights.safetensors"),
            predictions=str(task.folder / "predictions.safetensors"),
            initial=self._learner.initial,
        )
        self._strategy.on_rank_0(lambda: self._write(result))
        return result

    def _write(self, result: FoldResult) -> None:
        assert self._predictions is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        rows = self._fold.validation_rows
        predictions = {
            "rows": torch.from_numpy(rows.copy()),
            "predictions": self._predictions.float().contiguous(),
            "labels": torch.from_numpy(self._data.labels[rows]),
        }
        with replacing(self._setup.folder / result.weights) as temporary:
            save_weights(self._learner.model, temporary)
        with replacing(self._setup.folder / result.predictions) as temporary:
            save_file(predictions, temporary)
        with replacing(self._folder / "result.json") as temporary:
            temporary.write_text(json.dumps(result.to_dict()))
        remove_checkpoints(self._folder)


def finished_result(task: FoldTask, study_folder: Path) -> FoldResult | None:
    """Return the result that an earlier run of this very fold has written, or None.

    A damaged one is put aside with a warning, and the fold is trained again.
    """
    path = study_folder / task.folder / "result.json"
    try:
        return FoldResult.from_dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("result %s cannot be read (%s); the fold is trained again.", path, error)
        put_aside(path)
        return None


def batches_of(num_rows: int, batch_size: int) -> list[slice]:
    """Cut an epoch's rows into batches.

    A last batch of a single row joins the batch before: batch normalisation cannot train on one
    row, and for no model is one row a good estimate of the gradient.
    """
    starts = [*range(0, num_rows, batch_size)]
    if batch_size > 1 and len(starts) > 1 and num_rows - starts[-1] == 1:
        starts.pop()
    return [slice(*bounds) for bounds in pairwise([*starts, num_rows])]


def fold_seed(random_seed: int, trial: str, fold: int) -> int:
    """Return the seed of one fold, in [0, 2**31), from the study's seed, trial id and fold."""
    digest = hashlib.sha256(f"{random_seed}/{trial}/{fold}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
