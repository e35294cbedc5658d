"""One search by another tool, run in that tool's environment; see ``peers.py``.

Reads a line of JSON and answers with one: first ``{"parameters": [[name, size, ordered], ...],
"mode": "min", "random_seed": 0}``, then ``{"ask": 0}`` with ``{"config": [2, 0.4, ...]}``, an
index for each parameter, or a number in [0, 1] where the size is 0, and ``{"tell": 0, "score":
0.5}``, null for a failure, with ``{}``.

Usage: ``python peer_process.py skopt|optuna|deephyper SETTING``
"""

import json
import sys
import tempfile
from collections.abc import Callable
from typing import Any, Protocol


class Tool(Protocol):
    """Asked for a configuration, told its loss: smaller is better, None if it failed."""

    def ask(self, number: int) -> list[float]:
        """Return the index of each parameter's value, or its number in [0, 1]."""

    def tell(self, number: int, loss: float | None) -> None:
        """Take in what became of what was asked for as ``number``."""


class Skopt:
    """scikit-optimize; it has no notion of failures, so that these get the worst loss so far."""

    def __init__(self, surrogate: str, parameters: list[Any], random_seed: int) -> None:
        from skopt import Optimizer
        from skopt.space import Categorical, Integer, Real

        dimensions = [
            (Integer(0, size - 1) if ordered else Categorical(list(range(size))))
            if size
            else Real(0.0, 1.0)
            for _, size, ordered in parameters
        ]
        self._optimizer = Optimizer(dimensions, base_estimator=surrogate, random_state=random_seed)
        self._asked: dict[int, list[Any]] = {}
        self._worst = 0.0

    def ask(self, number: int) -> list[float]:
        """Return what ``Optimizer.ask`` does."""
        self._asked[number] = self._optimizer.ask()
        return [
            float(value) if isinstance(value, float) else int(value)
            for value in self._asked[number]
        ]

    def tell(self, number: int, loss: float | None) -> None:
        """Fit the surrogate anew, as ``Optimizer.tell`` does."""
        self._worst = self._worst if loss is None else max(self._worst, loss)
        self._optimizer.tell(self._asked.pop(number), self._worst if loss is None else loss)


class Optuna:
    """Optuna with one of its samplers."""

    def __init__(self, sampler: str, parameters: list[Any], random_seed: int) -> None:
        import optuna
        from optuna.distributions import (
            BaseDistribution,
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._failed = optuna.trial.TrialState.FAIL
        self._distributions: dict[str, BaseDistribution] = {
            name: (
                IntDistribution(0, size - 1)
                if ordered
                else CategoricalDistribution(list(range(size)))
            )
            if size
            else FloatDistribution(0.0, 1.0)
            for name, size, ordered in parameters
        }
        self._study = optuna.create_study(
            sampler=getattr(optuna.samplers, sampler)(seed=random_seed)
        )
        self._asked: dict[int, Any] = {}
        warm = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(n_startup_trials=1))
        for loss in (0.0, 1.0, 2.0):  # what it imports when first needed is no one's own time
            warm.tell(warm.ask(self._distributions), loss)

    def ask(self, number: int) -> list[float]:
        """Return what ``Study.ask`` does."""
        trial = self._study.ask(self._distributions)
        self._asked[number] = trial
        return [trial.params[name] for name in self._distributions]

    def tell(self, number: int, loss: float | None) -> None:
        """Tell the study."""
        trial = self._asked.pop(number)
        if loss is None:
            self._study.tell(trial, state=self._failed)
        else:
            self._study.tell(trial, loss)


class DeepHyper:
    """DeepHyper's centralised Bayesian optimisation, which maximises."""

    def __init__(self, search: str, parameters: list[Any], random_seed: int) -> None:
        import deephyper.hpo

        problem = deephyper.hpo.HpProblem()
        for name, size, ordered in parameters:
            values: Any = (0, size - 1) if ordered else [str(index) for index in range(size)]
            problem.add_hyperparameter(values if size else (0.0, 1.0), name)
        self._types = {name: int if size else float for name, size, _ in parameters}
        self._folder = tempfile.TemporaryDirectory()
        self._search = getattr(deephyper.hpo, search)(
            problem,
            random_state=random_seed,
            log_dir=self._folder.name,
            checkpoint_history_to_csv=False,
        )
        self._asked: dict[int, Any] = {}

    def ask(self, number: int) -> list[float]:
        """Return what ``Search.ask`` does."""
        [self._asked[number]] = self._search.ask(1)
        return [kind(self._asked[number][name]) for name, kind in self._types.items()]

    def tell(self, number: int, loss: float | None) -> None:
        """Tell the search; it calls a failure F."""
        objective = "F_failed" if loss is None else -loss
        self._search.tell([(self._asked.pop(number), objective)])


def serve(tool: str, setting: str) -> None:
    """Answer line by line until the input ends."""
    lines, answers = sys.stdin, sys.stdout
    sys.stdout = sys.stderr  # what a tool prints is no answer
    begun = json.loads(lines.readline())
    sign = 1.0 if begun["mode"] == "min" else -1.0
    tools: dict[str, Callable[[str, list[Any], int], Tool]] = {
        "skopt": Skopt,
        "optuna": Optuna,
        "deephyper": DeepHyper,
    }
    search = tools[tool](setting, begun["parameters"], begun["random_seed"])
    answer: dict[str, Any] = {}
    while True:
        print(json.dumps(answer), file=answers, flush=True)
        line = lines.readline()
        if not line:
            return
        message = json.loads(line)
        if "ask" in message:
            answer = {"config": search.ask(message["ask"])}
        else:
            score = message["score"]
            search.tell(message["tell"], None if score is None else sign * score)
            answer = {}


if __name__ == "__main__":
    serve(*sys.argv[1:])
