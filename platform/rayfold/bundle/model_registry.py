"""Bundles in MLflow's Model Registry."""

from pathlib import Path

import numpy as np

from rayfold.bundle.folder import check_files, digest
from rayfold.bundle.manifest import MANIFEST, Manifest, read_manifest
from rayfold.bundle.programs import example_rows
from rayfold.tracking import ServedModel, register_model


def register_bundle(
    folder: str | Path,
    name: str,
    *,
    alias: str = "champion",
    storage: str | Path | None = None,
    tracking_uri: str | None = None,
) -> int:
    """Register a bundle in MLflow's Model Registry, as a model that MLflow serves.

    Args:
        folder: The bundle.
        name: Name of the registered model; it is created if it does not exist.
        alias: Alias of the new version; an older version loses it.
        storage: Folder of the store; None: ``$RAYFOLD_STORAGE`` or ``./rayfold-store``.
        tracking_uri: MLflow's tracking URI; None: ``$MLFLOW_TRACKING_URI``, or the store in
            ``storage``.

    Returns:
        The version's number.

    Raises:
        BundleError: If the bundle is damaged.
        TrackingError: If MLflow cannot be reached, or refuses the name or the alias.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    return register_model(
        _served(folder, manifest),
        name,
        alias=alias,
        storage=None if storage is None else Path(storage),
        uri=tracking_uri,
    )


def _served(folder: Path, manifest: Manifest) -> ServedModel:
    signature = manifest.signature
    rows = example_rows(signature, 2)  # one row would freeze the number of rows at 1
    output = signature.task.decide(np.zeros((2, signature.num_outputs)), signature.classes)
    tags = {
        "rayfold.bundle": digest(folder / MANIFEST),
        "rayfold.studies": ", ".join(manifest.studies),
        "rayfold.data_digest": manifest.digests.data,
    }
    if manifest.licence:
        tags["rayfold.licence"] = manifest.licence
    return ServedModel(
        folder=folder,
        loader="rayfold.bundle.pyfunc",
        inputs={
            entry.name: array.astype(entry.dtype)
            for entry, array in zip(signature.inputs, rows, strict=True)
        },
        output="str" if output.dtype.kind in "US" else output.dtype.name,
        output_shape=output.shape[1:],
        params={"probabilities": False} if signature.task.probabilities else {},
        tags=tags,
        metrics={"out_of_fold_loss": manifest.out_of_fold_loss},
    )
