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
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayfold.errors import ModelError, SpaceError, did_you_mean
from rayfold.registry import Registry, classes_in
from rayfold.space import SearchSpace, load_space
from rayfold.user_code import SourceCode
from rayfold.user_code.first_import import try_import

if TYPE_CHECKING:
    from torch import nn


def resolve_model(
    reference: str | type | SourceCode, *, base: Path | None = None, tried: bool = False
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
    source = model_source(reference, base=base)
    if tried:
        try_import(source)
    return MODELS.load(source)


def model_source(model: str | type | SourceCode, *, base: Path | None = None) -> SourceCode:
    """Return the code of a model, as for ``Registry.source``; a source is returned as it is."""
    return model if isinstance(model, SourceCode) else MODELS.source(model, base=base)


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


class _LibraryModels(Mapping[str, "type[nn.Module]"]):
    """The classes of the folder ``models`` by the names of their files, imported on use."""

    def __getitem__(self, name: str) -> type[nn.Module]:
        if name not in _names("models", ".py"):
            raise KeyError(name)
        from torch import nn

        module = importlib.import_module(f"rayfold.models.{name}")
        classes = classes_in(module, nn.Module)
        if len(classes) != 1:
            raise ModelError(
                f"model {name!r}: {module.__name__} must define one public torch.nn.Module, it "
                f"defines {', '.join(classes) or 'none'}."
            )
        return next(iter(classes.values()))

    def __iter__(self) -> Iterator[str]:
        return iter(_names("models", ".py"))

    def __len__(self) -> int:
        return len(_names("models", ".py"))


def _names(folder: str, suffix: str) -> tuple[str, ...]:
    files = (_FOLDER / folder).glob(f"*{suffix}")
    return tuple(sorted(file.stem for file in files if not file.stem.startswith("_")))


MODELS: Registry[nn.Module] = Registry("model", "torch.nn:Module", _LibraryModels())
"""The models by the names that recipes use."""
