"""Models and search spaces by reference.

A model is named in one of four ways::

    "cnn"                   one of the models that come with Rayfold
    "package.module:Net"    a class in a module that Python can import
    "./net.py:Net"          a class in a file, relative to the recipe's folder
    Net                     the class itself, in Python

A search space is named in the same way (``"cnn"``, ``"./space.yaml"``), or given itself. PyTorch
is imported when the first model is resolved, not with this module.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rayfold.errors import ModelError, SpaceError, did_you_mean
from rayfold.space import SearchSpace, load_space
from rayfold.user_code import Source, find_source
from rayfold.user_code.first_import import try_import

if TYPE_CHECKING:
    from torch import nn


def resolve_model(
    reference: str | type | Source, *, base: Path | None = None, tried: bool = False
) -> type[nn.Module]:
    """Return the model class that a reference names.

    Args:
        reference: ``"cnn"``, ``"package.module:Net"``, ``"./net.py:Net"``, the class itself, or
            its source.
        base: Folder that files are relative to; None is the current folder.
        tried: Whether to import the user's code in a child process first, because it may hang,
            exit or crash.

    Raises:
        ModelError: If there is no such model, it cannot be imported, or it is not a subclass of
            ``torch.nn.Module``.
    """
    from rayfold.isolation import isolated, own_generators

    source = model_source(reference, base=base)
    if tried:
        try_import(source)
    try:
        with own_generators(0), isolated():  # what its file draws and sets at import, too
            found = source.load()
    except AttributeError:
        classes = _model_classes(source.load_module())
        known = f"; it defines {', '.join(classes)}" if classes else ""
        raise ModelError(
            f"model {source.reference!r}: {source.reference.rpartition(':')[0]} has no "
            f"{source.name!r}{did_you_mean(source.name, tuple(classes))}{known}."
        ) from None
    return _checked(found, source.reference)


def model_source(model: str | type | Source, *, base: Path | None = None) -> Source:
    """Return the code of a model, which can travel to other processes, without running it.

    Args:
        model: As for ``resolve_model``.
        base: Folder that files are relative to; None is the current folder.

    Raises:
        ModelError: If there is no such model, or its file cannot be read.
    """
    if isinstance(model, Source):
        return model
    if isinstance(model, type):
        return find_source(_checked(model, f"{model.__module__}:{model.__qualname__}"))
    if not isinstance(model, str):
        raise ModelError(
            f"a model is a name, a reference or a class, got {type(model).__name__}; "
            "give the class itself, not an instance of it."
        )
    if ":" not in model:
        return find_source(_library_model(model))
    location, _, name = model.rpartition(":")
    if not location or not name:
        raise ModelError(
            f"model {model!r}: write 'package.module:ClassName' or './file.py:ClassName'."
        )
    return find_source(model, base=base)


def model_reference(model: str | type) -> str:
    """Return the reference from which ``resolve_model`` gets this model.

    Args:
        model: A class or a reference; a name of the library becomes a full reference.

    Returns:
        ``"rayfold.models.cnn:CNN"``, ``"package.module:Net"``, ``"__main__:Net"``, or for a class
        from a file its last reference, ``"./net.py:Net"``.

    Raises:
        ModelError: If a name of the library is unknown.
    """
    if isinstance(model, str) and ":" in model:
        return model
    return model_source(model).reference


def is_own_model(reference: str) -> bool:
    """Tell whether a reference names a model of Rayfold."""
    return _OWN_MODELS.fullmatch(reference) is not None


def resolve_space(
    reference: str | Path | Mapping[str, Any] | SearchSpace, *, base: Path | None = None
) -> SearchSpace:
    """Return the search space that a reference names.

    Args:
        reference: The name of a space of Rayfold (``"cnn"``), the path of a YAML file
            (a text that ends in ``.yaml`` or ``.yml`` or has a slash), the YAML's contents, a
            mapping of names to domains, or the space itself.
        base: Folder that paths are relative to; None is the current folder.

    Raises:
        SpaceError: If there is no such space, or it is wrong.
        RecipeError: If the file is not YAML.
    """
    if isinstance(reference, SearchSpace):
        return reference
    if isinstance(reference, Mapping):
        return SearchSpace.from_dict(reference)
    if isinstance(reference, Path) or reference.endswith((".yaml", ".yml")) or "/" in reference:
        return load_space((base or Path()) / reference)
    known = _names("search_spaces", ".yaml")
    if reference not in known:
        raise SpaceError(
            f"search space {reference!r} is unknown{did_you_mean(reference.lower(), known)}; "
            f"choose from {', '.join(known)}, or give a path such as './space.yaml'."
        )
    return load_space(_FOLDER / "search_spaces" / f"{reference}.yaml")


_OWN_MODELS = re.compile(r"rayfold\.models(\.[A-Za-z]\w*)+:[A-Za-z]\w*", re.ASCII)
_FOLDER = Path(__file__).parent


def _library_model(name: str) -> type[nn.Module]:
    known = _names("models", ".py")
    if name not in known:
        hint = did_you_mean(name.lower(), known)
        if "." in name or "/" in name:
            hint = f"; if it is your own, name its class: '{name}:ClassName'"
        raise ModelError(
            f"model {name!r} is unknown{hint}; choose from {', '.join(known)}, or give "
            "'package.module:ClassName' or './file.py:ClassName'."
        )
    module = importlib.import_module(f"rayfold.models.{name}")
    classes = _model_classes(module)
    if len(classes) != 1:
        raise ModelError(
            f"model {name!r}: {module.__name__} must define one public torch.nn.Module, "
            f"it defines {', '.join(classes) or 'none'}."
        )
    return next(iter(classes.values()))


def _names(folder: str, suffix: str) -> tuple[str, ...]:
    files = (_FOLDER / folder).glob(f"*{suffix}")
    return tuple(sorted(file.stem for file in files if not file.stem.startswith("_")))


def _model_classes(module: ModuleType) -> dict[str, type[nn.Module]]:
    """Return the public model classes that a module itself defines."""
    from torch import nn

    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, nn.Module)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def _checked(found: object, reference: str) -> type[nn.Module]:
    from torch import nn

    if not isinstance(found, type) or not issubclass(found, nn.Module):
        came = "another class" if isinstance(found, type) else f"a {type(found).__name__}"
        raise ModelError(
            f"model {reference!r} must be a subclass of torch.nn.Module itself, got {came}."
        )
    return found
