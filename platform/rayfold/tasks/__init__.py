"""Tasks: kinds of problems, one to a file."""

from typing import Any

from numpy.typing import NDArray

from rayfold.errors import DataError, did_you_mean
from rayfold.tasks.base import Classes, KnownMetric, Labels, Metric, Predictions, Strata, Task
from rayfold.tasks.classification import LEAST_PROBABILITY, Classification
from rayfold.tasks.regression import Regression

__all__ = [
    "Classes",
    "Classification",
    "KnownMetric",
    "LEAST_PROBABILITY",
    "Labels",
    "Metric",
    "Predictions",
    "Regression",
    "Strata",
    "TASKS",
    "Task",
    "find_task",
    "infer_task",
    "task_hint",
]

TASKS: dict[str, Task] = {task.name: task for task in (Classification(), Regression())}
"""The tasks by name."""


def find_task(name: str) -> Task:
    """Return a task by its name.

    Raises:
        DataError: If there is none of that name.
    """
    if name not in TASKS:
        known = " or ".join(map(repr, TASKS))
        raise DataError(f"task is {name!r}, expected {known}{task_hint(str(name))}.")
    task = TASKS[name]
    if not isinstance(task, Task):
        raise DataError(f"task {name!r} must be registered as an object, a Task, got {task!r}.")
    return task


def task_hint(name: str) -> str:
    """Return what to do about an unknown name: the closest task, or how to register one."""
    return did_you_mean(name, [*TASKS]) or (
        "; register your own task in Python before the study: "
        "rayfold.tasks.TASKS['name'] = YourTask()"
    )


def infer_task(values: NDArray[Any]) -> Task:
    """Return regression for floats, classification for integers, booleans and strings."""
    return Regression() if values.dtype.kind == "f" else Classification()
