from pathlib import Path

import pytest

from rayfold.errors import RecipeError, SpaceError
from rayfold.space import Float, SearchSpace, load_space


def test_a_space_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("# a comment: ü\nrate: {float: [1e-3, 1], log: true}\n", encoding="utf-8")
    assert (
        load_space(path)
        == load_space(str(path))
        == SearchSpace({"rate": Float(1e-3, 1, log=True)})
    )


def test_a_written_space_is_read_back(tmp_path: Path) -> None:
    space = SearchSpace({"rate": Float(1e-3, 1, log=True)})
    path = tmp_path / "space.yaml"
    path.write_text(space.to_yaml(), encoding="utf-8")
    assert load_space(path) == space


def test_the_file_is_named_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("rate: {float: [1, 0]}\n")
    with pytest.raises(SpaceError, match=r"space\.yaml: rate: Float: low must be below high"):
        load_space(path)
    path.write_text("rate: {float: [1, 0]\n")
    with pytest.raises(RecipeError, match=r"space\.yaml line \d: this is not YAML"):
        load_space(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"absent\.yaml: there is no such search space"):
        load_space(tmp_path / "absent.yaml")
    with pytest.raises(SpaceError, match="is a folder; give the search space's YAML file"):
        load_space(tmp_path)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"\x89HDF\r\n\x1a\n\xff")
    with pytest.raises(SpaceError, match=r"space\.yaml: a search space is UTF-8 text"):
        load_space(path)
