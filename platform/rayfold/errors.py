"""The exceptions that Rayfold raises on purpose, as a tree.

::

    RayfoldError
    ├── RecipeError      (ValueError)   a recipe or an argument of a study is wrong
    │   ├── SpaceError                  a search space or a configuration is wrong
    │   └── ModelError                  a model reference or its hyperparameters are wrong
    ├── DataError        (ValueError)   a data file or its contents are wrong
    ├── ResourcesError                  the cluster cannot hold what was asked for
    │   └── DispatcherLostError         the process that gives out jobs has died
    ├── JournalError                    a study's journal cannot be read, written or locked
    ├── TrackingError                   MLflow holds no such study, or cannot be reached
    ├── SuspendedError                  a fault of the machine ended a study; run it again
    ├── EnsembleError    (ValueError)   trials cannot be combined
    └── BundleError      (ValueError)   an exported bundle is damaged, foreign or unknown

Each message is one line, or one line for each wrong field of a recipe. It says what was expected,
what was given and what to do. If an ensemble has no ``predict_proba`` or ``n_features_in_``, it
raises ``AttributeError``, as scikit-learn expects.
"""

import re
from typing import TypeVar

Name = TypeVar("Name", bound=str)


class RayfoldError(Exception):
    """Base of every error that Rayfold raises on purpose."""


class RecipeError(RayfoldError, ValueError):
    """A recipe, or an argument, is wrong."""


class SpaceError(RecipeError):
    """A search space, or a configuration checked against one, is wrong."""


class ModelError(RecipeError):
    """A model reference, or the hyperparameters given to a model, are wrong."""


class DataError(RayfoldError, ValueError):
    """A data file, or what is in it, is wrong."""


class ResourcesError(RayfoldError):
    """The cluster cannot hold what was asked for."""


class DispatcherLostError(ResourcesError):
    """The process that gives out a run's jobs has died; run the study again to resume."""


class JournalError(RayfoldError):
    """A study's journal cannot be read, written or locked."""


class TrackingError(RayfoldError):
    """MLflow holds no such study, or cannot be reached."""


class SuspendedError(RayfoldError):
    """A fault of the machine or of Ray has ended a study; run it again to resume."""


class EnsembleError(RayfoldError, ValueError):
    """The trials cannot be combined."""


class BundleError(RayfoldError, ValueError):
    """An exported bundle is damaged, foreign or of an unknown version."""


def encodable(text: str) -> str:
    r"""Return a text with escapes (``\ud800``) for what UTF-8 cannot hold: lone surrogates."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def storable(text: str) -> str:
    r"""Return a text that files, databases and terminals accept.

    Lone surrogates and control characters, except line ends and tabs, become escapes: ``\x1b``.
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], encodable(text))


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def did_you_mean(name: str, known: "list[str] | tuple[str, ...]") -> str:
    """Return ``" (did you mean 'x'?)"`` for the known name closest to ``name``, or nothing."""
    close = nearest(name, known)
    return f" (did you mean {close!r}?)" if close else ""


def nearest(name: str, known: "list[str] | tuple[str, ...]") -> str | None:
    """Return the known name closest to ``name``; None if none is close."""
    import difflib

    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.6)), None)


def one_of(name: str, value: object, allowed: tuple[Name, ...]) -> Name:
    """Return an argument that must be one of a few texts.

    Raises:
        RecipeError: If it is not.
    """
    for choice in allowed:
        if value == choice:
            return choice
    hint = did_you_mean(str(value), list(allowed))
    raise RecipeError(f"{name} must be one of {', '.join(allowed)}, got {value!r}{hint}.")
