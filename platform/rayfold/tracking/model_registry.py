"""MLflow's Model Registry: a bundle as a version of a registered model."""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rayfold.errors import TrackingError
from rayfold.storage import storage_folder
from rayfold.tracking.store import (
    describe,
    experiment_name,
    open_experiment,
    open_store,
    tracking_uri,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

_ARTIFACT = "model"


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A folder of files as a model that MLflow serves.

    Attributes:
        folder: The files.
        loader: Module whose ``_load_pyfunc`` loads the folder.
        inputs: Two rows of each input by name, of the type that is served; the first axis is
            rows, of which there may be any number.
        output: NumPy's name of the type of what is predicted.
        output_shape: Shape of a row's prediction.
        params: Parameters that a request may set, and their defaults.
        tags: Tags of the version and of its run.
        metrics: Metrics of its run.
    """

    folder: Path
    loader: str
    inputs: Mapping[str, NDArray[np.generic]]
    output: str
    output_shape: Sequence[int]
    params: Mapping[str, bool]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def check_model_name(name: str) -> None:
    """Refuse a name that MLflow's Model Registry would refuse, before anything is written.

    Raises:
        TrackingError: If it is empty, or has a slash, a colon or a quotation mark.
    """
    if not name.strip() or any(sign in name for sign in "/:'\""):
        raise TrackingError(
            f"{name!r} is no name of a registered model; use letters, digits, spaces and ._- only."
        )


def register_model(
    model: ServedModel,
    name: str,
    *,
    alias: str,
    storage: Path | None = None,
    uri: str | None = None,
) -> int:
    """Log a model in a run of its own, and register it as a new version with an alias.

    Args:
        model: The model.
        name: Name of the registered model; made if there is none.
        alias: Alias of the new version; it is taken from an older one.
        storage: Folder of all studies; None: the default.
        uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in ``storage``.

    Returns:
        The version's number.

    Raises:
        TrackingError: If MLflow cannot be reached, or refuses the name or the alias.
    """
    check_model_name(name)
    folder = storage_folder(storage)
    uri = uri or tracking_uri(folder)
    try:
        client = open_store(uri)
        run_id = _log(client, model, name, folder / "artifacts")
        return _new_version(client, model, run_id, name, alias)
    except Exception as error:
        raise TrackingError(
            f"{name!r} with alias {alias!r} cannot be registered in MLflow: {describe(error)}"
        ) from error


def _log(client: "MlflowClient", model: ServedModel, name: str, artifacts: Path) -> str:
    """Log the model's files in a new run; return the run's id."""
    experiment_id = open_experiment(client, experiment_name(), artifacts)
    run = client.create_run(experiment_id, run_name=f"{name} (ensemble)", tags=dict(model.tags))
    run_id: str = run.info.run_id
    status = "FAILED"
    try:
        with tempfile.TemporaryDirectory(prefix="rayfold-") as place:
            saved = Path(place, _ARTIFACT)
            _save(model, saved)
            client.log_artifacts(run_id, str(saved), _ARTIFACT)
        for metric, value in model.metrics.items():
            client.log_metric(run_id, metric, value)
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)
    return run_id


def _save(model: ServedModel, path: Path) -> None:
    """Write a model in MLflow's format: the loader's name and the files, nothing pickled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow's type hints displease MLflow
        from mlflow.pyfunc import save_model  # mlflow.pyfunc alone would be loaded on use

    example: Any = dict(model.inputs)
    if len(example) == 1:
        [example] = example.values()
    save_model(
        path,
        loader_module=model.loader,
        data_path=str(model.folder),
        signature=_signature(model),
        input_example=example,
        pip_requirements=[f"{library}=={_release(library)}" for library in ("rayfold", "mlflow")],
    )


def _signature(model: ServedModel) -> "ModelSignature":
    """Return the signature; the only input has no name, so that bare arrays are taken."""
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    named = len(model.inputs) > 1
    params = [ParamSpec(name, "boolean", default) for name, default in model.params.items()]
    return ModelSignature(
        inputs=Schema(
            [
                TensorSpec(rows.dtype, (-1, *rows.shape[1:]), name if named else None)
                for name, rows in model.inputs.items()
            ]
        ),
        outputs=Schema([TensorSpec(np.dtype(model.output), (-1, *model.output_shape))]),
        **({"params": ParamSchema(params)} if params else {}),
    )


def _new_version(
    client: "MlflowClient", model: ServedModel, run_id: str, name: str, alias: str
) -> int:
    if not client.search_registered_models(filter_string=f"name = '{name}'"):
        client.create_registered_model(name)
    source = f"{client.get_run(run_id).info.artifact_uri}/{_ARTIFACT}"
    made = client.create_model_version(name, source, run_id=run_id, tags=dict(model.tags))
    client.set_registered_model_alias(name, alias, made.version)
    return int(made.version)


def _release(library: str) -> str:
    """Return an installed version without what a build adds to it, such as ``+cpu``."""
    return version(library).partition("+")[0]
