"""Loads an exported bundle in a separate process, without pickle, and compares its predictions.

``python -m rayfold.bundle.fresh_process BUNDLE ROWS TASK`` prints JSON as the last line: the
greatest difference of each form at each number of rows. ``ROWS`` is a safetensors file with
``{rows}/input/{i}``, ``{rows}/expected`` and ``scale``. ``TASK`` is the task's class,
``module:Class``, which may be the user's own. Weights are null if a model's class is neither in
the bundle nor in an installed module.
"""

import json
import pickle
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from rayfold.bundle.manifest import read_manifest
from rayfold.bundle.programs import load_onnx, load_torch
from rayfold.bundle.reading import read_bundle
from rayfold.bundle.sources import load_classes
from rayfold.bundle.verification import Differences, differences
from rayfold.child import die_with_parent
from rayfold.ensemble.predictor import EnsembleModule, predict_rows
from rayfold.errors import BundleError
from rayfold.tasks import TASKS


def main(folder: Path, rows: Path, task: str) -> None:
    """Print the differences, as JSON."""
    die_with_parent()
    module_name, _, class_name = task.partition(":")
    known = getattr(import_module(module_name), class_name)()
    TASKS[known.name] = known
    manifest = read_manifest(folder)
    try:
        classes = load_classes(folder, manifest, models={}, allow_code=True)
    except BundleError:
        classes = None
    forbid_pickle()
    stored = load_file(rows)
    programs = manifest.programs
    found: dict[str, Differences | None] = {"weights": None}
    if classes is not None:
        contents = read_bundle(folder, models=classes, allow_code=False)
        module = EnsembleModule(
            [member.models for member in contents.members],
            contents.combination,
            contents.signature,
        )
        found["weights"] = differences(lambda features: predict_rows(module, features), stored)
    for name, load in (("torch", load_torch), ("onnx", load_onnx)):
        if name in programs:
            found[name] = differences(load(folder / programs[name]), stored)
    print(json.dumps(found))


def forbid_pickle() -> None:
    """Let any lookup of a class or function for a pickle end this process from now on."""

    def forbid(event: str, arguments: Sequence[Any]) -> None:
        if event == "pickle.find_class":
            raise pickle.UnpicklingError(f"a pickle asks for {arguments}; bundles hold none")

    sys.addaudithook(forbid)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
