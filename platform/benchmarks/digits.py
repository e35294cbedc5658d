"""A grid of small convolutional networks on handwritten digits, every one of them trained.

The images are averaged over 2 x 2 pixels, and few rows and epochs are taken, so that a training is
a second's work; each has a seed of its own. The table is a CSV file that ``rayfold simulate``
reads, too. It is written line by line: what is in it is never trained again.
"""

import csv
import itertools
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from rayfold.data import HDF5, DataSet, Fold, FoldPlan, load
from rayfold.errors import DataError
from rayfold.jobs import FoldJob
from rayfold.library import model_source
from rayfold.models.cnn import CNN
from rayfold.results import Config, Value
from rayfold.simulation import Table, read_table
from rayfold.space import Choice, SearchSpace
from rayfold.training import FoldRun, Settings, SingleProcess, StudySetup
from rayfold.training.metrics import load_metrics

FIXED: Config = {"optimizer.name": "momentum"}
"""What is the same in every training."""


@dataclass(frozen=True)
class Grid:
    """Which configurations there are, and how long each is trained.

    Attributes:
        values: The values of each hyperparameter; the grid is complete.
        num_training_rows: Rows that a training sees.
        num_validation_rows: Other rows, on which its accuracy is measured.
        epochs: Epochs of a training.
    """

    values: Mapping[str, tuple[Value, ...]]
    num_training_rows: int
    num_validation_rows: int
    epochs: int

    @property
    def space(self) -> SearchSpace:
        """The search space of which the grid is all."""
        return SearchSpace({name: Choice(*values) for name, values in self.values.items()})

    @property
    def configs(self) -> list[Config]:
        """Every configuration; its place here is the name of its training."""
        return [
            dict(zip(self.values, values, strict=True))
            for values in itertools.product(*self.values.values())
        ]


FULL = Grid(
    {
        "model.channels": (4, 8),
        "model.kernel_size": (3, 5),
        "model.dropout": (0.0, 0.2, 0.4),
        "optimizer.learning_rate": (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
        "optimizer.momentum": (0.0, 0.5, 0.8, 0.9),
        "schedule.name": ("constant", "cosine"),
        "batch_size": (32, 64, 128),
    },
    num_training_rows=1000,
    num_validation_rows=2000,
    epochs=4,
)

TINY = Grid(
    {
        "model.channels": (2, 4),
        "optimizer.learning_rate": (0.02, 0.08, 0.32),
        "optimizer.momentum": (0.0, 0.9),
    },
    num_training_rows=100,
    num_validation_rows=100,
    epochs=2,
)
"""For a look at whether everything works."""


@dataclass(frozen=True)
class Digits:
    """Images, of which some rows train and others validate.

    Attributes:
        data: The images.
        fold: The rows.
    """

    data: DataSet
    fold: Fold

    def setup(self, folder: Path, *, epochs: int, random_seed: int = 0) -> StudySetup:
        """Return what all trainings share whose files are in ``folder``."""
        settings = Settings(
            epochs=epochs,
            metrics=("accuracy",),
            metric="val_accuracy",
            mode="max",
            random_seed=random_seed,
        )
        return StudySetup(
            model=model_source(CNN),
            settings=settings,
            plan=FoldPlan((self.fold,), self.data.digest),
            folder=folder,
            parameters=FIXED,
        )

    def accuracy(self, config: Config, *, trial: str, epochs: int) -> float | None:
        """Train a configuration; None: it diverged."""
        with TemporaryDirectory() as folder:
            setup = self.setup(Path(folder), epochs=epochs)
            job = FoldJob(trial=trial, config=config, fold=0, until_epoch=epochs)
            run = FoldRun(job, setup=setup, data=self.data, collective=SingleProcess())
            try:
                result = run.advance(job)
            except FloatingPointError:
                return None
        assert result is not None
        return result.score


def load_digits(path: Path, grid: Grid) -> Digits:
    """Read images, average them over 2 x 2 pixels and draw the rows.

    Raises:
        DataError: If the file cannot be read, holds other than images, or too few.
    """
    data = load(HDF5(path))
    images = data.features[0]
    needed = grid.num_training_rows + grid.num_validation_rows
    if images.ndim != 3 or len(images) < needed:
        raise DataError(
            f"{path}: expected features of shape (rows, height, width) with {needed:,} rows or "
            f"more, got {images.shape}."
        )
    images = images[:, : images.shape[1] // 2 * 2, : images.shape[2] // 2 * 2]
    blocks = images.reshape(len(images), images.shape[1] // 2, 2, images.shape[2] // 2, 2)
    small = blocks.mean(axis=(2, 4)).round().astype(images.dtype)
    rows = np.random.default_rng(0).permutation(len(images))[:needed]
    training, validation = np.split(rows, [grid.num_training_rows])
    fold = Fold(0, np.sort(training), np.sort(validation))
    return Digits(replace(data, features=(small,)), fold)


def tabulate(
    grid: Grid,
    digits: Digits,
    path: Path,
    *,
    max_minutes: float,
    num_configs: int | None = None,
) -> Table | None:
    """Train what the file lacks, in random order, and return the table.

    Running times are processor time of one thread, so that they hardly depend on what else the
    machine does.

    Args:
        grid: The configurations.
        digits: What they are trained on.
        path: The file, made if need be.
        max_minutes: No training begins later.
        num_configs: So many configurations, drawn at random; None: the whole grid.

    Returns:
        The table; None: configurations are still missing.

    Raises:
        DataError: If the file holds another grid's table.
    """
    configs = grid.configs
    names = [*grid.values, "score", "seconds"]
    done = _numbers(path, grid)
    order = np.random.default_rng(0).permutation(len(configs)).tolist()
    missing = [number for number in order[:num_configs] if number not in done]
    if missing:
        torch.set_num_threads(1)
        load_metrics()
        digits.accuracy(configs[0], trial="warm-up", epochs=1)
    began, last = time.monotonic(), 0
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if not done and not file.tell():
            writer.writerow(["number", *names])
        for last, number in enumerate(missing, 1):
            before = time.process_time()
            score = digits.accuracy(configs[number], trial=str(number), epochs=grid.epochs)
            seconds = time.process_time() - before
            writer.writerow([number, *configs[number].values(), score, f"{seconds:.4f}"])
            file.flush()
            if time.monotonic() - began > 60 * max_minutes:
                break
            if last % 100 == 0:
                print(f"{last:,} of {len(missing):,} trained", file=sys.stderr)
    return read_table(path, grid.space) if last == len(missing) else None


def _numbers(path: Path, grid: Grid) -> set[int]:
    """Return the places in the grid of the configurations that a file holds."""
    if not path.exists():
        return set()
    known = {str(number): config for number, config in enumerate(grid.configs)}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        config = known.get(row.get("number", ""))
        if config is None or any(row.get(name) != str(value) for name, value in config.items()):
            raise DataError(f"{path} holds another grid's table; choose another file.")
    return {int(row["number"]) for row in rows}
