"""What is in the wheel and in the sdist, and that both work where the repository is not."""

import json
import tarfile
import zipfile
from collections.abc import Callable
from email import message_from_string
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

Python = Callable[[str], str]


def test_a_model_is_imported_from_the_installed_package(
    python_beside: Python, installed: Path
) -> None:
    code = "from rayfold.models import cnn; print(cnn.CNN.__module__, cnn.__file__)"
    module, file = python_beside(code).split()
    assert module == "rayfold.models.cnn"
    assert file == str(installed / "rayfold/models/cnn.py")


def test_the_library_reads_a_search_space_and_finds_its_model(python_beside: Python) -> None:
    code = """
from rayfold.library import resolve_model, resolve_space
from rayfold.model_construction import check_model
space = resolve_space("cnn")
check_model(resolve_model("cnn"), space)
print(",".join(space))
"""
    assert "optimizer.learning_rate" in python_beside(code).strip().split(",")


def test_the_recipe_schema_is_the_present_one(python_beside: Python, installed: Path) -> None:
    shipped = (installed / "rayfold/recipe/recipe.schema.json").read_text()
    schema = python_beside("from rayfold.recipe.recipe import schema_text; print(schema_text())")
    assert json.loads(shipped) == json.loads(schema)


def test_the_package_says_that_it_is_typed(installed: Path) -> None:
    assert (installed / "rayfold/py.typed").is_file()


def test_the_command_is_installed(installed: Path) -> None:
    script = (installed / "bin/rayfold").read_text()
    assert "from rayfold.cli import main" in script


def test_the_licence_is_apache_2(installed: Path, repository: Path) -> None:
    [information] = installed.glob("rayfold-*.dist-info")
    metadata = message_from_string((information / "METADATA").read_text())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    licence = (information / "licenses/LICENSE").read_text()
    assert licence == (repository / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence


def test_the_wheel_holds_the_package_and_nothing_else(distributions: dict[str, Path]) -> None:
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"rayfold", "rayfold-0.1.0.dist-info"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_wheel_holds_every_tracked_file_of_the_package(
    distributions: dict[str, Path], repository: Path
) -> None:
    """Also those behind the two links, which some build tools leave out."""
    with zipfile.ZipFile(distributions["wheel"]) as wheel:
        shipped = set(wheel.namelist())
    for folder in ("models", "search_spaces"):
        files = {path.name for path in (repository / folder).iterdir() if path.is_file()}
        assert {f"rayfold/{folder}/{name}" for name in files} <= shipped


def test_the_sdist_holds_no_link(distributions: dict[str, Path]) -> None:
    """A link would point outside of the package when it is unpacked on another system."""
    with tarfile.open(distributions["sdist"]) as sdist:
        links = [member.name for member in sdist if member.issym() or member.islnk()]
    assert links == []
