"""Times and shares that can be worked out by hand: nothing is charged unless a test says so."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rayfold.errors import DataError, RecipeError
from rayfold.results import Config, Mode, Status
from rayfold.schedulers import Decision, Halving, Racing, Scheduler
from rayfold.search import Genetic, Observation, Random, Searcher
from rayfold.simulation import Charges, Simulation, Table, simulate
from rayfold.space import Choice, Int, SearchSpace

SPACE = SearchSpace({"number": Int(0, 9)})
SECONDS = 10.0 * np.arange(1, 11)  # number 0 takes 10 s, number 9 100 s
NAN = float("nan")


class InTurn(Searcher):
    """Suggests given numbers, one after another."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers
        self.learnt: list[Observation] = []

    def settings(self) -> dict[str, Any]:
        return {"in_turn": {}}

    @property
    def capacity(self) -> int:
        return len(self._numbers)

    def _begin(self) -> None: ...

    def _propose(self) -> Config:
        return {"number": self._numbers[len(self._suggestions)]}

    def _learn(self, observation: Observation) -> None:
        self.learnt.append(observation)


class StopsWorseThan(Scheduler):
    """Ends a trial one of whose folds is above a bound."""

    fold_order = "in_turn"

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.asked: list[tuple[str, list[int]]] = []
        self.ends: list[tuple[str, Status]] = []

    def settings(self) -> dict[str, Any]:
        return {"stops_worse_than": {"bound": self.bound}}

    def _begin(self) -> None:
        pass

    def _decide(self, trial: str, scores: dict[int, float], epoch: int) -> Decision:
        self.asked.append((trial, sorted(scores)))
        return "go on" if max(scores.values()) <= self.bound else "stop"

    def _end(self, trial: str, status: Status) -> None:
        self.ends.append((trial, status))


def table(scores: Sequence[Sequence[float]] | None = None, **changes: Any) -> Table:
    """Number n scores n in every fold and takes 10 (n + 1) seconds."""
    rows = np.array(scores if scores is not None else [[float(n)] for n in range(10)])
    seconds = np.broadcast_to(SECONDS[: len(rows), None], rows.shape)
    configs = [{"number": number} for number in range(len(rows))]
    return Table(SPACE, configs, rows, seconds, **changes)


def run(searcher: Searcher, *, mode: Mode = "min", **changes: Any) -> Simulation:
    searcher.start(SPACE, mode=mode)
    arguments: dict[str, Any] = {"waiting_trials": 0, "charges": Charges.none(), "num_groups": 2}
    arguments = arguments | changes
    return simulate(searcher, arguments.pop("table", None) or table(), **arguments)


def ends(simulation: Simulation) -> dict[str, float]:
    return {trial.id: trial.finished_at for trial in simulation.trials}


def test_two_groups_take_the_next_trial_as_soon_as_they_are_free() -> None:
    """10 then 40 s on one group, 20 then 30 s on the other: both end after 50 s, never idle."""
    simulation = run(InTurn(0, 1, 3, 2))
    assert ends(simulation) == {"0000": 10.0, "0001": 20.0, "0002": 50.0, "0003": 50.0}
    assert (simulation.seconds, simulation.last_start) == (50.0, 20.0)
    assert simulation.utilisation == simulation.utilisation_until_last_start == 1.0


def test_the_end_when_work_runs_out_counts_as_idle() -> None:
    """10 s and 100 s on two groups: 110 of 200 busy seconds, though all were until the start."""
    simulation = run(InTurn(0, 9))
    assert simulation.seconds == 100.0
    assert simulation.utilisation == pytest.approx(0.55)


def test_folds_of_a_trial_are_trained_in_turn_by_its_groups() -> None:
    """3 folds of 20 s: on two groups two at once and then the third, while one group is held."""
    alone = run(InTurn(1), num_folds=3, num_groups=1)
    assert (alone.seconds, alone.utilisation) == (60.0, 1.0)
    together = run(InTurn(1), num_folds=3, groups_per_trial=2)
    assert together.seconds == 40.0
    assert together.utilisation == pytest.approx(60 / 80)


def test_a_trial_asks_for_no_more_groups_than_it_has_folds() -> None:
    simulation = run(InTurn(1, 1), num_folds=1, groups_per_trial=2)
    assert simulation.seconds == 20.0


def test_a_generation_that_waits_for_its_last_trial_leaves_groups_idle() -> None:
    """Every generation takes as long as its longest trial, here with as many groups as trials."""
    searcher = Genetic(
        preset="nnlo", population=4, generations=3, random_seed=1, elite_fraction=0.25
    )
    simulation = run(searcher, num_groups=4)
    seconds = [10.0 * (int(trial.config["number"]) + 1) for trial in by_id(simulation)]
    generations = [seconds[:4], seconds[4:7], seconds[7:]]
    assert simulation.seconds == sum(map(max, generations))
    assert simulation.utilisation == pytest.approx(sum(seconds) / (4 * simulation.seconds))
    assert simulation.utilisation < 0.7


