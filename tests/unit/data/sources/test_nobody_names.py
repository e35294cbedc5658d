"""Only ``rayfold.data`` knows which sources there are; everybody else has one, or asks for one."""

import ast
from pathlib import Path

from rayfold.data.sources.option import SOURCES

PACKAGE = Path(__file__).parents[4] / "platform" / "rayfold"


def test_no_other_module_names_a_source() -> None:
    classes = {kind.__name__ for kind in SOURCES.names.values() if isinstance(kind, type)}
    found = []
    for file in PACKAGE.rglob("*.py"):
        place = file.relative_to(PACKAGE)
        if place.parts[0] in ("data", "testing", "__init__.py"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            named = {
                node.value if isinstance(node, ast.Constant) else None,
                node.id if isinstance(node, ast.Name) else None,
                node.attr if isinstance(node, ast.Attribute) else None,
                node.name if isinstance(node, ast.alias) else None,
            }
            if named & {*classes, *SOURCES.names}:
                found.append(f"{place}:{getattr(node, 'lineno', 0)}")
    assert found == []
