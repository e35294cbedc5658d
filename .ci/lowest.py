"""Prints the lowest versions that ``pyproject.toml`` allows, as constraints for pip."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1] / "pyproject.toml"

for text in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]:
    requirement = Requirement(text)
    [lowest] = [part.version for part in requirement.specifier if part.operator == ">="]
    print(f"{requirement.name}=={lowest}")
