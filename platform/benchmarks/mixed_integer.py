"""The functions of bbob-mixint as search problems: whole and real numbers, without noise.

``pip install --group benchmarks`` brings the suite in the package coco-experiment. Of each of its
24 functions, in 10 dimensions, every seed searches an instance of its own, shifted and turned.

References:
    Tusar, Brockhoff and Hansen, "Mixed-integer benchmark problems for single- and bi-objective
    optimization", GECCO 2019.
"""

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocoex
import numpy as np

from rayfold.results import Config, Mode
from rayfold.space import Float, Int, SearchSpace

NUM_FUNCTIONS, DIMENSION, NUM_INSTANCES = 24, 10, 15

MIXED_INTEGER = tuple(f"mixint-{number + 1:02d}" for number in range(NUM_FUNCTIONS))


@dataclass(frozen=True)
class FunctionProblem:
    """A function to search.

    Attributes:
        name: ``"mixint-01"`` to ``"mixint-24"``.
        space: Eight whole numbers, two each with 2, 4, 8 and 16 values, and two real ones.
        mode: A small value is good.
    """

    name: str
    function: Any
    space: SearchSpace
    optimum: float
    median: float
    mode: Mode = "min"

    def evaluate(self, config: Config, generator: np.random.Generator) -> tuple[float, float]:
        """Return the value at a configuration, and its regret: 1 is the median random one's."""
        value = float(self.function([config[name] for name in self.space.names]))
        return value, (value - self.optimum) / (self.median - self.optimum)


def load_function(name: str, seed: int) -> FunctionProblem:
    """Return the instance that a seed searches."""
    number, instance = MIXED_INTEGER.index(name), seed % NUM_INSTANCES + 1
    options = f"dimensions:{DIMENSION} instance_indices:{instance}"
    function = cocoex.Suite("bbob-mixint", "", options).get_problem(number)
    low, high = function.lower_bounds, function.upper_bounds
    whole = function.number_of_integer_variables
    space = SearchSpace(
        {
            f"x{i}": Int(int(low[i]), int(high[i])) if i < whole else Float(low[i], high[i])
            for i in range(DIMENSION)
        }
    )
    generator = np.random.default_rng([seed, 2])
    points = [
        [*generator.integers(low[:whole], high[:whole] + 1), *generator.uniform(low, high)[whole:]]
        for _ in range(1000)
    ]
    return FunctionProblem(
        name=name,
        function=function,
        space=space,
        optimum=float(function(_best_place(function))),
        median=float(np.median([function(point) for point in points])),
    )


def _best_place(function: Any) -> Any:
    """Return where the optimum is, which the suite only writes to a file in the working folder."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        function._best_parameter("print")
        [path] = Path(folder).iterdir()
        return np.loadtxt(path)
