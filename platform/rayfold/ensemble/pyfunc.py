"""The loader module of models that were registered before ``rayfold.bundle`` existed."""

from importlib import import_module
from typing import Any


def _load_pyfunc(path: str, model_config: Any = None) -> Any:
    return import_module("rayfold.bundle.pyfunc")._load_pyfunc(path, model_config)
