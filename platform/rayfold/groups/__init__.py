"""Groups of workers on Ray Train that outlive trials, and the pool that lends them."""

from rayfold.groups.dispatcher import Dispatcher, FoldOutcome, Snapshot
from rayfold.groups.plan import Groups, Plan
from rayfold.groups.pool import Pool

__all__ = ["Dispatcher", "FoldOutcome", "Groups", "Plan", "Pool", "Snapshot"]
