"""Data: rows from a source, in memory, with their test split and their folds."""

from rayfold.data.dataset import DataSet
from rayfold.data.folds import Fold, FoldPlan, Folds
from rayfold.data.holdout import Holdout
from rayfold.data.inputs import Channels, to_float
from rayfold.data.loading import load
from rayfold.data.seen_rows import SeenRows
from rayfold.data.sources import HDF5, Column, Roles, Source, columns_of
from rayfold.data.sources.given_files import load_features, load_labels, source_of
from rayfold.data.sub_problems import SubProblem, SubProblems

__all__ = [
    "HDF5",
    "Channels",
    "Column",
    "DataSet",
    "Fold",
    "FoldPlan",
    "Folds",
    "Holdout",
    "Roles",
    "SeenRows",
    "Source",
    "SubProblem",
    "SubProblems",
    "columns_of",
    "load",
    "load_features",
    "load_labels",
    "source_of",
    "to_float",
]
