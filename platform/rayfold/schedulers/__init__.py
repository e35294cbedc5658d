"""Schedulers: they decide after a fold or an epoch whether a trial continues; without Ray."""

from rayfold.registry import Registry
from rayfold.schedulers.base import Decision, Scheduler
from rayfold.schedulers.halving import Halving
from rayfold.schedulers.population import Population
from rayfold.schedulers.racing import Racing
from rayfold.schedulers.replay import Replay

__all__ = [
    "Decision",
    "Halving",
    "Population",
    "Racing",
    "Replay",
    "SCHEDULERS",
    "Scheduler",
]

SCHEDULERS = Registry[Scheduler](
    "scheduler",
    "rayfold.schedulers:Scheduler",
    {"racing": Racing, "halving": Halving, "population": Population, "replay": Replay},
)
"""The schedulers by the names that recipes use."""
