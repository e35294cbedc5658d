"""Population-based training: Ray Tune's schedulers over the states of folds.

Ray Tune decides which trial copies which, and with which values. A trial trains from one milestone
to the next. There all its folds write their states and it gives its groups back (``TrialRunner``).
Its exploits are then carried out (``exploits``). If a loss is not finite, an exploit follows at
once.
"""

import logging
import math
import random
import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray import tune
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler
from ray.tune.schedulers.pb2 import PB2

from rayfold.results import Config, Value
from rayfold.schedulers import Population
from rayfold.space import Choice, Float, SearchSpace
from rayfold.space.domains import Domain
from rayfold.training.checkpoint import ShrinkAndPerturb
from rayfold.tuning.exploits import Exploiter, Occasion
from rayfold.tuning.foreign import METRIC, plain_value

logger = logging.getLogger(__name__)

NOISE = 0.1
"""Share of fresh weights that a restart adds to the shrunken ones."""

_NO_SEARCHER = SimpleNamespace(search_alg=None)
"""Tune's scheduler refuses another searcher; Rayfold's only proposes the first values."""


class PopulationScheduler(PopulationBasedTraining):
    """Adapts Tune's two schedulers to Rayfold's trials; mixed in before them.

    Tune would start every trial at once, since trials reserve almost nothing. Here the number of
    live trials is limited to what the pool can serve. A trial that reaches a milestone while
    others wait is paused.
    """

    def prepare(
        self,
        population: Population,
        exploiter: Exploiter,
        *,
        domains: Mapping[str, Domain],
        at_once: int,
    ) -> None:
        """Take the arguments that Tune's constructor does not have.

        Args:
            population: The options of the population.
            exploiter: Carries out the exploits.
            domains: The parameters that change.
            at_once: Largest number of live trials.
        """
        self._exploiter, self._domains, self._at_once = exploiter, domains, at_once
        self._population = population
        self._untrained: set[TuneTrial] = set()
        self._to_restart: set[TuneTrial] = set()
        self._occasion: Occasion = "comparison"
        self._best, self._num_without_better = -math.inf, 0

    def has_room(self) -> bool:
        """Tell whether another trial may start."""
        return self._free > 0

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Enter a trial into the population."""
        super().on_trial_add(_NO_SEARCHER, trial)

    def on_trial_result(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> str:
        """Compare the trial at a milestone; let it continue, take turns, or copy another."""
        if result.get("diverged"):
            return self._rescue(tune_controller, trial, result["error"])
        if result["epoch"] % self._perturbation_interval:
            return str(TrialScheduler.CONTINUE)
        self._untrained.discard(trial)
        action = str(super().on_trial_result(tune_controller, trial, result))
        self._look_for_stall(result)
        if trial in self._to_restart and trial.status != TuneTrial.PAUSED:
            self._restart(tune_controller, trial)
            if trial.status == TuneTrial.PAUSED:
                return str(TrialScheduler.NOOP)
        if action == TrialScheduler.NOOP:
            return action
        paused = sum(other.status == TuneTrial.PAUSED for other in self._trial_state)
        waiting = paused + (not self._exploiter.ledger.exhausted)
        return str(TrialScheduler.PAUSE if waiting > self._free else TrialScheduler.CONTINUE)

    @property
    def _free(self) -> int:
        """How many more trials may be live."""
        live = (TuneTrial.RUNNING, TuneTrial.PENDING)
        return self._at_once - sum(trial.status in live for trial in self._trial_state)

    def on_trial_complete(
        self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]
    ) -> None:
        """Remove what is no longer needed."""
        super().on_trial_complete(tune_controller, trial, result)
        self._exploiter.finished(trial, result)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """Resume the paused trial that is furthest behind; Tune itself starts new ones."""
        paused = [trial for trial in self._trial_state if trial.status == TuneTrial.PAUSED]
        if not paused or not self.has_room():
            return None
        return min(paused, key=lambda trial: self._trial_state[trial].last_train_time)

    def _checkpoint_or_exploit(
        self,
        trial: TuneTrial,
        tune_controller: Any,
        upper_quantile: list[TuneTrial],
        lower_quantile: list[TuneTrial],
    ) -> None:
        """Let every trial among the best be copied.

        Tune keeps a checkpoint only of trials that were among the best at their last report. Here
        all trials have written their states then. A trial that has taken over a state and has not
        trained since cannot be a donor.
        """
        donors = [donor for donor in upper_quantile if donor not in self._untrained]
        for donor in donors:
            state = self._trial_state[donor]
            if state.last_checkpoint is None:
                state.last_checkpoint = self._exploiter.pointer(donor, state.last_train_time)
        receivers = lower_quantile if donors else []
        super()._checkpoint_or_exploit(trial, tune_controller, donors, receivers)

    def _look_for_stall(self, result: dict[str, Any]) -> None:
        """Mark all trials for a restart when the best score has not improved for long."""
        score = self._metric_op * result[METRIC]
        better = score > self._best
        self._best = max(score, self._best)
        self._num_without_better = 0 if better else self._num_without_better + 1
        population = self._population
        trials = {trial for trial in self._trial_state if not trial.is_finished()}
        if population.restart and self._num_without_better >= population.patience * len(trials):
            self._num_without_better = 0
            self._to_restart = trials

    def _restart(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Let a trial continue from one of the best, with weights shrunk and perturbed.

        A trial that is among the best, or has few epochs left, continues unchanged.
        """
        self._to_restart.discard(trial)
        _, best = self._quantiles()
        donors = [other for other in best if other not in self._untrained]
        if trial in best or not donors:
            return
        donor, population = random.choice(donors), self._population
        epochs_left = population.epochs - self._trial_state[donor].last_train_time
        if epochs_left >= population.patience * population.interval:
            self._exploit_on(tune_controller, trial, donor, occasion="restart")

    def _rescue(self, tune_controller: Any, trial: TuneTrial, error: str) -> str:
        """Let a diverged trial continue from the best one; end it if there is none."""
        self._to_restart.discard(trial)
        donors = {
            other: state.last_score
            for other, state in self._trial_state.items()
            if state.last_score is not None and not other.is_finished()
            if other is not trial and other not in self._untrained
        }
        if donors:
            self._trial_state[trial].last_score = -math.inf
            donor = max(donors, key=lambda other: donors[other])
            self._exploit_on(tune_controller, trial, donor, occasion="divergence")
        if trial.status != TuneTrial.PAUSED:
            return str(TrialScheduler.STOP)
        id_, from_ = trial.config["trial"], donor.config["trial"]
        logger.warning("Trial %s continues from trial %s: %s", id_, from_, error)
        return str(TrialScheduler.NOOP)

    def _exploit_on(
        self, tune_controller: Any, trial: TuneTrial, donor: TuneTrial, *, occasion: Occasion
    ) -> None:
        """Let a trial copy another when Rayfold, not Tune, decides so."""
        state = self._trial_state[donor]
        state.last_checkpoint = self._exploiter.pointer(donor, state.last_train_time)
        self._occasion = occasion
        try:
            self._exploit(tune_controller, trial, donor)
        finally:
            self._occasion = "comparison"

    def _exploit(self, tune_controller: Any, trial: TuneTrial, trial_to_clone: TuneTrial) -> None:
        donor = self._trial_state[trial_to_clone]
        epoch, donor_values = donor.last_train_time, trial_to_clone.config["hyperparameters"]
        restart = None
        if self._occasion == "restart":
            shrink = self._population.shrink
            restart = ShrinkAndPerturb(epoch=epoch, shrink=shrink, noise=NOISE)
        states = self._exploiter.copy(trial, trial_to_clone, epoch, restart=restart)
        if states is None:
            return
        super()._exploit(tune_controller, trial, trial_to_clone)
        self._untrained.add(trial)
        # it ranks next to its donor until it reports, instead of keeping others from being weakest
        self._trial_state[trial].last_score = math.nextafter(donor.last_score, -math.inf)
        self._exploiter.commit(
            trial,
            trial_to_clone,
            epoch=epoch,
            donor_values=donor_values,
            result=donor.last_result,
            states=states,
            occasion=self._occasion,
        )

    def _get_new_config(
        self, trial: TuneTrial, trial_to_clone: TuneTrial
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the donor's configuration with changed values and the trial's own id."""
        explore = self._redraw if self._occasion == "restart" else self._explore
        values, operations = explore(trial, trial_to_clone)
        config = dict(trial_to_clone.config)
        config["trial"], config["lineage"] = trial.config["trial"], trial.config["lineage"] + 1
        config["hyperparameters"] = values
        return config, operations

    def _redraw(
        self, trial: TuneTrial, donor: TuneTrial
    ) -> tuple[dict[str, Value], dict[str, Any]]:
        """Return the donor's values, with changeable ones drawn anew."""
        values = dict(donor.config["hyperparameters"])
        drawn = {name: d.from_unit(random.random()) for name, d in self._domains.items()}
        return values | {name: value for name, value in drawn.items() if name in values}, {}

    def _explore(
        self, trial: TuneTrial, donor: TuneTrial
    ) -> tuple[dict[str, Value], dict[str, Any]]:
        """Return the donor's values, some of them changed, and a list of the changes."""
        raise NotImplementedError


class PerturbedPopulation(PopulationScheduler):
    """Ray Tune's ``PopulationBasedTraining``: values are multiplied, shifted or drawn anew."""

    def _explore(
        self, trial: TuneTrial, donor: TuneTrial
    ) -> tuple[dict[str, Value], dict[str, Any]]:
        """Change the values that apply to the donor, within their domains."""
        before = donor.config["hyperparameters"]
        mutations = {name: _mutation(d) for name, d in self._domains.items() if name in before}
        self._hyperparam_mutations = {"hyperparameters": mutations}
        explored, operations = super(PopulationScheduler, self)._get_new_config(trial, donor)
        values = explored["hyperparameters"]
        for name in mutations:
            values[name] = _within(self._domains[name], values[name])
        return values, operations


class BanditPopulation(PopulationScheduler, PB2):
    """Ray Tune's ``PB2``, on the coordinates of the values in the unit cube.

    So orders of magnitude count as in the search, and whole numbers and choices are numbers. A
    trial's coordinates belong to its configuration; parameters that do not apply are at one half.
    """

    def on_trial_add(self, tune_controller: Any, trial: TuneTrial) -> None:
        """Enter a trial with its coordinates."""
        trial.config["coordinates"] = self._coordinates(trial.config["hyperparameters"])
        super().on_trial_add(tune_controller, trial)

    def _get_new_config(
        self, trial: TuneTrial, trial_to_clone: TuneTrial
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        config, operations = super()._get_new_config(trial, trial_to_clone)
        config["coordinates"] = self._coordinates(config["hyperparameters"])
        return config, operations

    def _explore(
        self, trial: TuneTrial, donor: TuneTrial
    ) -> tuple[dict[str, Value], dict[str, Any]]:
        """Take the values that the Gaussian process finds best, or keep the present ones."""
        values = dict(donor.config["hyperparameters"])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # fits that do not converge; SciPy's deprecations
                explored, operations = PB2._get_new_config(self, trial, donor)
        except (ValueError, np.linalg.LinAlgError):
            logger.warning("PB2 finds no values this time; they stay.", exc_info=True)
            return values, {}
        for name, domain in self._domains.items():
            place, before = explored["coordinates"][name], donor.config["coordinates"][name]
            if name in values and place != before:
                values[name] = domain.from_unit(min(max(float(place), 0.0), 1.0))
        return values, operations

    def _coordinates(self, values: Config) -> dict[str, float]:
        return {
            name: float(domain.to_unit(values[name])) if name in values else 0.5
            for name, domain in self._domains.items()
        }


def population_scheduler(
    population: Population, exploiter: Exploiter, *, space: SearchSpace, at_once: int
) -> PopulationScheduler:
    """Return Ray Tune's scheduler for a population.

    Args:
        population: The options of the population, started.
        exploiter: Carries out the exploits.
        space: The search space.
        at_once: Largest number of live trials.
    """
    domains = {name: space[name] for name in population.parameters(space)}
    arguments: dict[str, Any] = {
        "time_attr": "epoch",
        "metric": METRIC,
        "mode": population.mode,
        "perturbation_interval": population.interval,
        "quantile_fraction": population.quantile,
        "log_config": False,  # the journal holds it
    }
    scheduler: PopulationScheduler
    if population.method == "pb2":
        bounds = {"coordinates": {name: [0.0, 1.0] for name in domains}}
        scheduler = BanditPopulation(hyperparam_bounds=bounds, **arguments)
    else:
        scheduler = PerturbedPopulation(
            hyperparam_mutations={"hyperparameters": {}},
            resample_probability=population.resample_probability,
            **arguments,
        )
    scheduler.prepare(population, exploiter, domains=domains, at_once=at_once)
    return scheduler


def _mutation(domain: Domain) -> Any:
    """Return a domain in the form of Ray Tune's scheduler."""
    if isinstance(domain, Choice):
        return list(domain.values)
    if isinstance(domain, Float):
        return (tune.loguniform if domain.log else tune.uniform)(domain.low, domain.high)
    low, high = (int(value) for value in domain.extremes)
    return tune.randint(low, high + 1)


def _within(domain: Domain, value: Any) -> Value:
    """Return a value as a plain one inside the domain, which a factor may have left."""
    if isinstance(domain, Choice):
        return plain_value(value)
    low, high = domain.extremes
    return plain_value(min(max(value, low), high))