def test_random_search_has_no_such_barrier() -> None:
    simulation = run(Random(), num_groups=4, num_trials=200)
    assert simulation.utilisation_until_last_start == pytest.approx(1.0)


def by_id(simulation: Simulation) -> list[Any]:
    return sorted(simulation.trials, key=lambda trial: trial.id)


def test_the_driver_does_one_thing_at_a_time() -> None:
    """Suggestions written at 1, 2 and 3 s, trials of 10 s from then on; booked in two entries.

    The last fold ends at 13 s, while the driver books the first until 13 and the second until 15.
    """
    charges = Charges(searcher=False, fold_start=0.0, journal_append=1.0)
    simulation = run(InTurn(0, 0, 0), num_groups=3, charges=charges)
    assert ends(simulation) == {"0000": 11.0, "0001": 12.0, "0002": 13.0}
    assert (simulation.seconds, simulation.driver_seconds) == (17.0, 9.0)


def test_a_folds_start_is_charged_to_its_group() -> None:
    """Two folds, each 5 s until it trains and then 10 s: 20 of 30 s busy."""
    charges = Charges(searcher=False, fold_start=5.0, journal_append=0.0)
    simulation = run(InTurn(0), num_folds=2, num_groups=1, charges=charges)
    assert simulation.seconds == 30.0
    assert simulation.utilisation == pytest.approx(20 / 30)


def test_waiting_trials_hide_the_driver_behind_training() -> None:
    """Asked for ahead, the next trial starts at 11 s; asked for afterwards, booking is between.

    Booking takes 2 s and the suggestion 1 s, so that the second trial then starts at 14 s.
    """
    charges = Charges(searcher=False, fold_start=0.0, journal_append=1.0)
    ahead = run(InTurn(0, 0), num_groups=1, charges=charges, waiting_trials=1)
    afterwards = run(InTurn(0, 0), num_groups=1, charges=charges)
    assert (ahead.last_start, afterwards.last_start) == (11.0, 14.0)


def test_what_the_searcher_takes_is_charged_as_measured() -> None:
    charges = Charges(fold_start=0.0, journal_append=0.0)
    simulation = run(Random(), num_trials=20, charges=charges)
    assert simulation.searcher_seconds > 0
    assert simulation.driver_seconds == pytest.approx(simulation.searcher_seconds)


def test_the_searcher_is_told_mean_standard_error_and_folds() -> None:
    """Folds of 1, 2 and 3: mean 2, standard deviation 1, divided by the root of 3."""
    searcher = InTurn(0)
    run(searcher, table=table([[1.0, 2.0, 3.0]], repeated=False), num_folds=3)
    [told] = searcher.learnt
    assert (told.score, told.num_folds) == (2.0, 3)
    assert told.standard_error == pytest.approx(1 / 3**0.5)


def test_a_failed_fold_ends_its_trial_and_frees_its_groups() -> None:
    """The first of two folds fails after 10 s; the next trial has the groups from then on."""
    searcher = InTurn(0, 1)
    scores = [[NAN, 0.5, 0.5], [1.0, 2.0, 3.0]]
    simulation = run(searcher, table=table(scores, repeated=False), num_folds=3, num_groups=1)
    assert ends(simulation) == {"0000": 10.0, "0001": 70.0}
    assert [trial.status for trial in simulation.trials] == ["failed", "completed"]
    assert [told.score for told in searcher.learnt] == [None, 2.0]


def test_a_scheduler_is_asked_after_each_fold_and_stops_a_trial() -> None:
    """The second trial scores 1 in its first fold, above the bound: 20 s instead of 60."""
    scheduler = StopsWorseThan(0.5)
    scheduler.start(mode="min", num_folds=3, epochs=1)
    searcher = InTurn(0, 1)
    simulation = run(searcher, num_folds=3, num_groups=1, scheduler=scheduler)
    assert ends(simulation) == {"0000": 30.0, "0001": 50.0}
    assert [trial.status for trial in simulation.trials] == ["completed", "stopped"]
    assert scheduler.asked == [
        ("0000", [0]),
        ("0000", [0, 1]),
        ("0000", [0, 1, 2]),
        ("0001", [0]),
    ]
    assert scheduler.ends == [("0000", "completed"), ("0001", "stopped")]
    assert [told.num_folds for told in searcher.learnt] == [3, 1]
    assert simulation.seconds == 50.0


