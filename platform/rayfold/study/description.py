"""What a study is, as its journal and MLflow hold it."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from numpy.typing import NDArray

from rayfold.data import HDF5, Channels, DataSet
from rayfold.data.inputs import has_channels_last
from rayfold.errors import RecipeError
from rayfold.study.differences import differences
from rayfold.training import Settings

NOT_COMPARED = ("environment", "descriptors", "accept", "code")
"""What of a description may differ when a study goes on; code is compared by ``check_code``."""


def describe_data_set(data: DataSet, source: HDF5) -> dict[str, Any]:
    """Return what the data are, and how its test rows were chosen."""
    return {
        "task": data.task.name,
        "classes": list(data.classes) if data.classes else None,
        "inputs": [
            _describe_input(name, array, data.channels)
            for name, array in zip(data.feature_names, data.features, strict=True)
        ],
        "labels": source.labels,
        "num_outputs": data.num_outputs,
        "data_digest": data.digest,
        "num_rows": len(data.development_rows),
        "test": {
            "fraction": source.test_fraction,
            "random_seed": source.random_seed,
            "row_groups": source.row_groups,
        },
    }


def _describe_input(name: str, array: NDArray[Any], channels: Channels) -> dict[str, Any]:
    """Return what a feature array is as stored; one with channels first says nothing of them."""
    shape = array.shape[1:]
    entry: dict[str, Any] = {"name": name, "shape": list(shape), "dtype": str(array.dtype)}
    return {**entry, "channels": "last"} if has_channels_last(shape, channels) else entry


def describe_training(settings: Settings) -> dict[str, Any]:
    """Return what all trials share."""
    return {
        "epochs": settings.epochs,
        "loss": settings.loss,
        "metrics": list(settings.metrics),
        "metric": settings.metric,
        "mode": settings.mode,
        "random_seed": settings.random_seed,
    }


def describe_environment() -> dict[str, str]:
    """Return what the study runs with here."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "ray": version("ray"),
        "rayfold": version("rayfold"),
        "torch": version("torch"),
    }


def check_same(name: str, begun: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """Check that a study goes on as it began.

    Args:
        name: The study's.
        begun: Its description when it began.
        present: Its description now.

    Raises:
        RecipeError: If they differ; the message names each field with both values.
    """
    compared = {field: value for field, value in present.items() if field not in NOT_COMPARED}
    if changes := list(differences(begun, compared)):
        raise RecipeError(
            f"study {name!r} has changed since it began: {'; '.join(changes)}; put that back, or "
            "give the study another name."
        )
