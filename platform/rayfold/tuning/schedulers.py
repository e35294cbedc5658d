"""Which scheduler of Ray Tune carries out one of ours."""

from ray.tune.schedulers import TrialScheduler

from rayfold.schedulers import Population, Replay, Scheduler
from rayfold.space import SearchSpace
from rayfold.tuning.exploits import Exploiter
from rayfold.tuning.foreign import ForeignScheduler
from rayfold.tuning.population import population_scheduler
from rayfold.tuning.replay import ReplayScheduler


def tune_scheduler(
    scheduler: Scheduler | None, exploiter: Exploiter, *, space: SearchSpace, at_once: int
) -> TrialScheduler | None:
    """Return Ray Tune's scheduler for one of ours.

    Args:
        scheduler: Ours, started.
        exploiter: Copies states from one trial to another.
        space: What is searched.
        at_once: How many trials the pool serves at the same time.

    Returns:
        A new one; None where ours decides by itself.
    """
    if isinstance(scheduler, Replay):
        return ReplayScheduler(scheduler, exploiter)
    if isinstance(scheduler, Population):
        return population_scheduler(scheduler, exploiter, space=space, at_once=at_once)
    return scheduler.prepared if isinstance(scheduler, ForeignScheduler) else None
