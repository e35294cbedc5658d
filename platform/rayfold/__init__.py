"""Rayfold: search, cross-validate, ensemble and reuse PyTorch models on Ray.

::

    import rayfold as rf

    study = rf.Study("digits", model="cnn", data=rf.HDF5("digits.h5"), epochs=10)
    result = study.run(num_trials=20)
    ensemble = rf.Ensemble.greedy("digits")
    rf.export_bundle(ensemble, "digits-ensemble")
"""

import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rayfold import schedulers, search
    from rayfold.bundle import export_bundle, load_bundle
    from rayfold.data import HDF5, Folds, Holdout, SubProblems
    from rayfold.ensemble import Ensemble
    from rayfold.errors import RayfoldError
    from rayfold.groups.plan import Groups
    from rayfold.recipe import Recipe, load_recipe
    from rayfold.space import Choice, Float, Int, SearchSpace
    from rayfold.study import Study, StudyResult
    from rayfold.transfer.requests import InitialWeights

__all__ = [
    "Choice",
    "Ensemble",
    "Float",
    "Folds",
    "Groups",
    "HDF5",
    "Holdout",
    "InitialWeights",
    "Int",
    "RayfoldError",
    "Recipe",
    "SearchSpace",
    "Study",
    "StudyResult",
    "SubProblems",
    "export_bundle",
    "load_bundle",
    "load_recipe",
    "schedulers",
    "search",
]

# Ray counts a study's actors, which compute nothing, as too many processes, and says so into the
# middle of the live table; and that Serve's controller, which ends last, did not answer any more.
# It reads this when it is first imported.
os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX",
    "PYTHON worker processes have been started|Task ServeController.graceful_shutdown failed",
)
# In a notebook it recommends ipywidgets when it is imported, once for each of its own tables.
logging.getLogger("ray.widgets").setLevel(logging.WARNING)

_HOMES = {
    "Choice": "space",
    "Ensemble": "ensemble",
    "Float": "space",
    "Folds": "data",
    "Groups": "groups.plan",
    "HDF5": "data",
    "Holdout": "data",
    "InitialWeights": "transfer.requests",
    "Int": "space",
    "RayfoldError": "errors",
    "Recipe": "recipe",
    "SearchSpace": "space",
    "Study": "study",
    "StudyResult": "study",
    "SubProblems": "data",
    "export_bundle": "bundle",
    "load_bundle": "bundle",
    "load_recipe": "recipe",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: Ray, PyTorch and MLflow take seconds."""
    if name in ("schedulers", "search"):
        return import_module(f"rayfold.{name}")
    if name in _HOMES:
        return getattr(import_module(f"rayfold.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rayfold' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
