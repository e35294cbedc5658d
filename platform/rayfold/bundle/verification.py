"""Comparison of an exported bundle with the ensemble, form by form."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import nn

from rayfold.bundle.programs import example_rows
from rayfold.bundle.reading import read_bundle
from rayfold.ensemble.combination import WeightedMean
from rayfold.ensemble.estimator import Predict
from rayfold.ensemble.predictor import EnsembleModule, predict_rows
from rayfold.ensemble.records import Contents
from rayfold.errors import BundleError
from rayfold.tasks import Task

logger = logging.getLogger(__name__)

TOLERANCE: Final = 1e-5
"""Greatest allowed difference of a prediction.

For probabilities it is absolute. For values it is in standard deviations of the training target;
for larger values it is relative to the value, since float32 is less precise there.
"""

BATCH_SIZES: Final = (1, 2, 17)

SCALE: Final = "scale"
"""Name of the array of each output's spread, shape ``(outputs,)``."""

_LEAST_SCALE = float(np.finfo(np.float32).tiny)

Differences = dict[str, float]
"""Greatest difference of a form by number of rows, a text because JSON keys are texts."""


@dataclass(frozen=True)
class Verification:
    """Differences between the forms of a bundle and the ensemble.

    Attributes:
        differences: Differences of each form.
        here: Forms that were loaded in this process, because a fresh process could not load them.
    """

    differences: Mapping[str, Differences]
    here: tuple[str, ...] = ()


def verify(folder: Path, module: EnsembleModule, contents: Contents) -> Verification:
    """Load every form of a bundle in a fresh process, and compare it with the ensemble.

    Weights of a class that only this process knows, such as a notebook's, are loaded here.

    Args:
        folder: The bundle.
        module: The ensemble that was exported.
        contents: Its contents.

    Raises:
        BundleError: If a form cannot be loaded, or differs by more than ``TOLERANCE`` from the
            predictions of its models, each run alone on its own copy of the rows.
    """
    spread = contents.spread or (1.0,) * contents.signature.num_outputs
    expected: dict[str, NDArray[Any]] = {SCALE: np.array(spread)}
    for number in BATCH_SIZES:
        features = example_rows(contents.signature, number, random_seed=number)
        expected |= {f"{number}/input/{i}": array for i, array in enumerate(features)}
        expected[f"{number}/expected"] = _each_alone(module, features)
    with tempfile.TemporaryDirectory(prefix="rayfold-") as place:
        rows = Path(place, "rows.safetensors")
        save_file(expected, rows)
        found = _in_fresh_process(folder, rows, contents.signature.task)
    here: tuple[str, ...] = ()
    if found["weights"] is None:
        here = ("weights",)
        classes = {member.model: type(member.models[0]) for member in contents.members}
        logger.info("a fresh process does not find %s; weights are checked here.", [*classes])
        loaded = read_bundle(folder, models=classes, allow_code=False)
        again = EnsembleModule(
            [member.models for member in loaded.members], loaded.combination, loaded.signature
        )
        found["weights"] = differences(lambda features: predict_rows(again, features), expected)
    checked = {form: values for form, values in found.items() if values is not None}
    for form, values in checked.items():
        for rows_at_once, difference in values.items():
            if not difference <= TOLERANCE:  # NaN differs, too
                raise BundleError(
                    f"the exported {form} differ from the ensemble by {difference:.2g} in a batch "
                    f"of {rows_at_once}, at most {TOLERANCE:g} is allowed; nothing was exported."
                )
    return Verification(checked, here)


def _each_alone(
    module: EnsembleModule, features: Sequence[NDArray[np.generic]]
) -> NDArray[np.float64]:
    """Return the ensemble's predictions if its models share nothing."""
    signature = module.signature
    bags = []
    for models in module.members:
        assert isinstance(models, nn.ModuleList)
        alone = [
            EnsembleModule([[model]], WeightedMean(torch.ones(1)), signature) for model in models
        ]
        bags.append(np.mean([predict_rows(each, features) for each in alone], axis=0))
    combined: torch.Tensor = module.combination(torch.from_numpy(np.stack(bags)))
    return combined.numpy()


def differences(predict: Predict, rows: Mapping[str, NDArray[Any]]) -> Differences:
    """Return the differences from expected predictions, for each number of rows.

    Args:
        predict: Predicts the rows.
        rows: Inputs, expected predictions and their scale, as ``fresh_process`` reads them.
    """
    found = {}
    for name in rows:
        number, _, rest = name.partition("/")
        if rest == "expected":
            inputs = sorted(key for key in rows if key.startswith(f"{number}/input/"))
            inputs.sort(key=lambda key: int(key.rpartition("/")[2]))
            predicted = predict([rows[key] for key in inputs])
            found[number] = _difference(predicted, rows[name], rows[SCALE])
    return found


def _difference(
    predicted: NDArray[Any], expected: NDArray[Any], scale: NDArray[np.float64]
) -> float:
    if predicted.shape != expected.shape:
        return float("inf")
    apart = np.abs(predicted.astype(np.float64) - expected)
    unit = np.maximum(np.maximum(np.abs(expected), scale), _LEAST_SCALE)
    return float((apart / unit).max())


def _in_fresh_process(folder: Path, rows: Path, task: Task) -> dict[str, Differences | None]:
    command = [
        sys.executable,
        "-m",
        "rayfold.bundle.fresh_process",
        str(folder.absolute()),
        str(rows),
        f"{type(task).__module__}:{type(task).__name__}",
    ]
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
    )
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    last = lines[-1] if lines else f"exit status {done.returncode}"
    if done.returncode != 0:
        raise BundleError(
            f"the bundle cannot be loaded in a fresh process: {last}; nothing was exported."
        )
    found: dict[str, Differences | None] = json.loads(last)
    return found
