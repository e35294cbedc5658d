"""Ensembles of logged trials: chosen, combined and scored by out-of-fold predictions."""

from rayfold.data.inputs import Input
from rayfold.ensemble.budget import Budget
from rayfold.ensemble.builders import BUILDERS, Best, Builder, Convex, Greedy, Selection, Stacked
from rayfold.ensemble.ensemble import Ensemble
from rayfold.ensemble.evaluation.findings import Findings, check_new_folder, find_out
from rayfold.ensemble.evaluation.importance import feature_importance, hyperparameter_importance
from rayfold.ensemble.evaluation.report import Report
from rayfold.ensemble.files import FilePredictions, check_new_file, predict_files
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.ensemble.records import Member, Origin, Signature

__all__ = [
    "BUILDERS",
    "Best",
    "Budget",
    "Builder",
    "Convex",
    "Ensemble",
    "FilePredictions",
    "Findings",
    "Greedy",
    "Input",
    "Member",
    "Origin",
    "OutOfFold",
    "Report",
    "Selection",
    "Signature",
    "Stacked",
    "check_new_file",
    "check_new_folder",
    "feature_importance",
    "find_out",
    "hyperparameter_importance",
    "predict_files",
]
