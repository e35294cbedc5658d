"""Whole descriptions of studies, of which a test says only what it is about."""

from typing import Any

from rayfold.description import DataDescription, StudyDescription


def described(**changes: Any) -> dict[str, Any]:
    """Return what a journal holds of a study of two classes and two folds.

    Args:
        changes: Fields with other values.
    """
    return {
        "model": "rayfold.models.mlp:MLP",
        "task": "classification",
        "classes": ["cat", "dog"],
        "inputs": [{"name": "images", "shape": [2, 2], "dtype": "uint8"}],
        "labels": "animals",
        "num_outputs": 2,
        "data_digest": "d" * 64,
        "num_rows": 4,
        "test": {"fraction": 0.2, "random_seed": 7, "row_groups": None},
        "descriptors": None,
        "fold_digest": "f" * 64,
        "num_folds": 2,
        "folds": {
            "count": 2,
            "random_seed": 0,
            "kind": "auto",
            "repeats": 1,
            "row_groups": None,
        },
        "epochs": 1,
        "loss": None,
        "metrics": [],
        "metric": "val_loss",
        "mode": "min",
        "random_seed": 0,
        "parameters": {},
        "searcher": {"random": {"random_seed": 0}},
        "space": {"model.scale": {"int": [1, 4]}},
        **changes,
    }


def study_description(**changes: Any) -> StudyDescription:
    """Return the same as readers get it."""
    return StudyDescription.from_dict(described(**changes))


def data_description(**changes: Any) -> DataDescription:
    """Return the same of its data alone."""
    return study_description(**changes).data
