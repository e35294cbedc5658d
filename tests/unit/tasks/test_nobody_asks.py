"""Only ``rayfold.tasks`` knows which tasks there are; everybody else asks the task."""

import ast
from pathlib import Path

from rayfold.tasks import TASKS

PACKAGE = Path(__file__).parents[3] / "platform" / "rayfold"


def test_no_other_module_names_a_task() -> None:
    classes = {type(task).__name__ for task in TASKS.values()}
    found = []
    for file in PACKAGE.rglob("*.py"):
        place = file.relative_to(PACKAGE)
        if place.parts[0] in ("tasks", "testing"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            text = node.value if isinstance(node, ast.Constant) else None
            name = node.id if isinstance(node, ast.Name) else None
            if (isinstance(text, str) and text in TASKS) or name in classes:
                found.append(f"{place}:{getattr(node, 'lineno', 0)}")
    assert found == []
