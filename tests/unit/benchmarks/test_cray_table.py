"""Cray's experiment on a dozen trainings: the table, the searches and the report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cray_table
import digits
import h5py
import numpy as np
import pytest
from simulated_population import train_population
from sklearn.datasets import load_digits

from rayfold.errors import DataError
from rayfold.search import Genetic
from rayfold.simulation import Table
from rayfold.space import Choice, SearchSpace

SPACE = SearchSpace({"batch_size": Choice(1, 2, 3, 4)})
TABLE = Table(
    SPACE,
    [{"batch_size": size} for size in (1, 2, 3, 4)],
    np.array([[0.5], [0.6], [0.9], [np.nan]]),
    np.array([[10.0], [20.0], [30.0], [40.0]]),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits of scikit-learn as a file: 1,797 images of 8 x 8 pixels."""
    images, labels = load_digits(return_X_y=True)
    path: Path = tmp_path_factory.mktemp("data") / "digits.h5"
    with h5py.File(path, "w") as file:
        file["features"] = (16 * images).clip(0, 255).astype(np.uint8).reshape(-1, 8, 8)
        file["labels"] = labels
    return path


def test_the_whole_experiment_is_a_table_per_search_and_trains_nothing_twice(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first call is cut off after one training, the second completes, the third only reads."""
    cache, runs = tmp_path / "table.csv", tmp_path / "runs.jsonl"
    given = ["genetic", "random", "population:2", "--tiny", "--nodes", "2", "--random", "12"]
    given += [
        "--seeds",
        "1",
        "--population-seeds",
        "1",
        "--data",
        str(data),
        "--cache",
        str(cache),
    ]
    given += ["--runs", str(runs)]
    cray_table.main([*given, "--max-minutes", "0"])
    assert capsys.readouterr().out == ""
    first = cache.read_text().splitlines()
    assert len(first) == 2

    cray_table.main(given)
    table = cache.read_text().splitlines()
    assert table[:2] == first
    assert sorted(int(line.split(",")[0]) for line in table[1:]) == list(range(12))
    assert len(runs.read_text().splitlines()) == 3
    report = capsys.readouterr().out
    titles = [line for line in report.splitlines() if line.startswith("##")]
    assert titles == ["## Random", "## Genetic", "## Population:2"]
    theirs = [cell.strip() for cell in report.splitlines()[-2].split("|")][3:10:2]
    assert theirs == ["34", "101", "11,258", "7.5"]

    cray_table.main(given)
    assert cache.read_text().splitlines() == table
    assert len(runs.read_text().splitlines()) == 3

    other = replace(digits.TINY, values={**digits.TINY.values, "batch_size": (32,)})
    with pytest.raises(DataError, match=r"table\.csv holds another grid's table"):
        digits.tabulate(other, digits.load_digits(data, other), cache, max_minutes=1)


def test_digits_that_are_missing_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cray_table.main(["--data", str(tmp_path / "none.h5")])
    assert ended.value.code == 2
    assert "none.h5; give an HDF5 file with images 'features'" in capsys.readouterr().err


def test_a_population_ends_at_its_first_epoch_that_is_good_enough_or_after_its_last(
    data: Path,
) -> None:
    """Two nodes and steps of 10 s: the first epoch is known after 10 s; all 8 x 2 after 80 s."""
    arguments: dict[str, Any] = {
        "num_nodes": 2,
        "num_members": 8,
        "epochs": 2,
        "step_seconds": lambda config: 10.0,
        "random_seed": 0,
    }
    loaded = digits.load_digits(data, digits.TINY)
    easy = train_population(loaded, digits.TINY.space, threshold=0.0, **arguments)
    assert (easy.seconds, easy.epoch, easy.num_epochs) == (10.0, 1, 1)
    hard = train_population(loaded, digits.TINY.space, threshold=2.0, **arguments)
    assert (hard.seconds, hard.epoch, hard.num_epochs) == (None, 2, 16)
    assert 0.0 < easy.accuracy <= hard.accuracy < 1.0


def test_the_threshold_is_the_best_of_the_table_when_all_of_it_is_drawn() -> None:
    assert cray_table.median_best(TABLE, 100) == 0.9


def test_running_times_are_stretched_to_a_mean_or_left_alone() -> None:
    assert cray_table.stretched(TABLE, 50.0).seconds[:, 0].tolist() == [20.0, 40.0, 60.0, 80.0]
    assert cray_table.stretched(TABLE, 0.0).seconds[:, 0].tolist() == [10.0, 20.0, 30.0, 40.0]


def test_a_search_ends_with_the_run_that_reaches_the_threshold(data: Path) -> None:
    """On one node nobody else is under way; a run that waits for it may still follow."""
    loaded = digits.load_digits(data, digits.TINY)
    experiment = cray_table.Experiment(
        grid=digits.TINY, digits=loaded, table=TABLE, threshold=0.9, num_runs=50
    )
    for name in cray_table.SEARCHES:
        run = experiment.run(name, nodes=1, seed=3)
        assert run.accuracy == 0.9
        assert run.seconds is not None
        assert run.seconds >= 30.0
        assert run.key == experiment.key(name, nodes=1, seed=3)
    never = replace(experiment, threshold=0.95).run("genetic", nodes=1, seed=3)
    assert (never.seconds, never.runs, never.accuracy) == (None, 50, 0.9)


def test_generations_are_counted_from_the_random_one() -> None:
    """Of 8 individuals one is kept, so that a further generation has 7 new ones."""
    searcher = cray_table.make_searcher("generational", nodes=4, num_runs=20, seed=0)
    assert isinstance(searcher, Genetic)
    assert searcher.capacity == 8 + 7 + 7
    numbers = {0: 1, 7: 1, 8: 2, 14: 2, 15: 3}
    assert {n: cray_table.generation(searcher, n) for n in numbers} == numbers


def test_medians_count_a_search_that_never_came_there_as_the_slowest() -> None:
    runs = [
        cray_table.Run("genetic", 2, seed, 0.9, 150.0, 3, 40, seconds, 0.9)
        for seed, seconds in enumerate((None, 100.0, 200.0))
    ]
    assert cray_table.median_seconds(runs) == 200.0
    line = cray_table.row(2, runs, {1: 1000.0, 2: 600.0})
    assert line == ("| 2 | 3 | 34 | 40 | 101 | 200 | 11,258 | 5.0 | 7.5 | 3.0 | 90.00% | 2 of 3 |")
