"""Finds classes of one kind: those of Rayfold by a short name, all others by a reference."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from rayfold.errors import ModelError, RayfoldError, RecipeError, did_you_mean
from rayfold.user_code import SourceCode, find_source
from rayfold.user_code.first_import import try_import

Made = TypeVar("Made")


@dataclass(frozen=True)
class Registry(Generic[Made]):
    """Finds classes of one kind, for example searchers.

    A class is named in one of four ways::

        "genetic"                a short name, a key of ``names``
        "package.module:Mine"    a class in a module that Python can import
        "./mine.py:Mine"         a class in a file, relative to the recipe's folder
        Mine                     the class itself, in Python

    Attributes:
        what: The word for the kind in errors, such as ``"searcher"``.
        base: Reference of the base class of the kind. It is imported on first use.
        names: Short names. Each stands for a class, a function that returns an object, or a
            reference.
        scope: What the short names are for, in errors, such as ``" for classification"``.
        moved: Arguments that no class takes any more, each with its replacement.
    """

    what: str
    base: str
    names: Mapping[str, Callable[..., Made] | str] = field(default_factory=dict)
    scope: str = ""
    moved: Mapping[str, str] = field(default_factory=dict)

    def source(self, given: str | type, *, base: Path | None = None) -> SourceCode:
        """Return the code of a class without running it; it can be sent to other processes.

        Args:
            given: A name, a reference or the class.
            base: Folder that files are relative to; None is the current folder.

        Raises:
            ModelError: If there is no such class, or its file cannot be read.
        """
        if not isinstance(given, str | type):
            raise ModelError(
                f"a {self.what} is a name, a reference or a class, got {type(given).__name__}; "
                "give the class itself, not an instance of it."
            )
        if isinstance(given, str) and ":" not in given:
            if given not in self.names:
                raise self._unknown(given)
            given = cast("str | type", self.names[given])
        elif isinstance(given, str) and not all(given.rpartition(":")):
            raise ModelError(
                f"{self.what} {given!r}: write 'package.module:ClassName' or "
                "'./file.py:ClassName'."
            )
        if isinstance(given, type):
            self._checked(given, f"{given.__module__}:{given.__qualname__}")
        return find_source(given, base=base, what=self.what)

    def load(self, source: SourceCode) -> type[Made]:
        """Import a class.

        Raises:
            ModelError: If it cannot be imported, or is not a class of this kind.
        """
        from rayfold.isolation import isolated, own_generators  # PyTorch

        try:
            with own_generators(0), isolated():  # its file may draw and set at import
                found = source.load()
        except AttributeError:
            classes: dict[str, type] = classes_in(source.load_module(), _at(self.base))
            known = f"; it defines {', '.join(classes)}" if classes else ""
            hint = did_you_mean(source.name, [*classes])
            raise ModelError(
                f"{self.what} {source.reference!r}: {source.reference.rpartition(':')[0]} has no "
                f"{source.name!r}{hint}{known}."
            ) from None
        return self._checked(found, source.reference)

    def find(
        self,
        given: str | type,
        *,
        base: Path | None = None,
        code: Mapping[str, SourceCode] | None = None,
    ) -> Callable[..., Made]:
        """Return a class, or the function that a short name stands for.

        Args:
            given: A name, a reference or the class.
            base: Folder that files are relative to; None is the current folder.
            code: Code that has already been read, by reference.

        Raises:
            ModelError: If there is no such class, or it cannot be imported.
        """
        known = self.names.get(given) if isinstance(given, str) else None
        if known is not None and not isinstance(known, str):
            return known
        if code is not None and given in code:
            return self.load(code[str(given)])
        source = self.source(given, base=base)
        try_import(source)
        return self.load(source)

    def create(
        self,
        given: str | type,
        arguments: Mapping[str, Any] | None = None,
        *,
        base: Path | None = None,
    ) -> Made:
        """Return a new object.

        Args:
            given: A name, a reference or the class.
            arguments: Its keyword arguments.
            base: Folder that files are relative to; None is the current folder.

        Raises:
            ModelError: If there is no such class, or it cannot be imported.
            RecipeError: If an argument is unknown, missing or out of range.

        Example::

            SEARCHERS.create("genetic", {"population": 16, "generations": 8})
        """
        make, wanted = self.find(given, base=base), arguments or {}
        name = given if isinstance(given, str) else given.__name__
        taken = arguments_of(make)
        for argument in wanted:
            if argument not in taken and argument in self.moved:
                raise RecipeError(f"{name}: {argument} is now {self.moved[argument]}.")
            if argument not in taken:
                hint = did_you_mean(str(argument), list(taken))
                known = ", ".join(taken) or "no arguments"
                raise RecipeError(f"{name} takes {known}, got {argument!r}{hint}.")
        for argument, parameter in taken.items():
            if parameter.default is parameter.empty and argument not in wanted:
                raise RecipeError(
                    f"{name} needs {argument}; write {{{name}: {{{argument}: ...}}}}."
                )
        try:
            return make(**wanted)
        except RayfoldError as error:
            raise RecipeError(f"{name}: {error}") from None
        except Exception as error:
            if is_reference(given):  # any error of the user's own class
                text = f"{type(error).__name__}: {error}".removesuffix(".")
                raise RecipeError(f"{name}: {text}.") from error
            raise

    def check_defaults(self, name: str, make: Callable[..., Made]) -> None:
        """Check that all arguments have defaults.

        Raises:
            ModelError: If an argument has no default.
        """
        for argument, parameter in arguments_of(make).items():
            if parameter.default is parameter.empty:
                raise ModelError(
                    f"{self.what} {name!r} needs {argument}; give {argument} a default in "
                    "the constructor."
                )

    def _checked(self, found: object, reference: str) -> type[Made]:
        """Return the object if it is a class of this kind without abstract methods."""
        kind: type[Made] = _at(self.base)
        if not isinstance(found, type) or not issubclass(found, kind):
            came = "another class" if isinstance(found, type) else f"a {type(found).__name__}"
            raise ModelError(
                f"{self.what} {reference!r} must be a subclass of "
                f"{self.base.replace(':', '.')}, got {came}."
            )
        if inspect.isabstract(found):
            methods: frozenset[str] = vars(found)["__abstractmethods__"]
            lacking = ", ".join(sorted(methods))
            raise ModelError(f"{self.what} {reference!r} must define {lacking}.")
        return found

    def _unknown(self, name: str) -> ModelError:
        hint = did_you_mean(name.lower(), tuple(self.names))
        if "." in name or "/" in name:
            hint = f"; if it is your own, name its class: '{name}:ClassName'"
        known = f"choose from {', '.join(self.names)}, or give" if self.names else "give"
        return ModelError(
            f"{self.what} {name!r} is unknown{self.scope}{hint}; {known} "
            "'package.module:ClassName' or './file.py:ClassName'."
        )


def is_reference(given: object) -> bool:
    """Return whether a class is given by a reference or as the class itself."""
    return isinstance(given, type) or (isinstance(given, str) and ":" in given)


def arguments_of(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the arguments that a class or function takes, by name."""
    parameters = inspect.signature(make).parameters.items()
    return {
        name: parameter
        for name, parameter in parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def classes_in(module: ModuleType, kind: type[Made]) -> dict[str, type[Made]]:
    """Return the public classes of a kind that the module itself defines, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, kind)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def _at(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return attrgetter(name)(importlib.import_module(module))
