"""Schedulers: they decide after a fold or an epoch whether a trial goes on, without Ray."""

from rayfold.schedulers.base import Decision, Scheduler
from rayfold.schedulers.halving import Halving
from rayfold.schedulers.racing import Racing
from rayfold.schedulers.racing_halving import RacingHalving
from rayfold.schedulers.registry import SCHEDULERS, create

__all__ = [
    "Decision",
    "Halving",
    "Racing",
    "RacingHalving",
    "SCHEDULERS",
    "Scheduler",
    "create",
]
