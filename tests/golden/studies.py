"""Five small studies whose scores follow from their seeds alone, to the last bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import rayfold as rf
from rayfold.journal import read_journal

SPACE = rf.SearchSpace(
    {
        "model.hidden": rf.Int(4, 32, log=True),
        "optimizer.name": rf.Choice("adam", "nesterov"),
        "optimizer.learning_rate": rf.Float(1e-3, 1e-1, log=True),
        "batch_size": rf.Choice(8, 16),
    }
)
MEASURED = ("started_at", "finished_at", "busy_seconds", "seconds", "time", "at", "node")
"""Fields of a journal that a clock or a machine decides."""


def write_data(folder: Path) -> Path:
    """Write 120 rows of three overlapping classes."""
    generator = np.random.default_rng(5)
    labels = np.arange(120) % 3
    with h5py.File(folder / "data.h5", "w") as file:
        features = generator.normal(size=(120, 6)) + labels[:, None] * generator.normal(size=6)
        file["features"] = features.astype(np.float32)
        file["labels"] = labels
    return folder / "data.h5"


def study(name: str, data: Path, storage: Path, **options: Any) -> rf.Study:
    """Return a study of two folds on these rows, where options do not say otherwise."""
    defaults: dict[str, Any] = {
        "model": "mlp",
        "data": rf.HDF5(data),
        "holdout": rf.Holdout(0.2, random_seed=3),
        "space": SPACE,
        "folds": rf.Folds(2, random_seed=1),
        "epochs": 3,
        "parameters": {"model.dropout": 0.1},
        "metrics": ["accuracy"],
        "groups": rf.Groups(cpus_per_worker=0.5),
        "random_seed": 11,
        "storage": storage,
    }
    return rf.Study(name, **{**defaults, **options})


def generational(data: Path, storage: Path) -> rf.Study:
    """Return a genetic search, generation by generation."""
    searcher = rf.search.Genetic(population=4, generations=3, random_seed=2, update="generational")
    return study("generational", data, storage, searcher=searcher)


def population(data: Path, storage: Path) -> rf.Study:
    """Return a population whose trials take turns."""
    return study(
        "population",
        data,
        storage,
        searcher=rf.search.Random(random_seed=4),
        scheduler=rf.schedulers.Population(interval=1, quantile=0.5),
        folds=rf.Folds(2, random_seed=1, order="together"),
        epochs=4,
    )


def racing(data: Path, storage: Path) -> rf.Study:
    """Return a random search whose weak trials are dropped after some folds."""
    return study(
        "racing",
        data,
        storage,
        searcher=rf.search.Random(random_seed=6),
        scheduler=rf.schedulers.Racing(),
        folds=rf.Folds(4, random_seed=1),
    )


def two_workers(data: Path, storage: Path) -> rf.Study:
    """Return a random search whose folds are trained by two workers."""
    return study(
        "two_workers",
        data,
        storage,
        searcher=rf.search.Random(random_seed=8),
        groups=rf.Groups(workers=2, cpus_per_worker=0.5),
    )


STUDIES: dict[str, tuple[Callable[[Path, Path], rf.Study], tuple[int, ...]]] = {
    "generational": (generational, (12,)),
    "resumed": (generational, (4, 8)),
    "population": (population, (4,)),
    "racing": (racing, (10,)),
    "two_workers": (two_workers, (2,)),
}
"""By name: the study, and how many trials each of its runs asks for."""


def run(name: str, data: Path, storage: Path) -> list[dict[str, Any]]:
    """Run a study, and return what in its journal follows from the seeds."""
    build, runs = STUDIES[name]
    for num_trials in runs:
        build(data, storage).run(num_trials, show_progress=False)
    [journal] = storage.glob("*/journal.jsonl")
    return decisions(journal)


def decisions(journal: Path) -> list[dict[str, Any]]:
    """Return a journal's suggestions, folds, exploits and ends of trials, without times.

    In order of trials: which of two trials at once is booked first is chance.
    """
    kept = [
        {"event": entry.event, **_without(entry.fields, MEASURED)}
        for entry in read_journal(journal)
        if entry.event in ("suggestion", "fold", "exploit", "trial")
    ]
    return sorted(kept, key=lambda fields: fields["trial"])


def _without(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner, names) for key, inner in value.items() if key not in names}
    return [_without(inner, names) for inner in value] if isinstance(value, list) else value
