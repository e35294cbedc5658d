"""Arguments of a study that come in several forms: limits of time, searchers, schedulers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rayfold import search
from rayfold.data import SubProblems
from rayfold.errors import RecipeError
from rayfold.groups.plan import Groups
from rayfold.orders import FoldOrder
from rayfold.results import MAX_COUNT
from rayfold.schedulers import Population, Replay, Scheduler
from rayfold.search import Searcher
from rayfold.space import SearchSpace
from rayfold.space.values import show
from rayfold.transfer import InitialWeights, StartFrom

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler


def check_limit(name: str, value: object) -> float | None:
    """Return a time limit, checked; None is none.

    Raises:
        RecipeError: If it is no number above 0.
    """
    return None if value is None else check_seconds(name, value)


def check_seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return a number of seconds above 0, or of at least 0.

    Raises:
        RecipeError: If it is none.
    """
    if isinstance(value, int | float) and value > MAX_COUNT:
        raise RecipeError(f"{name} must be at most {MAX_COUNT} seconds, not {show(value)}.")
    number = float(value) if isinstance(value, int | float) else -1.0
    if not isinstance(value, bool) and (number > 0 or (number == 0 and zero)):
        return number
    least = "of at least 0" if zero else "above 0"
    raise RecipeError(f"{name} must be a number of seconds {least}, not {value!r}.")


def own_searcher(searcher: object) -> Searcher:
    """Return a searcher of ours, be it around one of Ray Tune's."""
    if searcher is None:
        return search.Genetic()
    if isinstance(searcher, Searcher):
        return searcher
    from rayfold.tuning.foreign import ForeignSearcher, is_tune_searcher

    if is_tune_searcher(searcher):
        return ForeignSearcher(searcher)
    raise RecipeError(
        "searcher must be an object of rayfold.search, such as rayfold.search.Bayesian(), or a "
        f"Searcher of ray.tune, got {searcher!r}."
    )


def own_scheduler(scheduler: object) -> "tuple[Scheduler | None, TrialScheduler | None]":
    """Return a scheduler as one of ours or as one of Ray Tune's."""
    if scheduler is None or isinstance(scheduler, Scheduler):
        return scheduler, None
    from rayfold.tuning.foreign import is_tune_scheduler

    if is_tune_scheduler(scheduler):
        return None, scheduler
    raise RecipeError(
        "scheduler must be an object of rayfold.schedulers, such as rayfold.schedulers.Racing(), "
        f"or a TrialScheduler of ray.tune, got {scheduler!r}."
    )


def check_start(
    start_from: str | Sequence[str] | None,
    rename: Mapping[str, str] | None,
    prune_space: bool,
    searcher: Searcher,
    space: SearchSpace,
) -> StartFrom | None:
    """Return what a study is to start from, checked; None: it starts cold.

    Raises:
        RecipeError: If an argument is wrong or has nothing to act on, or the searcher takes no
            past.
    """
    if start_from is None:
        for name, value in (("rename", rename), ("prune_space", prune_space)):
            if value:
                raise RecipeError(
                    f"{name} needs a past; give start_from (search.start_from in a recipe) too."
                )
        return None
    if not searcher.opens_with_past:
        raise RecipeError(
            f"the searcher {next(iter(searcher.settings()))} tries what it is given and no past; "
            "leave start_from out, or use another searcher."
        )
    wanted = StartFrom(start_from, rename, prune_space)
    wanted.check(space)
    return wanted


def check_initial_weights(
    given: InitialWeights | str | Sequence[str] | None, epochs: int
) -> InitialWeights | None:
    """Return what trials are to begin with, checked; None: all begin cold.

    Raises:
        RecipeError: If an argument is wrong.
    """
    wanted = InitialWeights.of(given)
    if wanted is not None and wanted.frozen_epochs >= epochs:
        raise RecipeError(
            f"initial_weights.frozen_epochs must be below epochs, {epochs}, not "
            f"{wanted.frozen_epochs}; loaded weights would never learn."
        )
    return wanted


