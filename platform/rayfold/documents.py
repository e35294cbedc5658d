"""YAML 1.2 documents, read strictly and written back.

Recipes and search spaces are read here. Scalars follow the core schema of YAML 1.2 and nothing
else: ``1e-3`` is a number, ``no`` and ``2026-11-01`` are text. Keys are text, and given once.
Whatever could stand for more than plain values (foreign tags, circles, explosions of aliases)
is refused.
"""

import re
import stat
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import RepresenterError, SafeRepresenter
from ruamel.yaml.resolver import BaseResolver

from rayfold.errors import RecipeError, nearest
from rayfold.storage import short_path

MAX_DEPTH = 64
"""How many levels a document may be nested."""

MAX_VALUES = 100_000
"""How many values a document may hold, with every alias written out."""


MAX_BYTES = 4 * 2**20
"""Bytes that a document may have."""


def read_file(path: Path, what: str) -> str:
    """Return the text of a file that a person has written; it is looked at before it is opened.

    Args:
        path: The file.
        what: What errors call it, such as ``recipe``.

    Raises:
        RecipeError: If there is no such file, it is no regular one (opening a pipe would wait for
            its writer, a device may never end), it is too large, or no UTF-8.
    """
    shown = short_path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise RecipeError(f"{shown} is a folder; give the {what}'s YAML file.")
        if not stat.S_ISREG(status.st_mode):
            raise RecipeError(f"{shown} is no regular file; copy the {what} into one.")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except RecipeError:
        raise
    except FileNotFoundError:
        names = {file.stem: file.name for file in sorted(path.parent.glob("*.y*ml"))}
        close = nearest(
            path.stem, list(names)
        )  # names that have their ending alone in common differ
        hint = f" (did you mean {names[close]!r}?)" if close else ""
        raise RecipeError(f"{shown}: there is no such {what}{hint}.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        reason = reason or type(error).__name__
        raise RecipeError(f"{shown}: cannot read the {what}: {reason}.") from None
    if len(data) > MAX_BYTES:
        raise RecipeError(
            f"{shown} has more than {MAX_BYTES:,} bytes, too many for a {what}; name another file."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RecipeError(f"{shown}: a {what} is UTF-8 text, and this file is not.") from None


def read_yaml(text: str, *, source: str) -> Any:
    """Return a document as plain dicts, lists and scalars.

    Args:
        text: One YAML document; an empty one is None.
        source: What the errors name, such as the name of the file.

    Raises:
        RecipeError: If the document is not YAML, repeats a key, has a key that is not text, uses
            tags beyond YAML's own scalars, or is nested or expanded without bounds. The message
            is one line, such as ``digits.yaml line 3: the key 'epochs' stands here again ...``.
    """
    yaml = _yaml()
    yaml.max_depth = MAX_DEPTH
    yaml.composer.warn_double_anchors = False  # giving an anchor again is legal
    try:
        node = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, [error.context, error.problem]))
        raise _error(source, mark, f"this is not YAML: {problem}.") from None
    except YAMLError as error:
        first_line = str(error).strip().partition("\n")[0]
        raise _error(source, None, f"this is not YAML: {first_line}.") from None
    return None if node is None else _Builder(source).value(node)


def write_yaml(value: Any) -> str:
    """Return a document that ``read_yaml`` reads back as ``value``.

    Args:
        value: Nested dicts, lists, tuples (read back as lists) and plain scalars. Keys keep
            their order.

    Raises:
        TypeError: If ``value`` holds anything else, a NumPy scalar for example.
    """
    yaml = _yaml()
    yaml.Representer = _Representer
    yaml.default_flow_style = None  # innermost lists and mappings on one line
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 99
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    try:
        yaml.dump(value, stream)
    except RepresenterError as error:
        raise TypeError(f"expected plain values to write as YAML; {error}.") from None
    return stream.getvalue().removesuffix("...\n")


class _CoreSchema(BaseResolver):
    """Tells plain scalars apart by YAML 1.2's core schema, whatever ``%YAML`` says."""

    def __init__(self, version: Any = None, loader: Any = None) -> None:
        super().__init__(loader)
        self._loader_version = version

    @property
    def processing_version(self) -> tuple[int, int]:
        return (1, 2)


_TAG = "tag:yaml.org,2002:"

for _name, _pattern, _first in [
    ("null", r"(?:null|Null|NULL|~|)", [*"nN~", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", [*"tTfF"]),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", [*"-+0123456789"]),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        [*"-+.0123456789"],
    ),
]:
    _CoreSchema.add_implicit_resolver_base(_TAG + _name, re.compile(_pattern + r"\Z"), _first)


class _Representer(SafeRepresenter):
    """Writes plain values only, and a list that occurs twice twice instead of by an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> Any:
        # ruamel.yaml leaves some texts plain that it cannot read back, "?x" in a list for one
        style = None if _PLAIN_TEXT.fullmatch(data) else '"'
        return self.represent_scalar(_TAG + "str", data, style=style)


_PLAIN_TEXT = re.compile(r"[A-Za-z_./][A-Za-z0-9_./ -]*")

_Representer.yaml_representers = {
    kind: SafeRepresenter.yaml_representers[kind]
    for kind in (dict, list, tuple, int, float, bool, type(None), None)
} | {str: _Representer.represent_str}


class _Builder:
    """Turns YAML's nodes into plain values and counts them."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._num_values = 0

    def value(self, node: Node, depth: int = 0) -> Any:
        self._num_values += 1
        if self._num_values > MAX_VALUES:
            raise self._error(node, f"the aliases stand for more than {MAX_VALUES} values.")
        if depth > MAX_DEPTH:
            raise self._error(node, f"values are nested more than {MAX_DEPTH} levels deep.")
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, depth)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, depth + 1) for item in node.value]
        if isinstance(node, ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node)
        raise self._error(node, f"the tag {_short(node.tag)} is not allowed; give plain values.")

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self.value(key_node, depth + 1)
            if not isinstance(key, str):
                raise self._error(key_node, f"keys must be text, got {key!r}; put it in quotes.")
            if key in result:
                raise self._error(
                    key_node,
                    f"the key {key!r} stands here again, first in line {lines[key]}; keep one.",
                )
            result[key] = self.value(value_node, depth + 1)
            lines[key] = key_node.start_mark.line + 1
        return result

    def _scalar(self, node: ScalarNode) -> Any:
        try:
            return _SCALARS[str(node.tag)](node.value)
        except (ValueError, KeyError):
            kind = str(node.tag).removeprefix(_TAG)
            raise self._error(node, f"cannot read {_short(node.value)} as {kind}.") from None

    def _error(self, node: Node, message: str) -> RecipeError:
        return _error(self._source, node.start_mark, message)


def _to_int(text: str) -> int:
    return int(text, 0) if text.startswith(("0x", "0o")) else int(text)


def _to_float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Callable[[str], Any]] = {
    _TAG + "null": lambda text: None,
    _TAG + "bool": lambda text: {"true": True, "false": False}[text.lower()],
    _TAG + "int": _to_int,
    _TAG + "float": _to_float,
    _TAG + "str": str,
}


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver = _CoreSchema
    return yaml


def _error(source: str, mark: Any, message: str) -> RecipeError:
    place = source if mark is None else f"{source} line {mark.line + 1}"
    return RecipeError(f"{place}: {message}")


def _short(text: str | None) -> str:
    return repr(text) if text is None or len(text) <= 40 else repr(text[:37] + "...")
