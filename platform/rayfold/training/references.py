"""Learners and strategies by reference, as code that can travel to every worker.

Either is named like a model: by a name below, ``"package.module:Thing"``, ``"./file.py:Thing"``,
or the class itself.
"""

from collections.abc import Mapping
from pathlib import Path

from rayfold.errors import ModelError, did_you_mean
from rayfold.user_code import Source, find_source

LEARNERS: Mapping[str, str] = {"supervised": "rayfold.training.learners.supervised:Supervised"}

STRATEGIES: Mapping[str, str] = {"all_reduce": "rayfold.training.strategies.all_reduce:AllReduce"}


def learner_source(learner: str | type = "supervised", *, base: Path | None = None) -> Source:
    """Return the code of a learner, without running it.

    Args:
        learner: A name, a reference or the class.
        base: Folder that files are relative to; None is the current folder.

    Raises:
        ModelError: If there is no such learner, or its file cannot be read.
    """
    return _source("learner", learner, LEARNERS, base)


def strategy_source(strategy: str | type = "all_reduce", *, base: Path | None = None) -> Source:
    """Return the code of a strategy, without running it; as for ``learner_source``."""
    return _source("strategy", strategy, STRATEGIES, base)


def _source(what: str, given: str | type, known: Mapping[str, str], base: Path | None) -> Source:
    if isinstance(given, str) and ":" not in given:
        if given not in known:
            raise ModelError(
                f"{what} {given!r} is unknown{did_you_mean(given, tuple(known))}; choose from "
                f"{', '.join(known)}, or give 'package.module:ClassName' or './file.py:ClassName'."
            )
        given = known[given]
    elif not isinstance(given, str | type):
        raise ModelError(
            f"a {what} is a name, a reference or a class, got {type(given).__name__}; give the "
            "class itself, not an instance of it."
        )
    return find_source(given, base=base, what=what)
