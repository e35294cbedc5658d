"""Ensembles of logged trials: chosen on out-of-fold predictions, exported as bundles."""

from rayfold.ensemble.ensemble import Ensemble, load_bundle
from rayfold.ensemble.files import FilePredictions, predict_files
from rayfold.ensemble.greedy import greedy_selection
from rayfold.ensemble.records import Input, Member, Origin, Signature

__all__ = [
    "Ensemble",
    "FilePredictions",
    "Input",
    "Member",
    "Origin",
    "Signature",
    "greedy_selection",
    "load_bundle",
    "predict_files",
]
