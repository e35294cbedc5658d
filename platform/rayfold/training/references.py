"""Classes that a study names: learners, strategies, losses, metrics, optimisers, schedules."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayfold.registry import Registry, is_reference
from rayfold.space import Choice, SearchSpace
from rayfold.training.losses import LOSSES
from rayfold.training.metrics import METRICS
from rayfold.training.optimizers import OPTIMIZERS
from rayfold.training.schedules import SCHEDULES
from rayfold.user_code import SourceCode

if TYPE_CHECKING:
    from rayfold.training.learners import Learner
    from rayfold.training.strategies import Strategy

LEARNERS: Registry["Learner"] = Registry(
    "learner",
    "rayfold.training:Learner",
    {"supervised": "rayfold.training.learners.supervised:Supervised"},
)

STRATEGIES: Registry["Strategy"] = Registry(
    "strategy",
    "rayfold.training:Strategy",
    {"all_reduce": "rayfold.training.strategies.all_reduce:AllReduce"},
)

_OTHERS: Mapping[str, Registry[Any]] = {
    registry.what: registry for registry in (LOSSES, METRICS, OPTIMIZERS, SCHEDULES)
}


def references_in(
    loss: str | type | None,
    metrics: Sequence[str | type],
    parameters: Mapping[str, Any],
    space: SearchSpace,
) -> dict[str, list[str | type]]:
    """Return the losses, metrics, optimisers and schedules that a study names by reference.

    Args:
        loss: The study's loss.
        metrics: The study's metrics.
        parameters: Hyperparameters that are not searched.
        space: The search space.

    Returns:
        References and classes by kind, such as ``{"loss": ["./focal.py:Focal"]}``.
    """
    named: dict[str, list[Any]] = {"loss": [loss], "metric": [*metrics]}
    for name in ("optimizer.name", "schedule.name"):
        domain = space.get(name)
        searched = domain.values if isinstance(domain, Choice) else ()
        named[name] = [*searched, parameters.get(name)]
    found = {what: [*filter(is_reference, given)] for what, given in named.items()}
    return {what: given for what, given in found.items() if given}


def read_references(
    named: Mapping[str, Iterable[str | type]], *, base: Path | None = None
) -> dict[str, SourceCode]:
    """Return the code of the classes that ``references_in`` found, by reference.

    Args:
        named: References and classes by kind.
        base: Folder that files are relative to; None is the current folder.

    Raises:
        ModelError: If a file cannot be read.
    """
    sources = [
        _OTHERS[what].source(given, base=base) for what, each in named.items() for given in each
    ]
    return {source.reference: source for source in sources}
