"""The loader module of registered models, by which MLflow serves a bundle.

MLflow imports this module and calls ``_load_pyfunc``; nothing is unpickled. The bundle's ONNX
program predicts if there is one, so no model's class is imported. Otherwise the weights are used.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rayfold.bundle.reading import load_for_serving
from rayfold.ensemble.ensemble import Ensemble


class PredictFunction:
    """Predicts the inputs that MLflow passes.

    Args:
        ensemble: The loaded bundle.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble

    def predict(
        self,
        model_input: NDArray[Any] | Mapping[str, NDArray[Any]],
        params: Mapping[str, Any] | None = None,
    ) -> NDArray[Any]:
        """Return classes or values, or probabilities if ``params`` asks for them.

        Args:
            model_input: Rows of the only input, or of each input by name.
            params: ``{"probabilities": True}`` for an array of shape ``(rows, classes)``.
        """
        if isinstance(model_input, Mapping):
            names = [entry.name for entry in self.ensemble.signature.inputs]
            features = tuple(np.asarray(model_input[name]) for name in names)
        else:
            features = (np.asarray(model_input),)
        if params and params.get("probabilities"):
            return self.ensemble.predict_proba(features)
        return self.ensemble.predict(features)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> PredictFunction:
    """Load a bundle for MLflow.

    Args:
        path: The bundle.
        model_config: ``{"allow_code": True}`` runs the code of the models that a bundle
            without an ONNX program brings or names.
    """
    allowed = bool((model_config or {}).get("allow_code", False))
    return PredictFunction(load_for_serving(Path(path), allow_code=allowed))
