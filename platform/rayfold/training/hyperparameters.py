"""The dotted names that a configuration may hold, checked before anything is trained."""

from collections.abc import Mapping, Sequence

from torch import nn

from rayfold.errors import RecipeError, did_you_mean
from rayfold.model_construction import check_model
from rayfold.results import MAX_COUNT, Config, Value
from rayfold.space import SearchSpace
from rayfold.space.values import show
from rayfold.training.optimizers import check_optimizer
from rayfold.training.schedules import check_schedule
from rayfold.user_code import SourceCode

PREFIXES = ("model", "optimizer", "schedule", "loss")
DEFAULT_BATCH_SIZE = 64


def section(config: Config, prefix: str) -> dict[str, Value]:
    """Return the part of ``config`` under ``prefix.``, without that prefix."""
    start = f"{prefix}."
    return {name.removeprefix(start): v for name, v in config.items() if name.startswith(start)}


def check_hyperparameters(
    space: SearchSpace,
    fixed: Config,
    *,
    model_class: type[nn.Module],
    loss: str,
    loss_parameters: Sequence[str],
    code: Mapping[str, SourceCode] | None = None,
) -> None:
    """Check that every searched or fixed hyperparameter reaches something that takes it.

    Args:
        space: What is searched.
        fixed: What is not searched, dotted name to value.
        model_class: Takes what is under ``model.``.
        loss: Name or reference of the loss.
        loss_parameters: Arguments of the loss, searched or fixed as ``loss.`` and the argument.
        code: The code of optimisers and schedules that are named by reference.

    Raises:
        RecipeError: If a name is unknown, or both searched and fixed.
    """
    both = [name for name in fixed if name in space]
    if both:
        raise RecipeError(f"{both[0]} is both searched and fixed; remove one of the two.")
    for name in [*space.names, *fixed]:
        prefix, dot, _ = name.partition(".")
        if name != "batch_size" and (not dot or prefix not in PREFIXES):
            known = ("batch_size", *(f"{prefix}." for prefix in PREFIXES))
            hint = did_you_mean(f"{prefix}{dot}", known)
            raise RecipeError(
                f"parameter {name!r} is unknown{hint}; names are "
                f"batch_size or begin with {', '.join(known[1:])}."
            )
    _check_batch_size(space, fixed)
    check_model(model_class, [*space.names, *fixed])
    check_optimizer(space, fixed, code)
    check_schedule(space, fixed, code)
    for name in [*space.names, *fixed]:
        short = name.removeprefix("loss.")
        if name.startswith("loss.") and short not in loss_parameters:
            raise RecipeError(
                f"{name} does not belong to loss {loss!r}"
                f"{did_you_mean(short, tuple(loss_parameters))}, which takes "
                f"{', '.join(loss_parameters) or 'none'}."
            )


def _check_batch_size(space: SearchSpace, fixed: Config) -> None:
    fixed_size = fixed.get("batch_size", DEFAULT_BATCH_SIZE)
    for value in space["batch_size"].extremes if "batch_size" in space else [fixed_size]:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RecipeError(f"batch_size must be a whole number of at least 1, not {value!r}.")
        if value > MAX_COUNT:
            raise RecipeError(f"batch_size must be at most {MAX_COUNT}, not {show(value)}.")
