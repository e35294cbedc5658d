"""Running the user's code from texts, in any process, under a name that holds their digest.

The texts become a package of their own, ``_rayfold_code_<digest>``: two versions of a file can
live in one process. A copy of each file lies in a folder named by the digest, for what reads
source code (``inspect``, ``torch.jit.script``, tracebacks); what runs is the text itself.
"""

import atexit
import builtins
import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import shutil
import stat
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

PREFIX = "_rayfold_code_"

_PACKAGES: dict[str, "_Finder"] = {}


def package_name(digest: str) -> str:
    """Return the name of the package that texts with this digest are imported as."""
    return f"{PREFIX}{digest[:12]}"


def import_text(module: str, files: Mapping[str, str], digest: str) -> ModuleType:
    """Import a module from texts, once a process for each digest.

    Args:
        module: Name of the module among the texts, ``"net"`` or ``"package.net"``.
        files: Text of each file, by its path below their common folder.
        digest: Digest of the texts.

    Raises:
        BaseException: Whatever the code raises when it is imported.
        OSError: If the copies cannot be written.
    """
    package = package_name(digest)
    if package not in _PACKAGES:
        finder = _Finder(package, dict(files), _written(files, digest))
        _PACKAGES[package] = finder
        sys.meta_path.insert(0, finder)  # before the one that would take the copies
    return importlib.import_module(f"{package}.{module}")


def place_in(error: BaseException, digest: str) -> tuple[str, int] | None:
    """Return the file, by its name among the texts, and the line that raised an error."""
    finder = _PACKAGES.get(package_name(digest))
    if finder is None:
        return None
    place = None
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(finder.folder):
            place = path.relative_to(finder.folder).as_posix(), frame.lineno or 0
    return place


def copies_folder(digest: str) -> Path:
    """Return the folder of the copies that this user's processes keep of texts."""
    return _own_folder() / digest


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of one package of texts."""

    def __init__(self, package: str, files: dict[str, str], folder: Path) -> None:
        self.package, self.files, self.folder = package, files, folder
        tops = {name.partition("/")[0].removesuffix(".py") for name in files}
        self._builtins = {**vars(builtins), "__import__": self._import}
        self._tops = frozenset(tops)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module of the package."""
        head, _, rest = fullname.partition(".")
        if head != self.package:
            return None
        place = rest.replace(".", "/")
        init = f"{place}/__init__.py" if place else "__init__.py"
        if place and init not in self.files and f"{place}.py" in self.files:
            return self._spec(fullname, f"{place}.py", is_package=False)
        inside = not place or any(name.startswith(f"{place}/") for name in self.files)
        return self._spec(fullname, init, is_package=True) if inside else None

    def _spec(
        self, fullname: str, file: str, *, is_package: bool
    ) -> importlib.machinery.ModuleSpec:
        loader = _Loader(self.files.get(file, ""), self.folder / file, self._builtins)
        spec = importlib.machinery.ModuleSpec(fullname, loader, is_package=is_package)
        if file in self.files:
            spec.origin = str(loader.path)
            spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [str(loader.path.parent)]
        return spec

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import as ``import`` does, but the texts' own modules before all others."""
        top = name.partition(".")[0]
        if level or top not in self._tops:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{self.package}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{self.package}.{top}"]


class _Loader(importlib.abc.InspectLoader):
    """Runs one text as a module."""

    def __init__(self, text: str, path: Path, own_builtins: Mapping[str, Any]) -> None:
        self.path, self._text, self._builtins = path, text, own_builtins

    def get_source(self, fullname: str) -> str:
        """Return the text."""
        return self._text

    def is_package(self, fullname: str) -> bool:
        """Tell whether the module is a package."""
        return self.path.name == "__init__.py"

    def get_filename(self, fullname: str) -> str:
        """Return the path of the copy."""
        return str(self.path)

    def exec_module(self, module: ModuleType) -> None:
        """Run the text in a module."""
        module.__dict__["__builtins__"] = dict(self._builtins)
        exec(compile(self._text, str(self.path), "exec", dont_inherit=True), module.__dict__)


def _written(files: Mapping[str, str], digest: str) -> Path:
    """Write the copies, each file at once; one that is there with other contents is replaced."""
    folder = copies_folder(digest)
    for name, text in files.items():
        path, data = folder / name, text.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_bytes() == data:
            continue
        descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(unfinished).replace(path)
        finally:
            Path(unfinished).unlink(missing_ok=True)
    return folder


def _own_folder() -> Path:
    """Return a temporary folder that nobody but this user can read or write.

    Where somebody else has taken its name, or opened it to others, this process has its own.
    """
    folder = Path(tempfile.gettempdir(), f"rayfold-code-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        status = folder.lstat()
        is_private = status.st_uid == os.getuid() and not status.st_mode & 0o077
        if not (stat.S_ISDIR(status.st_mode) and is_private):
            return _folder_of_process()
    return folder


@functools.cache
def _folder_of_process() -> Path:
    folder = tempfile.mkdtemp(prefix="rayfold-code-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
