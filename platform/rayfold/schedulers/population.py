"""Population-based training: the weakest copy the best and continue with changed values."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from rayfold.errors import RecipeError, did_you_mean
from rayfold.options.arguments import checked
from rayfold.options.fields import BelowOne, Count, Flag, Fraction, plain
from rayfold.results import Config, Status, Value, ValueChange
from rayfold.schedulers.base import Decision, Scheduler
from rayfold.space import Choice, SearchSpace
from rayfold.space.domains import Domain

Method: TypeAlias = Literal["pbt", "pb2"]

_CHANGE_WHILE_TRAINING = ("optimizer.", "schedule.", "loss.")


class Population(Scheduler):
    """Trains all trials side by side; every few epochs the weakest copy the best.

    The trials are the population. Every ``interval`` epochs each trial is compared with the last
    scores of the others at such an epoch. One of the worst trials then copies one of the best. It
    takes over the weights and the optimiser's state, fold by fold, and the whole configuration. It
    changes some values of the configuration (``perturb``) and continues at the other's epoch. No
    trial waits for another. Trials take turns if there are more of them than groups. A trial that
    diverges copies the best one at once.

    These values may change: numbers under ``optimizer.``, ``schedule.`` and ``loss.``, the batch
    size, and rates of dropout. Parameters that change the shape of weights, or decide whether
    others apply, never change.

    Args:
        interval: Epochs between two comparisons of a trial.
        quantile: Share of the population that counts as worst, and as best; at most a half.
        resample_probability: Probability that a value is drawn anew from its domain. Otherwise a
            number is multiplied by 0.8 or 1.2, and a choice moves to a neighbour. ``"pb2"``
            ignores it.
        perturb: Names of the parameters that change; empty: all that may.
        restart: Whether to restart when the best score has not improved for ``patience``
            intervals. Then each trial that is not among the best continues from one that is, with
            its weights shrunk and perturbed and all values drawn anew. There is no restart when
            fewer than ``patience`` intervals are left.
        patience: Intervals without a better score before a restart.
        shrink: Factor of the weights in a restart; a tenth of fresh weights is added.
        method: ``"pbt"`` changes values at random. ``"pb2"`` chooses them by a Gaussian process
            of the scores' improvement over values and time.

    Raises:
        RecipeError: If an argument is out of range.

    References:
        Jaderberg et al., "Population Based Training of Neural Networks", arXiv 1711.09846 (pbt).
        Parker-Holder et al., "Provably Efficient Online Hyperparameter Optimization with
        Population-Based Bandits", NeurIPS 2020 (pb2). "Iterated Population Based Training with
        Task-Agnostic Restarts", arXiv 2511.09190 (restarts).
    """

    fold_order = "together"
    trains_side_by_side = True
    changes_values = True
    runs_in_tune = True

    @checked
    def __init__(
        self,
        *,
        interval: Count = 1,
        quantile: Annotated[float, Field(strict=True, gt=0, le=0.5), plain] = 0.25,
        resample_probability: BelowOne = 0.25,
        perturb: Sequence[str] = (),
        method: Method = "pbt",
        restart: Flag = False,
        patience: Count = 3,
        shrink: Fraction = 0.4,
    ) -> None:
        self.interval, self.quantile = interval, quantile
        self.resample_probability = resample_probability
        if isinstance(perturb, str) or not all(isinstance(name, str) for name in perturb):
            raise RecipeError(f"perturb must be a list of parameters' names, got {perturb!r}.")
        self.perturb = tuple(perturb)
        self.method, self.restart = method, restart
        self.patience, self.shrink = patience, shrink

    def settings(self) -> dict[str, Any]:
        """Return ``{"population": {"interval": 1, ..., "method": "pbt"}}``."""
        return {
            "population": {
                "interval": self.interval,
                "quantile": self.quantile,
                "resample_probability": self.resample_probability,
                "perturb": list(self.perturb),
                "method": self.method,
                "restart": self.restart,
                "patience": self.patience,
                "shrink": self.shrink,
            }
        }

    @property
    def milestones(self) -> tuple[int, ...]:
        """The epochs after which trials are compared, without the last epoch."""
        return tuple(range(self.interval, self.epochs, self.interval))

    def parameters(self, space: SearchSpace) -> tuple[str, ...]:
        """Return the names of the parameters of a space that change.

        Raises:
            RecipeError: If one of ``perturb`` is unknown or must not change, or none may change.
        """
        for name in self.perturb:
            if name not in space:
                hint = did_you_mean(name, space.names)
                raise RecipeError(
                    f"perturb: {name!r} is not searched{hint}; name parameters of the space, "
                    f"{', '.join(space.names)}."
                )
            if reason := fixed_while_training(name, space):
                raise RecipeError(f"perturb: {name} {reason}; leave it out.")
        names = self.perturb or tuple(
            name
            for name in space
            if _is_changeable(name) and not fixed_while_training(name, space)
        )
        if not names:
            raise RecipeError(
                "nothing in the space may change while a model trains; search "
                "optimizer.learning_rate, say, or name what may change in perturb."
            )
        return names

    def check(self, space: SearchSpace, configs: Sequence[Config]) -> None:
        """Check that parameters of the space can change; see ``parameters``."""
        self.parameters(space)

    def value_changes(self, space: SearchSpace) -> Iterator[ValueChange]:
        """Yield both ends of each model parameter, with all others in the middle."""
        middle = {name: domain.from_unit(0.5) for name, domain in space.items()}
        for name in self.parameters(space):
            if not name.startswith("model."):
                continue
            needed = {condition.parameter: condition.values[0] for condition in space[name].when}
            values = {**middle, **needed}
            active = {other: values[other] for other in (*space.active(values), name)}
            low, high = ({**active, name: space[name].from_unit(unit)} for unit in (0.0, 1.0))
            yield ValueChange(f"perturb: {name}", low, high)

    def _begin(self) -> None:
        if self.interval >= self.epochs:
            raise RecipeError(
                f"interval must be below the study's epochs, {self.epochs}, not {self.interval}; "
                "lower it, or give the study more epochs."
            )

    def _decide(self, trial: str, scores: dict[int, float], epoch: int) -> Decision:
        """Stop no trial: Ray Tune's schedulers compare them, see ``tuning.population``."""
        return "go on"

    def _end(self, trial: str, status: Status) -> None:
        """Do nothing."""


def _is_changeable(name: str) -> bool:
    if name == "batch_size" or name.startswith(_CHANGE_WHILE_TRAINING):
        return True
    return name.startswith("model.") and "dropout" in name


def fixed_while_training(name: str, space: SearchSpace) -> str:
    """Say why a parameter must not change while a model trains; empty if it may."""
    if not all(_is_number(value) for value in _values(space[name])):
        return "is no number, and has to stay what it is while a model trains"
    for other, domain in space.items():
        if any(condition.parameter == name for condition in domain.when):
            return f"decides whether {other} applies"
    return ""


def _values(domain: Domain) -> tuple[Value, ...]:
    return domain.values if isinstance(domain, Choice) else domain.extremes


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
