"""Ensembles of logged trials: chosen on out-of-fold predictions, exported as bundles."""

from rayfold.ensemble.budget import Budget
from rayfold.ensemble.builders import Best, Builder, Convex, Greedy, Selection, Stacked
from rayfold.ensemble.bundle import PROGRAMS, CardReport, check_new_bundle
from rayfold.ensemble.ensemble import Ensemble, load_bundle
from rayfold.ensemble.files import FilePredictions, check_new_file, predict_files
from rayfold.ensemble.findings import Findings, check_new_folder, find_out
from rayfold.ensemble.insight import feature_importance, hyperparameter_importance
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.ensemble.pyfunc import load_for_serving
from rayfold.ensemble.records import Input, Member, Origin, Signature
from rayfold.ensemble.registry import register_bundle
from rayfold.ensemble.report import Report

__all__ = [
    "Best",
    "Budget",
    "Builder",
    "CardReport",
    "Convex",
    "Ensemble",
    "FilePredictions",
    "Findings",
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
    "check_new_folder",
    "feature_importance",
    "find_out",
    "hyperparameter_importance",
    "load_bundle",
    "load_for_serving",
    "predict_files",
    "register_bundle",
]
