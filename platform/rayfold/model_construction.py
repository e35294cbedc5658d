"""Models built from configurations: the arguments of their constructors."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rayfold.errors import ModelError, did_you_mean
from rayfold.results import Config

if TYPE_CHECKING:
    from torch import nn

DATA_ARGUMENTS = ("input_shape", "input_shapes", "num_outputs")
"""Arguments of constructors that are filled in from the data."""

_PREFIX = "model."
_KEYWORD_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def model_arguments(
    model_class: type[nn.Module],
    config: Config,
    *,
    input_shapes: Sequence[Sequence[int]],
    num_outputs: int,
) -> dict[str, Any]:
    """Return the constructor's arguments: the configuration's ``model.*`` and the data's.

    Args:
        model_class: The model.
        config: A configuration; only ``model.*`` is used.
        input_shapes: Shape of a row of each feature array.
        num_outputs: Classes, or values to predict.

    Returns:
        Keyword arguments with plain values, including those of ``input_shape``, ``input_shapes``
        and ``num_outputs`` that the constructor names.

    Raises:
        ModelError: If the constructor needs one ``input_shape``, and there are several arrays.
    """
    arguments: dict[str, Any] = {
        name.removeprefix(_PREFIX): value
        for name, value in config.items()
        if name.startswith(_PREFIX)
    }
    keywords = _keywords(model_class)
    shapes = tuple(tuple(int(size) for size in shape) for shape in input_shapes)
    if "input_shape" in keywords:
        if len(shapes) == 1:
            arguments["input_shape"] = shapes[0]
        elif _is_required(keywords["input_shape"]):
            raise ModelError(
                f"{model_class.__name__} takes one feature array (input_shape), but the data has "
                f"{len(shapes)}; name one in features, or use a model that takes input_shapes."
            )
    if "input_shapes" in keywords:
        arguments["input_shapes"] = shapes
    if "num_outputs" in keywords:
        arguments["num_outputs"] = int(num_outputs)
    return arguments


def check_model(model_class: type[nn.Module], names: Iterable[str]) -> None:
    """Check that the constructor takes every ``model.*`` hyperparameter, and lacks none.

    Args:
        model_class: The model.
        names: All names that are searched or fixed; only ``model.*`` is checked.

    Raises:
        ModelError: If a hyperparameter is not a keyword of the constructor or is filled in from
            the data, or if a keyword without a default is not among ``names``.
    """
    given = {name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)}
    keywords = _keywords(model_class)
    own = tuple(name for name in keywords if name not in DATA_ARGUMENTS)
    takes = ", ".join(_PREFIX + name for name in own) or "no hyperparameters"
    for name in sorted(given):
        if name in DATA_ARGUMENTS:
            raise ModelError(f"model.{name} is filled in from the data; leave it out.")
        if name not in keywords and not _takes_any_keyword(model_class):
            raise ModelError(
                f"model.{name} is no argument of {model_class.__name__}{did_you_mean(name, own)}; "
                f"it takes {takes}."
            )
    for name in own:
        if _is_required(keywords[name]) and name not in given:
            raise ModelError(
                f"{model_class.__name__} needs model.{name}; search it, or give it a value in "
                "fixed.parameters."
            )


def takes_any_shape(model_class: type[nn.Module]) -> bool:
    """Tell whether a model is Rayfold's and flattens its rows, so that any shape is allowed."""
    is_ours = model_class.__module__.partition(".")[0] == "rayfold"
    return is_ours and "input_shape" not in _keywords(model_class)


def build_model(model_class: type[nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    """Build a model; its constructor changes neither the given arguments nor the process.

    Args:
        model_class: The model.
        arguments: Keyword arguments, as ``model_arguments`` returns them; the model gets copies.

    Raises:
        ModelError: If the constructor refuses the arguments.
    """
    from rayfold.isolation import isolated

    try:
        with isolated():
            return model_class(**copy.deepcopy(dict(arguments)))
    except Exception as error:
        given = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        raise ModelError(
            f"{model_class.__name__}({given}) cannot be built: {_one_line(error)}"
        ) from error


def _parameters(model_class: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(model_class).parameters


def _keywords(model_class: type) -> dict[str, inspect.Parameter]:
    """Return the constructor's parameters that can be given by keyword."""
    keywords = {}
    for name, parameter in _parameters(model_class).items():
        if parameter.kind in _KEYWORD_KINDS:
            keywords[name] = parameter
        elif parameter.kind is inspect.Parameter.POSITIONAL_ONLY and _is_required(parameter):
            raise ModelError(
                f"{model_class.__name__} takes {name!r} by position only; "
                "take it by keyword, or give it a default."
            )
    return keywords


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty


def _takes_any_keyword(model_class: type) -> bool:
    return any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD
        for parameter in _parameters(model_class).values()
    )


def _one_line(error: BaseException) -> str:
    """Return an error's kind and the first line of its message, without the full stop."""
    first_line = str(error).strip().partition("\n")[0].removesuffix(".")
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
