"""What a file of the user's imports: local files, and installed packages with their versions."""

import ast
import contextlib
import functools
import importlib.util
import os
import sys
import sysconfig
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

LARGEST_FILE = 2**24
"""Bytes of a file at most; more is no source code."""


@dataclass
class Gathered:
    """A file with everything local that it imports, itself or through others.

    Attributes:
        files: Text of each file, by its path below one common folder: module ``a.b`` is
            ``"a/b.py"`` or ``"a/b/__init__.py"``.
        origins: Where each of them was read.
        packages: Version of each installed distribution that they import.
    """

    files: dict[str, str] = field(default_factory=dict)
    origins: dict[str, Path] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)


def gather(file: Path, module: str, roots: Sequence[Path]) -> Gathered:
    """Read a file and its local imports.

    An import is local if one of ``roots`` holds it, or if Python finds its source outside the
    standard library and the folders of installed packages. Imports inside functions count, too;
    names that are made up while the code runs cannot be seen.

    Args:
        file: The file to begin with.
        module: Its name as a module, ``"net"`` or ``"package.net"``.
        roots: Folders that imports are looked up in, the first one first.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is no text.
    """
    found = Gathered()
    queue = deque([(module, file), *_parents(module, file)])
    while queue:
        name, path = queue.popleft()
        is_package = path.name == "__init__.py"
        key = _key(name, is_package)
        if key in found.files:
            continue
        text = read_text(path)
        found.files[key], found.origins[key] = text, path
        for imported in _imports(text, name, is_package):
            local = _local(imported, roots)
            if local:
                queue.extend(local)
            elif version := _version(imported.partition(".")[0]):
                found.packages.update(version)
    return found


def read_text(path: Path) -> str:
    """Return the text of a source file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no regular file, too large, or not in the encoding that it names.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"it has more than {LARGEST_FILE} bytes")
    try:
        return importlib.util.decode_source(data)
    except SyntaxError as error:
        raise ValueError(str(error)) from error


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of some distributions that are installed here."""
    found = {}
    for name in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def imports_relatively(text: str) -> bool:
    """Tell whether a text imports from its own package by ``from . import``."""
    return any(isinstance(node, ast.ImportFrom) and node.level for node in _nodes(text))


def local_module(name: str, base: Path) -> tuple[Path, Path] | None:
    """Return where the source of a module lies that no package installed.

    Args:
        name: ``"package.module"``.
        base: Folder that is looked into, like the current one, where Python finds none.

    Returns:
        The folder that its name is below, and its file; None if there is no such module.
    """
    top = name.partition(".")[0]
    if _found_by_python(top) is not None or not top.isidentifier():
        base_first: tuple[Path, ...] = ()
    else:
        base_first = (base, Path.cwd())
    root = _root(top, base_first)
    files = dict(_local(name, [root])) if root is not None else {}
    return (root, files[name]) if root is not None and name in files else None


def is_installed(path: Path) -> bool:
    """Tell whether a file belongs to the standard library or to an installed package."""
    parts = path.parts
    if "site-packages" in parts or "dist-packages" in parts:
        return True
    library = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    return any(path.is_relative_to(folder) for folder in library)


@functools.cache
def packages_of(top: str) -> dict[str, str]:
    """Return the installed distributions that a top-level module belongs to, with versions."""
    return {name: metadata.version(name) for name in _distributions().get(top, ())}


def _parents(module: str, file: Path) -> Iterator[tuple[str, Path]]:
    """Yield the packages that a module lies in, with their ``__init__.py``."""
    folder = file.parent.parent if file.name == "__init__.py" else file.parent
    name = module.rpartition(".")[0]
    while name:
        init = folder / "__init__.py"
        if init.is_file():
            yield name, init
        folder, name = folder.parent, name.rpartition(".")[0]


def _key(module: str, is_package: bool) -> str:
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if is_package else f"{path}.py"


def _imports(text: str, module: str, is_package: bool) -> Iterator[str]:
    """Yield the full names of all modules that a text may import."""
    package = module if is_package else module.rpartition(".")[0]
    for node in _nodes(text):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(part for part in (*above, base) if part)
            if base:
                yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


def _nodes(text: str) -> Iterator[ast.AST]:
    """Yield the nodes of a text's syntax tree; none of a text that is no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are shown when the text is run
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return  # running it tells what is wrong
    yield from ast.walk(tree)


def _local(name: str, roots: Sequence[Path]) -> list[tuple[str, Path]]:
    """Return the local files of a module and of the packages that it lies in."""
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return []
    root = _root(parts[0], roots)
    if root is None:
        return []
    files = []
    for number in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:number])
        file = _module_file(place)
        if file is not None:
            files.append((".".join(parts[:number]), file))
        elif not place.is_dir():
            break
    return files


def _root(top: str, roots: Sequence[Path]) -> Path | None:
    """Return the folder that holds a top-level module's source; None if it is not local."""
    if top == "rayfold" or top in sys.builtin_module_names:
        return None
    for root in roots:
        if _module_file(root / top) is not None:
            return root
    path = _found_by_python(top)
    if path is not None:
        return None if is_installed(path) else path.parent
    return next((root for root in roots if (root / top).is_dir()), None)


def _module_file(place: Path) -> Path | None:
    for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
        if file.is_file():
            return file
    return None


def _found_by_python(top: str) -> Path | None:
    """Return the file or the package's folder that ``import`` takes; None if it takes none."""
    if top in sys.stdlib_module_names:
        return Path(os.__file__)
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if not spec.has_location or spec.origin is None:  # a folder without __init__.py, or built in
        folders = list(spec.submodule_search_locations or ())
        return Path(folders[0]) if folders else None
    path = Path(spec.origin)
    if path.suffix != ".py":
        return Path(os.__file__)  # compiled: it cannot travel as text
    return path.parent if path.name == "__init__.py" else path


def _version(top: str) -> dict[str, str]:
    return {} if top in sys.stdlib_module_names else packages_of(top)


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return {top: sorted(set(names)) for top, names in metadata.packages_distributions().items()}
