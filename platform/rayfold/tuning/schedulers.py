"""The scheduler of Ray Tune that carries out one of Rayfold."""

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
    """Return Ray Tune's scheduler for one of Rayfold.

    Args:
        scheduler: Rayfold's scheduler, started.
        exploiter: Copies states from one trial to another.
        space: The search space.
        at_once: Number of trials that the pool serves at the same time.

    Returns:
        A new one; None if Rayfold's scheduler decides by itself.
    """
    if isinstance(scheduler, Replay):
        return ReplayScheduler(scheduler, exploiter)
    if isinstance(scheduler, Population):
        return population_scheduler(scheduler, exploiter, space=space, at_once=at_once)
    return scheduler.prepared if isinstance(scheduler, ForeignScheduler) else None
