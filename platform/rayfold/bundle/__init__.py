"""Bundles: an ensemble as one folder that is safe to load, with no pickle in it.

::

    digits-ensemble/
        manifest.json                          what it is, and the SHA-256 of every other file
        README.md                              the model card, for people
        plots/reliability.png                  plots of the card
        combination.safetensors                how the members' predictions are combined
        nonconformity.safetensors              errors on held-out folds, for sets and intervals
        members/0/fold_0.safetensors           a model's state dict
        members/0/fold_1.safetensors
        ...
        ensemble.pt2                           the whole ensemble for PyTorch, without its classes
        ensemble.onnx                          the whole ensemble for ONNX Runtime

Loading trusts no file: digests are checked before anything is parsed. Only models of Rayfold are
imported, unless the caller names or allows others.
"""

from rayfold.bundle.card import CardReport
from rayfold.bundle.folder import check_new_bundle
from rayfold.bundle.model_registry import register_bundle
from rayfold.bundle.programs import PROGRAMS
from rayfold.bundle.reading import load_bundle, load_for_serving
from rayfold.bundle.writing import export_bundle

__all__ = [
    "CardReport",
    "PROGRAMS",
    "check_new_bundle",
    "export_bundle",
    "load_bundle",
    "load_for_serving",
    "register_bundle",
]
