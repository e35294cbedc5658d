"""What the package needs is declared, used and pinned."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

OPTIONAL = {"IPython", "pytest"}
"""Imported where they are there already: in a notebook, and in the tests of one's own searcher."""


PULLED_IN_BY_NOBODY = {"onnxscript"}
"""Imported by ``torch.onnx``, which leaves it to its user to install."""


@pytest.fixture(scope="module")
def pyproject(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def declared(pyproject: dict[str, Any]) -> dict[str, Requirement]:
    """The package's own dependencies, by canonical name."""
    parsed = map(Requirement, pyproject["project"]["dependencies"])
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, Version]:
    """The versions that constraints.txt names; it holds nothing but ``name==version``."""
    lines = (repository / "constraints.txt").read_text().splitlines()
    wrong = [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)]
    assert wrong == []
    pairs = [line.split("==") for line in lines]
    assert len({canonicalize_name(name) for name, _ in pairs}) == len(pairs)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


@pytest.fixture(scope="module")
def imported(repository: Path) -> set[str]:
    """The top-level modules that the package imports, other than the standard library's."""
    files = [*repository.glob("platform/rayfold/**/*.py"), *repository.glob("models/*.py")]
    tops = {name.partition(".")[0] for file in files for name in imports_of(file)}
    return tops - set(sys.stdlib_module_names) - {"rayfold"}


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def distributions_of(module: str) -> set[str]:
    return {canonicalize_name(name) for name in providers().get(module, [module])}


@cache
def providers() -> Mapping[str, list[str]]:
    """Which distributions provide a module; reads every installed file list, so once."""
    return packages_distributions()


def required_by(requirements: list[Requirement]) -> Iterator[str]:
    """Yield every installed distribution that requirements pull in, with extras and markers."""
    waiting, seen = list(requirements), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ["", *sorted(requirement.extras)]:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                needs = distribution(name).requires or []
            except PackageNotFoundError:
                continue
            if not extra:
                yield name
            for need in map(Requirement, needs):
                if need.marker is None or need.marker.evaluate({"extra": extra}):
                    waiting.append(need)


def test_every_dependency_is_imported(
    declared: dict[str, Requirement], imported: set[str]
) -> None:
    used = {name for module in imported for name in distributions_of(module)}
    assert set(declared) - used == PULLED_IN_BY_NOBODY


def test_every_import_is_a_dependency(
    declared: dict[str, Requirement], imported: set[str]
) -> None:
    """One that only another dependency pulls in may be gone with that one's next version."""
    undeclared = {
        module for module in imported - OPTIONAL if not distributions_of(module) & set(declared)
    }
    assert undeclared == set()


def test_everything_that_is_pulled_in_is_pinned_as_it_is_installed(
    declared: dict[str, Requirement], pyproject: dict[str, Any], pins: dict[str, Version]
) -> None:
    """Of the tools for development, too; ``2.13.0+cpu`` is an installed ``2.13.0``."""
    tools = map(Requirement, pyproject["dependency-groups"]["dev"])
    names = set(required_by([*declared.values(), *tools]))
    assert len(names) > 100
    installed = {name: Version(Version(distribution(name).version).public) for name in names}
    assert {name: pins.get(name) for name in names} == installed


def test_the_pins_lie_within_the_declared_ranges(
    declared: dict[str, Requirement], pins: dict[str, Version]
) -> None:
    outside = [
        str(requirement)
        for name, requirement in declared.items()
        if pins[name] not in requirement.specifier
    ]
    assert outside == []


def test_no_file_of_the_set_up_names_a_registry(repository: Path) -> None:
    for name in ("constraints.txt", "pyproject.toml", "Makefile"):
        text = (repository / name).read_text()
        assert re.findall(r"https?://|git\+|index-url|find-links|file:", text) == [], name
