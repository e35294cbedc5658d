"""Data: vetted HDF5 files in memory, their test split and their folds."""

from rayfold.data.dataset import HDF5, DataSet, load, load_features, load_labels
from rayfold.data.folds import Fold, FoldPlan, Folds
from rayfold.data.holdout import split_test
from rayfold.data.inputs import Channels, to_float
from rayfold.data.seen_rows import SeenRows
from rayfold.data.sub_problems import SubProblem, SubProblems

__all__ = [
    "HDF5",
    "Channels",
    "DataSet",
    "Fold",
    "FoldPlan",
    "Folds",
    "SeenRows",
    "SubProblem",
    "SubProblems",
    "load",
    "load_features",
    "load_labels",
    "split_test",
    "to_float",
]
