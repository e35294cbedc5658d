"""Schedulers: they decide after a fold or an epoch whether a trial continues; without Ray."""

from rayfold.schedulers.base import Decision, Scheduler
from rayfold.schedulers.halving import Halving
from rayfold.schedulers.population import Population
from rayfold.schedulers.racing import Racing
from rayfold.schedulers.registry import SCHEDULERS, create
from rayfold.schedulers.replay import Replay

__all__ = [
    "Decision",
    "Halving",
    "Population",
    "Racing",
    "Replay",
    "SCHEDULERS",
    "Scheduler",
    "create",
]
