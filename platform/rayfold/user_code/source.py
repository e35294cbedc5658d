"""A class and the code that it consists of, as something that can travel."""

import hashlib
import importlib
import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Literal

from rayfold.errors import ModelError, storable
from rayfold.user_code.imports import (
    Gathered,
    gather,
    imports_relatively,
    is_installed,
    local_module,
    packages_of,
    read_text,
)
from rayfold.user_code.loading import PREFIX, copies_folder, import_text, package_name, place_in
from rayfold.user_code.notebook import class_text, local_files, pickled, unpickled

Kind = Literal["files", "installed", "notebook"]
"""Texts that travel; a module that every process can import; or a pickled class."""

_READ: dict[str, "SourceCode"] = {}
"""What a package of texts was read from last, by the package's name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceCode:
    """A class by its reference, with the code that it consists of.

    A ``SourceCode`` can be pickled, and its class loaded, in every process that has Rayfold: files
    travel as texts. Nothing of the user's runs before ``load``.

    Attributes:
        reference: What the class is called: ``"./net.py:Net"``, ``"package.module:Net"``.
        kind: How it travels.
        module: The module that defines it; of texts, its name among these.
        name: The class's name in that module.
        files: Text of each file, by its path below their common folder. Of a class of a notebook
            its own text; empty for an installed module.
        origins: Where each file was read, for messages.
        packages: Version of each installed distribution that the files import, or that the module
            belongs to.
        what: What kind of thing it is, for messages.
    """

    reference: str
    kind: Kind
    module: str
    name: str
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)
    packages: Mapping[str, str] = field(default_factory=dict)
    what: str = "model"
    _here: type | None = field(default=None, repr=False)
    _pickled: bytes | None = field(default=None, repr=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files' names and texts; empty where there are none."""
        return digest_of(self.files)

    @property
    def is_ours(self) -> bool:
        """Whether it comes with Rayfold."""
        return self.kind == "installed" and self.module.partition(".")[0] == "rayfold"

    @property
    def entry(self) -> str:
        """Name of the file, among ``files``, that defines the class."""
        place = self.module.replace(".", "/")
        return f"{place}.py" if f"{place}.py" in self.files else f"{place}/__init__.py"

    @property
    def is_here(self) -> bool:
        """Whether its class exists in this process, so that nothing needs to be imported."""
        return self._here is not None

    def load(self) -> Any:
        """Return what the reference names, imported once a process.

        Raises:
            ModelError: If the code cannot be imported.
            AttributeError: If it has nothing of that name.
        """
        if self._here is not None:
            return self._here
        if self._pickled is not None:
            object.__setattr__(self, "_here", unpickled(self._pickled))
            return self._here
        return attrgetter(self.name)(self.load_module())

    def load_module(self) -> ModuleType:
        """Import the module that defines it, and return that.

        Raises:
            ModelError: If it cannot be imported; the message names the user's file and line.
        """
        try:
            if self.kind == "installed":
                return importlib.import_module(self.module)
            return import_text(self.module, self.files, self.digest)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, OSError) and self._place(error) is None:
                raise  # the machine's fault, a full disk say
            raise ModelError(f"{self.what} {self.reference!r}: {self._failure(error)}.") from error

    def check_travels(self) -> None:
        """Check that another process can load the class.

        Raises:
            ModelError: If it cannot be pickled, if the pickle lacks the code of local files that
                it uses, or if its file cannot be imported a second time.
        """
        if self.kind == "files":
            self.load_module()
        elif self.kind == "notebook" and self._here is not None:
            remedy = (
                "write the class into a file of its own and name that: "
                f"{self.what}='./net.py:{self._here.__name__}'."
            )
            if files := local_files(self._here):
                raise ModelError(
                    f"{self.what} {self.reference!r} is no class of a file and uses {files[0]}, "
                    f"which would not travel with it; {remedy}"
                )
            try:
                pickled(self._here)
            except Exception as error:
                raise ModelError(
                    f"{self.what} {self.reference!r} cannot be sent to workers: "
                    f"{_one_line(error)}; {remedy}"
                ) from error

    def told(self, text: str) -> str:
        """Return a traceback or message with the user's own files and modules in it.

        Characters that no file, store or terminal takes are written as escapes.
        """
        text = storable(text)
        if self.kind != "files":
            return text
        folder = copies_folder(self.digest)
        for name, origin in self.origins.items():
            text = text.replace(str(folder / name), origin)
        return text.replace(f"{package_name(self.digest)}.", "")

    def __getstate__(self) -> dict[str, Any]:
        state = {
            name: dict(value) if isinstance(value, MappingProxyType) else value
            for name, value in vars(self).items()
        }
        if self.kind == "notebook" and self._here is not None:
            state["_pickled"] = pickled(self._here)
        return {**state, "_here": None}

    def _place(self, error: BaseException) -> tuple[str, int] | None:
        return place_in(error, self.digest) if self.kind == "files" else None

    def _failure(self, error: BaseException) -> str:
        what = self.told(_one_line(error))
        if isinstance(error, SystemExit):
            what = f"it calls sys.exit({error.code!r}) when it is imported; remove that call"
        if self.kind == "installed":
            is_missing = (
                isinstance(error, ModuleNotFoundError)
                and error.name == self.module.partition(".")[0]
            )
            hint = "; for a class in a file, write './file.py:ClassName'" if is_missing else ""
            return f"cannot import {self.module}: {what}{hint}"
        file, line = self._place(error) or (self.entry, None)
        where = self.origins.get(file, file) + ("" if line is None else f", line {line}")
        return f"cannot run {where}: {what}"