def check_sub_problems(
    sub_problems: object, scheduler: Scheduler | None, tune_scheduler: object | None
) -> SubProblems | None:
    """Return how a study is cut into parts, checked; None: it is not.

    Raises:
        RecipeError: If it is something else, or there is a scheduler that cannot tell the trials
            of several studies in one pool apart.
    """
    if sub_problems is None:
        return None
    if not isinstance(sub_problems, SubProblems):
        raise RecipeError(
            "sub_problems must be rayfold.SubProblems, such as SubProblems(by='files', "
            f"num_trials=8), not {sub_problems!r}."
        )
    if tune_scheduler is not None or isinstance(scheduler, Population | Replay):
        name = next(iter(scheduler_settings(scheduler, tune_scheduler) or {}))
        raise RecipeError(
            f"sub_problems do not go with the scheduler {name}, which would compare trials of "
            "different parts; leave one of them out, or use racing or halving."
        )
    return sub_problems


def check_order(scheduler: Scheduler, order: FoldOrder, groups: Groups) -> None:
    """Check that the order of folds is the one that a scheduler needs.

    Raises:
        RecipeError: If it is not.
    """
    name, wanted = next(iter(scheduler.settings())), scheduler.fold_order
    if wanted != order:
        what = "fold by fold" if wanted == "in_turn" else "epoch by epoch"
        raise RecipeError(
            f"the scheduler {name} compares trials {what}; set fold_order={wanted!r} "
            f"(fixed.folds.order in a recipe), not {order!r}."
        )
    if scheduler.first_fold_by_epoch and groups.per_trial > 1:
        raise RecipeError(
            f"the scheduler {name} trains the first fold alone, so that other groups of a trial "
            f"would stay idle; set groups.per_trial to 1, not {groups.per_trial}."
        )


def check_turns(
    scheduler: Scheduler, searcher: Searcher, max_time_per_trial: float | None
) -> None:
    """Check what does not go with trials that take turns.

    Raises:
        RecipeError: If the searcher learns from results, which come at the very end only, or
            there is a limit of time that would begin anew with each turn.
    """
    name = next(iter(scheduler.settings()))
    learns = not isinstance(searcher, search.Random | search.Fixed)
    if isinstance(scheduler, Population) and learns:
        raise RecipeError(
            f"the scheduler {name} trains all trials side by side, which leaves the searcher "
            f"{next(iter(searcher.settings()))} no results to learn from; use searcher=Random() "
            "(search.searcher: random in a recipe) for the first values."
        )
    if isinstance(scheduler, Population | Replay) and max_time_per_trial is not None:
        raise RecipeError(
            f"max_time_per_trial does not go with the scheduler {name}, whose trials take turns; "
            "leave it out, and limit the study with max_time."
        )


def check_replay(replay: Replay, searcher: Searcher, space: SearchSpace) -> None:
    """Check that a schedule suits the space, and that all trials begin with its first values.

    Raises:
        RecipeError: If the searcher begins with others, or a value changes that must not.
        SpaceError: If the schedule leaves the space.
    """
    replay.check(space)
    first = replay.schedule[0][1]
    if not isinstance(searcher, search.Fixed):
        raise RecipeError(
            "the scheduler replay trains the first configuration of its schedule; use "
            "searcher=Fixed([schedule[0][1]]) (search.searcher: {fixed: {configs: [...]}} in a "
            "recipe)."
        )
    for number, config in enumerate(searcher.configs):
        for name in space:
            if config.get(name) != first.get(name):
                raise RecipeError(
                    f"configs[{number}]: {name} is {config.get(name)!r}, but the schedule begins "
                    f"with {first.get(name)!r}; use searcher=Fixed([schedule[0][1]])."
                )


def scheduler_settings(
    scheduler: Scheduler | None, tune_scheduler: "TrialScheduler | None"
) -> dict[str, Any] | None:
    """Return the scheduler as the journal names it; of one of Ray Tune only the class is known."""
    if tune_scheduler is not None:
        return {"tune": {"scheduler": type(tune_scheduler).__name__}}
    return None if scheduler is None else scheduler.settings()
