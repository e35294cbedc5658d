"""Predictions of several models, averaged."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from rayfold.data import to_float
from rayfold.ensemble.records import Signature
from rayfold.errors import DataError, EnsembleError

BATCH_SIZE = 1024


def average_predictions(
    models: Sequence[tuple[float, nn.Module]],
    features: Sequence[NDArray[np.float32]],
    *,
    signature: Signature,
) -> NDArray[np.float64]:
    """Return the weighted mean of the models' predictions.

    Args:
        models: Weights, of sum 1, and models in evaluation mode.
        features: The arrays of ``check_features``.
        signature: What comes out; of classification, probabilities are averaged.

    Returns:
        Probabilities or values, shape ``(rows, outputs)``.

    Raises:
        EnsembleError: If a model returns another shape.
    """
    num_rows, num_outputs = len(features[0]), signature.num_outputs
    averaged = np.zeros((num_rows, num_outputs))
    with torch.no_grad():
        for start in range(0, num_rows, BATCH_SIZE):
            stop = min(start + BATCH_SIZE, num_rows)
            batch = [torch.tensor(array[start:stop]) for array in features]
            for weight, model in models:
                outputs = model(*batch)
                if outputs.shape != (stop - start, num_outputs):
                    raise EnsembleError(
                        f"{type(model).__name__} returned shape {tuple(outputs.shape)}, "
                        f"expected {(stop - start, num_outputs)}."
                    )
                if signature.task == "classification":
                    outputs = outputs.softmax(1)
                averaged[start:stop] += weight * outputs.double().numpy()
    if signature.task == "classification":
        averaged /= averaged.sum(axis=1, keepdims=True)  # float32 left them a little off 1
    return averaged


def check_features(
    features: ArrayLike | tuple[ArrayLike, ...], signature: Signature
) -> tuple[NDArray[np.float32], ...]:
    """Check features against the signature, and turn them into what models take.

    Args:
        features: An array of shape ``(rows, ...)``, or a tuple with one for each input, of the
            type that was trained on (``uint8`` is scaled, other types are not).
        signature: What goes in.

    Returns:
        One float32 array for each input.

    Raises:
        DataError: If the number of arrays, a shape, a type or a value is wrong.
    """
    arrays = [np.asarray(a) for a in (features if isinstance(features, tuple) else (features,))]
    if len(arrays) != len(signature.inputs):
        names = ", ".join(entry.name for entry in signature.inputs)
        raise DataError(
            f"expected {len(signature.inputs)} feature arrays ({names}), got {len(arrays)}; "
            "pass a tuple with one array for each."
        )
    num_rows = arrays[0].shape[0] if arrays[0].ndim else 0
    converted = []
    for array, entry in zip(arrays, signature.inputs, strict=True):
        if array.ndim == 0 or array.shape[1:] != entry.shape:
            expected = ", ".join(["rows", *map(str, entry.shape)])
            raise DataError(f"{entry.name}: expected shape ({expected}), got {array.shape}.")
        if array.shape[0] != num_rows:
            raise DataError(
                f"{entry.name}: expected {num_rows} rows as in {signature.inputs[0].name}, "
                f"got {array.shape[0]}."
            )
        if (array.dtype == np.uint8) != (entry.dtype == "uint8"):
            raise DataError(
                f"{entry.name}: expected type {entry.dtype} as in training (uint8 is divided by "
                f"255, other types are not), got {array.dtype}."
            )
        values = to_float(array)
        finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if not finite.all():
            row = int(np.flatnonzero(~finite)[0])
            raise DataError(f"{entry.name}: row {row} holds NaN or infinity; repair or drop it.")
        converted.append(values)
    return tuple(converted)
