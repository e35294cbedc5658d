from typing import Any

import pytest

from rayfold.errors import RecipeError
from rayfold.groups.plan import Groups, Plan


def plan(groups: Groups, **changes: Any) -> Plan:
    sizes = {"num_trials": 10, "num_folds": 5, "epochs": 3, "data_bytes": 2_000_000}
    return Plan(groups=groups, **{**sizes, **changes})


@pytest.mark.parametrize(
    ("groups", "num_nodes"),
    [
        (Groups(), 1 + 1 * 1 * (1 * 1)),
        (Groups(1, 4), 1 + 4 * 1 * (1 * 1)),
        (Groups(1, 4, per_trial=2), 1 + 2 * 2 * (1 * 1)),
        (Groups(1, 4, workers=3, gpus_per_worker=1), 1 + 4 * 1 * (3 * 1)),
        (Groups(2, 6, workers=2, per_trial=3, gpus_per_worker=2), 1 + 2 * 3 * (2 * 2)),
        (Groups(1, 2, gpus_per_worker=0.5), 1 + 2 * 1 * (1 * 1)),
    ],
)
def test_nodes_are_one_and_the_product_of_trials_groups_workers_and_gpus(
    groups: Groups, num_nodes: int
) -> None:
    assert plan(groups).num_nodes == num_nodes


def test_fold_trainings_are_trials_times_folds() -> None:
    assert plan(Groups(), num_trials=7, num_folds=3).num_fold_trainings == 21


def test_memory_is_driver_workers_trials_and_data() -> None:
    """1.5 GB, four groups of three workers of 0.45 GB each, two trials of 0.15 GB, and 1 GB."""
    groups = Groups(1, 4, workers=3, per_trial=2)
    assert plan(groups, data_bytes=10**9).memory_bytes == pytest.approx(
        1.5e9 + 4 * 3 * 0.45e9 + 2 * 0.15e9 + 1e9
    )


def test_a_plan_in_words() -> None:
    groups = Groups(1, 4, workers=2, per_trial=2, gpus_per_worker=1)
    assert plan(groups).lines() == [
        "trainings  10 trials x 5 folds = 50 of 3 epochs each",
        "N_nodes    1 + N_G 2 x N_F 2 x (N_W 2 x N_GPU 1) = 9",
        "groups     1 to 4, each 2 worker(s) of 1 CPU and 1 GPU",
        "memory     about 5.4 GB, 2.0 MB of it data",
    ]


def test_hints_stand_at_the_end_of_a_plan() -> None:
    assert plan(Groups(), hints=("few rows",)).lines()[-1] == "hint       few rows"


def test_a_worker_without_a_gpu_counts_as_one_node_and_says_so() -> None:
    assert plan(Groups(1, 2)).lines()[1] == (
        "N_nodes    1 + N_G 2 x N_F 1 x (N_W 1 x N_GPU 1 (a CPU)) = 3"
    )


def test_ray_reserves_gpus_only_where_there_are_some() -> None:
    assert Groups(cpus_per_worker=2).worker_resources == {"CPU": 2.0}
    assert Groups(gpus_per_worker=0.5).worker_resources == {"CPU": 1.0, "GPU": 0.5}


@pytest.mark.parametrize("name", ["minimum", "maximum", "workers", "per_trial"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
def test_counts_are_whole_numbers_from_one_on(name: str, value: object) -> None:
    with pytest.raises(
        RecipeError, match=rf"^groups.{name} must be (a whole number|at least 1), got "
    ):
        Groups(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values", [{"cpus_per_worker": 0}, {"cpus_per_worker": "2"}, {"gpus_per_worker": -0.5}]
)
def test_a_worker_needs_a_share_of_a_cpu(values: dict[str, object]) -> None:
    with pytest.raises(
        RecipeError,
        match=r"^groups.[cg]pus_per_worker must be (a number|above 0|at least 0), got ",
    ):
        Groups(**values)  # type: ignore[arg-type]


def test_no_group_would_stay_idle() -> None:
    with pytest.raises(RecipeError, match=r"a maximum that is a multiple of per_trial"):
        Groups(1, 5, per_trial=2)


def test_the_minimum_is_not_above_the_maximum() -> None:
    with pytest.raises(RecipeError, match=r"not have a minimum above its maximum, got minimum 3"):
        Groups(3, 2)


def test_a_trial_holds_no_more_groups_than_there_are() -> None:
    with pytest.raises(RecipeError, match=r"not have a per_trial above its maximum, got per"):
        Groups(1, 2, per_trial=3)


@pytest.mark.parametrize("name", ["maximum", "workers", "cpus_per_worker", "gpus_per_worker"])
@pytest.mark.parametrize("value", [10**21, 10**5000], ids=["10**21", "10**5000"])
def test_numbers_without_sense_are_refused(name: str, value: int) -> None:
    with pytest.raises(RecipeError, match=rf"^groups.{name} must be (at most 1000000000|a num)"):
        Groups(**{name: value})