def digest_of(files: Mapping[str, str]) -> str:
    """Return the SHA-256 of files' names and texts; empty where there are none."""
    if not files:
        return ""
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def digests_of(files: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    return {
        name: hashlib.sha256(text.encode()).hexdigest() for name, text in sorted(files.items())
    }


def is_file_reference(reference: str) -> bool:
    """Tell whether a reference names a class in a file: ``"./net.py:Net"``."""
    location, separator, _ = reference.rpartition(":")
    return bool(separator) and (location.endswith(".py") or "/" in location or "\\" in location)


def find_source(given: str | type, *, base: Path | None = None, what: str = "model") -> SourceCode:
    """Return the code that a reference or a class stands for, read anew.

    Args:
        given: ``"package.module:Net"``, ``"./net.py:Net"``, or the class itself.
        base: Folder that files are relative to; None is the current folder.
        what: What kind of thing it is, for messages.

    Raises:
        ModelError: If a file cannot be read.
    """
    try:
        found = _of_class(given) if isinstance(given, type) else _of_reference(given, base)
    except _UnreadableError as error:
        raise ModelError(f"{what} {error}.") from None
    return replace(found, what=what)


class _UnreadableError(Exception):
    """A file of the code cannot be read."""


def _of_reference(reference: str, base: Path | None) -> SourceCode:
    base = (base or Path()).absolute()
    location, _, name = reference.rpartition(":")
    if is_file_reference(reference):
        return _of_file(reference, base / location, name, base)
    found = None if location.partition(".")[0] == "rayfold" else local_module(location, base)
    if found is None:
        return SourceCode(
            reference=reference,
            kind="installed",
            module=location,
            name=name,
            packages=packages_of(location.partition(".")[0]),
        )
    root, file = found
    return _of_files(reference, file, location, name, [root, base, Path.cwd()])


def source_of_files(
    reference: str,
    *,
    module: str,
    name: str,
    files: Mapping[str, str],
    packages: Mapping[str, str],
) -> SourceCode:
    """Return a source whose texts come from elsewhere, a bundle say."""
    return _remembered(
        SourceCode(
            reference=reference,
            kind="files",
            module=module,
            name=name,
            files=files,
            packages=packages,
        )
    )


def _of_file(reference: str, path: Path, name: str, base: Path) -> SourceCode:
    """Return the source of a class in a file, which may lie in a package."""
    try:
        reached = path.parent.resolve()
        module = path.stem  # of a link its own name: what it links to may be called otherwise
        path = path.resolve()
        folder = path.parent
        if imports_relatively(read_text(path)):
            module = path.stem
            while (folder / "__init__.py").is_file():
                folder, module = folder.parent, f"{folder.name}.{module}"
    except (OSError, ValueError) as error:
        raise _UnreadableError(f"{_cut(reference)}: {_unreadable(path, error)}") from None
    return _of_files(reference, path, module, name, [folder, reached, base, Path.cwd()])


def _of_files(reference: str, file: Path, module: str, name: str, roots: list[Path]) -> SourceCode:
    try:
        found = gather(file, module, list(dict.fromkeys(roots)))
    except (OSError, ValueError) as error:
        raise _UnreadableError(f"{_cut(reference)}: {_unreadable(file, error)}") from None
    return _remembered(_from(found, reference, module, name))


def _from(found: Gathered, reference: str, module: str, name: str) -> SourceCode:
    return SourceCode(
        reference=reference,
        kind="files",
        module=module,
        name=name,
        files=MappingProxyType(found.files),
        origins=MappingProxyType({key: str(path) for key, path in found.origins.items()}),
        packages=MappingProxyType(found.packages),
    )


def _remembered(source: SourceCode) -> SourceCode:
    _READ[package_name(source.digest)] = source
    return source


def _of_class(found: type) -> SourceCode:
    reference = f"{found.__module__}:{found.__qualname__}"
    package, _, module = found.__module__.partition(".")
    if package.startswith(PREFIX) and package in _READ:
        known = _READ[package]
        location = known.reference.rpartition(":")[0] if known.module == module else module
        return replace(
            known,
            reference=f"{location}:{found.__qualname__}",
            module=module,
            name=found.__qualname__,
            _here=found,
        )
    if not _is_found_by_name(found):
        text = class_text(found)
        return SourceCode(
            reference=reference,
            kind="notebook",
            module=found.__module__,
            name=found.__qualname__,
            files={} if text is None else {f"{found.__name__}.py": text},
            _here=found,
        )
    path = inspect.getsourcefile(found)
    if package == "rayfold" or path is None or is_installed(Path(path).resolve()):
        return SourceCode(
            reference=reference,
            kind="installed",
            module=found.__module__,
            name=found.__qualname__,
            packages=packages_of(package),
            _here=found,
        )
    file = Path(path).resolve()
    module, root = _place_of(file, found.__module__)
    source = _of_files(reference, file, module, found.__qualname__, [root, Path.cwd()])
    return replace(source, _here=found)


def _is_found_by_name(found: type) -> bool:
    """Tell whether another process finds a class by its module and name."""
    module = sys.modules.get(found.__module__)
    if module is None or found.__module__ == "__main__":
        return False
    try:
        return attrgetter(found.__qualname__)(module) is found
    except AttributeError:
        return False


def _place_of(file: Path, module: str) -> tuple[str, Path]:
    """Return the name of a module whose file is known, and the folder that it is below."""
    parts = module.split(".")
    place = file.parent if file.name == "__init__.py" else file.with_suffix("")
    if list(place.parts[-len(parts) :]) == parts:
        return module, place.parents[len(parts) - 1]
    return file.stem, file.parent


def _unreadable(path: Path, error: OSError | ValueError) -> str:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    file = error.filename if isinstance(error, OSError) and error.filename else path
    return f"cannot read {_cut(str(file))}: {reason or type(error).__name__}"


def _cut(text: str) -> str:
    shown = repr(text)[1:-1]
    return shown if len(shown) <= 300 else f"{shown[:150]}...{shown[-100:]}"


def _one_line(error: BaseException) -> str:
    """Return an error's kind and the first line of its message, without the full stop."""
    first_line = str(error).strip().partition("\n")[0].removesuffix(".")
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
