"""Loads an exported bundle in a process of its own, without pickle, and says what it predicts.

``python -m rayfold.ensemble.bundle.fresh_process BUNDLE ROWS`` prints, as the last line, JSON of
the greatest difference of each form at each number of rows. ``ROWS`` is a safetensors file with
``{rows}/input/{i}``, ``{rows}/expected`` and ``scale``. Weights are null where a class is found
neither in the bundle nor in an installed module.
"""

import json
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from rayfold.child import die_with_parent
from rayfold.ensemble.bundle import read_bundle
from rayfold.ensemble.bundle.manifest import read_manifest
from rayfold.ensemble.bundle.programs import load_onnx, load_torch
from rayfold.ensemble.bundle.sources import load_classes
from rayfold.ensemble.bundle.verification import Differences, differences
from rayfold.ensemble.predictor import EnsembleModule, predict_rows
from rayfold.errors import BundleError


def main(folder: Path, rows: Path) -> None:
    """Print the differences, as JSON."""
    die_with_parent()
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
    """From now on, whatever looks up a class or a function for a pickle ends this process."""

    def forbid(event: str, arguments: Sequence[Any]) -> None:
        if event == "pickle.find_class":
            raise pickle.UnpicklingError(f"a pickle asks for {arguments}; bundles hold none")

    sys.addaudithook(forbid)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