def test_folds_that_train_when_their_trial_is_stopped_count_until_then() -> None:
    """Fold 0 ends at 10 s and stops the trial, while fold 1 has trained 10 of its 30 s."""
    scores, seconds = np.ones((1, 3)), np.array([[10.0, 30.0, 10.0]])
    uneven = Table(SPACE, [{"number": 0}], scores, seconds, repeated=False)
    scheduler = StopsWorseThan(0.0)
    scheduler.start(mode="min", num_folds=3, epochs=1)
    simulation = run(
        InTurn(0, 0), table=uneven, num_folds=3, groups_per_trial=2, scheduler=scheduler
    )
    assert ends(simulation) == {"0000": 10.0, "0001": 20.0}
    assert (simulation.seconds, simulation.utilisation) == (20.0, 1.0)
    assert [trial.status for trial in simulation.trials] == ["stopped", "stopped"]


def test_racing_trains_fewer_folds_and_keeps_the_winner() -> None:
    """The first trial, 0.1 in every fold, is the incumbent; 0.9 is dropped after a fold."""
    scores = np.array([[0.1] * 3, [0.9] * 3, [0.05] * 3])
    races = Table(
        SPACE, [{"number": n} for n in range(3)], scores, np.full((3, 3), 10.0), repeated=False
    )
    scheduler = Racing(top=0.0)
    scheduler.start(mode="min", num_folds=3, epochs=1)
    simulation = run(InTurn(0, 1, 2), table=races, num_folds=3, num_groups=1, scheduler=scheduler)
    assert [trial.num_folds for trial in simulation.trials] == [3, 1, 3]
    assert simulation.best is not None
    assert simulation.best.id == "0002"
    assert simulation.seconds == 70.0


def test_a_scheduler_of_epochs_is_refused() -> None:
    scheduler = Halving()
    scheduler.start(mode="min", num_folds=1, epochs=9)
    with pytest.raises(RecipeError, match="scheduler halving judges epochs"):
        run(InTurn(0), scheduler=scheduler)


def test_no_trial_begins_after_the_time_limit() -> None:
    """Trials of 10 s begin at 0, 10 and 20 s; the last one is brought to its end."""
    simulation = run(InTurn(*[0] * 9), num_groups=1, max_seconds=25.0)
    assert list(ends(simulation).values()) == [10.0, 20.0, 30.0]


def test_the_first_trial_to_a_threshold_and_the_best_over_time() -> None:
    """On one group: 5 after 60 s, 7 at 140 s is no improvement, 2 at 170 s, 1 at 190 s."""
    simulation = run(InTurn(5, 7, 2, 1), num_groups=1)
    found = [(n, trial.finished_at, trial.score) for n, trial in simulation.best_over_time()]
    assert found == [(1, 60.0, 5.0), (3, 170.0, 2.0), (4, 190.0, 1.0)]
    reached = simulation.first_to(2.5)
    assert reached is not None
    assert (reached[0], reached[1].finished_at) == (3, 170.0)
    assert simulation.first_to(0.5) is None
    assert list(simulation.best_table()["seconds"]) == [60.0, 170.0, 190.0]


def test_a_large_score_is_good_with_mode_max() -> None:
    simulation = run(InTurn(5, 7, 2), mode="max")
    assert simulation.best is not None
    assert simulation.best.score == 7.0


def test_the_same_seeds_give_the_same_simulation_when_nothing_is_charged() -> None:
    rng = np.random.default_rng(0)
    noisy = table(rng.random((10, 4)).tolist())
    first, second = (
        run(Random(), table=noisy, num_trials=50, num_folds=2, random_seed=3) for _ in range(2)
    )
    assert first.trials == second.trials
    other = run(Random(), table=noisy, num_trials=50, num_folds=2, random_seed=4)
    assert other.trials != first.trials


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_groups": 0}, r"num_groups must be .* at least 1, got 0"),
        ({"num_groups": 10**10}, r"num_groups must be at most 1000000000, got 10000000000"),
        ({"num_trials": 10**9}, r"num_trials must be at most 1,000,000 in a sim.*; lower it"),
        ({"num_folds": 1.5}, r"num_folds must be a whole number .* got 1\.5"),
        ({"groups_per_trial": 3}, r"num_groups is 2, .* takes 3 .* choose a multiple"),
        ({}, "num_trials is missing .*, and this searcher never ends by itself"),
    ],
)
def test_a_study_that_cannot_be_simulated_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        run(Random(), **changes)


def test_a_table_with_too_few_folds_is_refused() -> None:
    few = table([[1.0, 2.0]], repeated=False, source="few.csv")
    with pytest.raises(DataError, match=r"few\.csv: it holds 2 folds' .* a trial has 3 folds"):
        run(InTurn(0), table=few, num_folds=3)


def test_a_searcher_of_another_space_is_refused() -> None:
    searcher = Random()
    searcher.start(SearchSpace({"number": Choice(0, 1)}), mode="min")
    with pytest.raises(RecipeError, match="searches another space than the table's"):
        simulate(searcher, table(), num_groups=1, num_trials=1)


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), NAN])
def test_a_charge_is_a_number_of_seconds(seconds: float) -> None:
    with pytest.raises(RecipeError, match="fold_start must be a number of seconds from 0"):
        Charges(fold_start=seconds)
