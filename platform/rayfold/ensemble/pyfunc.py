"""The loader module that models name which were registered before bundles had their own room."""

from importlib import import_module
from typing import Any


def _load_pyfunc(path: str, model_config: Any = None) -> Any:
    return import_module("rayfold.bundle.pyfunc")._load_pyfunc(path, model_config)
