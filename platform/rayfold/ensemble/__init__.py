"""Ensembles of logged trials: chosen on out-of-fold predictions, exported as bundles."""

from rayfold.ensemble.builders import Best, Builder, Convex, Greedy, Selection, Stacked
from rayfold.ensemble.bundle import PROGRAMS, Report, check_new_bundle
from rayfold.ensemble.ensemble import Ensemble, load_bundle
from rayfold.ensemble.files import FilePredictions, check_new_file, predict_files
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.ensemble.pyfunc import load_for_serving
from rayfold.ensemble.records import Input, Member, Origin, Signature
from rayfold.ensemble.registry import register_bundle

__all__ = [
    "Best",
    "Builder",
    "Convex",
    "Ensemble",
    "FilePredictions",
    "Greedy",
    "Input",
    "Member",
    "Origin",
    "OutOfFold",
    "PROGRAMS",
    "Report",
    "Selection",
    "Signature",
    "Stacked",
    "check_new_bundle",
    "check_new_file",
    "load_bundle",
    "load_for_serving",
    "predict_files",
    "register_bundle",
]
