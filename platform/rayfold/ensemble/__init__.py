"""Ensembles of logged trials: chosen on out-of-fold predictions, exported as bundles."""

from rayfold.ensemble.bundle import check_new_bundle
from rayfold.ensemble.ensemble import Ensemble, load_bundle
from rayfold.ensemble.files import FilePredictions, check_new_file, predict_files
from rayfold.ensemble.greedy import greedy_selection
from rayfold.ensemble.records import Input, Member, Origin, Signature

__all__ = [
    "Ensemble",
    "FilePredictions",
    "Input",
    "Member",
    "Origin",
    "Signature",
    "check_new_bundle",
    "check_new_file",
    "greedy_selection",
    "load_bundle",
    "predict_files",
]
