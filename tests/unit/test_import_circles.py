"""No module of Rayfold imports itself by way of others, nor by an import inside a function."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "platform" / "rayfold"


def modules_of(package: Path) -> dict[str, Path]:
    """Return the files of a package by the names of their modules."""
    found = {}
    for file in package.rglob("*.py"):
        parts = file.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from statements(node)


def imports_of(file: Path, known: Mapping[str, Path]) -> set[str]:
    """Return which of the known modules a file imports."""
    names = set()
    for node in statements(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in known else node.module for name in full}
    return names & known.keys()


def circle(package: Path) -> list[str]:
    """Return the modules of a circle, or nothing."""
    known = modules_of(package)
    graph = {name: imports_of(file, known) - {name} for name, file in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert len(modules_of(PACKAGE)) > 100
    assert circle(PACKAGE) == []


@pytest.mark.parametrize(
    "text",
    [
        "from package import one\n",
        "def f():\n    import package.one\n",
        "from package.one import name\n",
    ],
)
def test_a_circle_is_found_inside_functions_too(tmp_path: Path, text: str) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "one.py").write_text("from package.two import f\n")
    (package / "two.py").write_text(text)
    assert set(circle(package)) == {"package.one", "package.two"}


def test_imports_for_type_checkers_make_no_circle(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "one.py").write_text("import package.two\n")
    text = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import package.one\n"
    (package / "two.py").write_text(text)
    assert circle(package) == []
