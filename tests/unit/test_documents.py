import datetime
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rayfold.documents import read_file, read_yaml, write_yaml
from rayfold.errors import RecipeError


def read(text: str) -> Any:
    return read_yaml(text, source="digits.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-1.5e+2", -150.0),
        (".5e3", 500.0),
        ("-.inf", -math.inf),
        ("12", 12),
        ("+3", 3),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("'1e-3'", "1e-3"),
        ("!!str 1", "1"),
        ("!!float 3", 3.0),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    result = read(f"a: {text}")["a"]
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("text", ["no", "yes", "off", "y", "2026-11-01", "12:30", "1_000", "0b11"])
def test_what_other_versions_take_for_something_else_is_text(text: str) -> None:
    assert read(f"a: {text}") == {"a": text}
    assert read(f"%YAML 1.1\n---\na: {text}") == {"a": text}


def test_nan_is_read() -> None:
    assert math.isnan(read(".nan"))


def test_an_empty_document_is_none() -> None:
    assert read("") is None
    assert read("# nothing\n") is None


def test_aliases_are_written_out_as_separate_values() -> None:
    document = read("a: &shared [1, 2]\nb: *shared\n")
    assert document == {"a": [1, 2], "b": [1, 2]}
    assert document["a"] is not document["b"]


def test_an_anchor_may_be_given_again() -> None:
    assert read("a: &x 1\nb: &x 2\nc: *x") == {"a": 1, "b": 2, "c": 2}


def test_a_repeated_key_is_refused_with_both_lines() -> None:
    expected = (
        r"^digits.yaml line 3: the key 'epochs' stands here again, first in line 1; keep one"
    )
    with pytest.raises(RecipeError, match=expected):
        read("epochs: 1\nmodel: cnn\nepochs: 2\n")


def test_a_key_repeated_in_quotes_is_refused() -> None:
    with pytest.raises(RecipeError, match="the key 'a' stands here again"):
        read("outer: {a: 1, 'a': 2}")


@pytest.mark.parametrize("key", ["1", "1.5", "true", "~", "[1, 2]", "{b: 1}"])
def test_keys_that_are_not_text_are_refused(key: str) -> None:
    with pytest.raises(RecipeError, match=r"line 2: keys must be text, got .*; put it in quotes"):
        read(f"a: 1\n? {key}\n: 2\n")


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a:\n\t- 1",
        "- a\nb: c",
        "a: b: c",
        "a: 'open",
        "a: *unknown",
        "a: 1\n---\nb: 2\n",
        "a: \x00",
        "%YAML 9.9.9\n---\na: 1",
    ],
)
def test_broken_documents_are_refused_in_one_line_that_names_the_file(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^digits\.yaml.*: this is not YAML: .*\.$") as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_the_line_of_a_mistake_is_named() -> None:
    with pytest.raises(RecipeError, match=r"^digits\.yaml line 2: this is not YAML"):
        read("a: 1\nb: c: d\n")


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!own", "!!timestamp", "!!binary", "!!set"]
)
def test_tags_beyond_plain_values_are_refused(tag: str) -> None:
    with pytest.raises(RecipeError, match=r"line 1: the tag .* is not allowed; give plain values"):
        read(f"a: {tag} x")


@pytest.mark.parametrize("text", ["!!int x", "!!float x", "!!bool no", "9" * 5000])
def test_scalars_that_do_not_fit_their_type_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"line 1: cannot read '.*' as (int|float|bool)\.$"):
        read(f"a: {text}")


def test_a_document_that_contains_itself_is_refused() -> None:
    with pytest.raises(RecipeError, match="nested more than 64 levels"):
        read("a: &a [*a]")


@pytest.mark.parametrize("depth", [100, 10_000])
def test_a_deeply_nested_document_is_refused(depth: int) -> None:
    with pytest.raises(RecipeError, match="depth"):
        read("[" * depth + "]" * depth)


def test_an_explosion_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 9):
        aliases = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    with pytest.raises(RecipeError, match="stand for more than 100000 values"):
        read("\n".join(lines))


@pytest.mark.parametrize(
    "value",
    [
        {"z": 1, "a": {"list": [1, 2.5, "x", True, None], "empty": {}, "none": []}},
        ["no", "1e-3", ".5e3", "true", "null", "~", "", "12", "0o17", "2026-11-01", "1_000"],
        ["?x", "x\x85", "word " * 60, "a" * 300],
        {"?x": 1, "": 2, "a  b": 3, "true": 4},
        [
            "a: b",
            "# no comment",
            "- x",
            "*x",
            "&x",
            "!x",
            "%x",
            "@x",
            "line\nline",
            " x ",
            "ü",
            "'",
        ],
        [1e-05, 1e22, 0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, 2.0, 1e16],
        [2**70, -1, 0],
        "text",
        7,
    ],
)
def test_what_is_written_is_read_back(value: Any) -> None:
    result = read(write_yaml(value))
    assert result == value
    assert repr(result) == repr(value)


def test_keys_keep_their_order_and_short_lists_stay_on_their_line() -> None:
    written = write_yaml({"model.channels": {"int": [8, 64], "log": True}, "a": (1, 2)})
    assert written == "model.channels:\n  int: [8, 64]\n  log: true\na: [1, 2]\n"


def test_lists_that_occur_twice_are_written_twice() -> None:
    shared = [1, 2]
    assert write_yaml({"a": shared, "b": shared}) == "a: [1, 2]\nb: [1, 2]\n"


@pytest.mark.parametrize(
    "value", [np.float64(1.0), object(), {1, 2}, b"x", datetime.date(2026, 1, 1)]
)
def test_only_plain_values_are_written(value: Any) -> None:
    with pytest.raises(TypeError, match="expected plain values to write as YAML"):
        write_yaml({"a": value})


class TestReadFile:
    """What a file is, is looked at before it is opened; what it holds, is read within bounds."""

    def test_a_pipe_is_refused_instead_of_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.yaml")
        with pytest.raises(RecipeError, match=r"pipe\.yaml is no regular file; copy the recipe"):
            read_file(tmp_path / "pipe.yaml", "recipe")

    def test_a_device_that_never_ends_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "zero.yaml").symlink_to("/dev/zero")
        with pytest.raises(RecipeError, match="is no regular file; copy the search space"):
            read_file(tmp_path / "zero.yaml", "search space")

    def test_a_large_file_is_read_in_part_only(self, tmp_path: Path) -> None:
        path = tmp_path / "large.yaml"
        with path.open("wb") as file:
            file.truncate(2**40)  # takes no room on the disk
        with pytest.raises(RecipeError, match="has more than 4,194,304 bytes, too many for a rec"):
            read_file(path, "recipe")

    @pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
    def test_a_name_that_no_file_can_have_is_told_in_one_line(self, name: str) -> None:
        with pytest.raises(RecipeError, match="cannot read the recipe: ") as caught:
            read_file(Path(name), "recipe")
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400
