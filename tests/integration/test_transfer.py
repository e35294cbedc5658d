"""Starting from studies in a real MLflow store that an uploader wrote."""

from pathlib import Path
from typing import Any

import pytest

from rayfold.data import HDF5
from rayfold.errors import RecipeError, TrackingError
from rayfold.journal import Journal
from rayfold.space import Choice, Float, SearchSpace
from rayfold.specification import Specification
from rayfold.tracking import Uploader, tracking_uri
from rayfold.transfer.requests import StartFrom
from rayfold.transfer.start import Start, find_start
from tests.descriptions import data_description, described

SPACE = SearchSpace(
    {
        "optimizer.learning_rate": Float(1e-3, 1e-1, log=True),
        "optimizer.name": Choice("sgd", "adamw"),
    }
)
DATA = data_description(descriptors={"rows": 100, "features": 10, "classes": 2})
RATES = (1e-3, 1e-2, 1.0)
"""Of three completed trials, with the scores 3, 1 and 2; the last lies outside the new space."""


def upload(
    storage: Path,
    name: str = "before",
    *,
    rate: str = "optimizer.learning_rate",
    status: str = "completed",
    rows: int = 100,
    **changes: Any,
) -> None:
    """Write a study's journal as a study does, and bring it to MLflow."""
    ours: dict[str, Any] = {
        "data_digest": name,
        "descriptors": {"rows": rows, "features": 10, "classes": 2},
        "parameters": {"optimizer.name": "sgd"},
    }
    folder = storage / name
    with Journal.open(folder / "journal.jsonl") as journal:
        journal.append("study", name=name, id=name * 4, description=described(**ours | changes))
        for number, (value, score) in enumerate(zip(RATES, (3.0, 1.0, 2.0), strict=True)):
            journal.append("suggestion", trial=f"{number:04d}", config={rate: value})
            journal.append(
                "trial",
                trial=f"{number:04d}",
                status=status,
                score=score,
                standard_error=None,
                error=None,
            )
    assert Uploader(folder, tracking_uri(storage), storage / "artifacts").start().finish(60)


def find(storage: Path, studies: Any, data: Any = DATA, **changes: Any) -> Start:
    return find_start(StartFrom(studies, **changes), SPACE, data, storage=storage)


def test_completed_trials_come_with_fixed_values_clipped_to_the_space(storage: Path) -> None:
    upload(storage)
    start = find(storage, "before")
    (study,) = start.past.studies
    assert [config["optimizer.learning_rate"] for config in study.configs] == [1e-3, 1e-2, 1e-1]
    assert {config["optimizer.name"] for config in study.configs} == {"sgd"}
    assert (study.mode, study.scores) == ("min", (3.0, 1.0, 2.0))
    assert start.lines == ("before: as asked for; 3 of 3 trials, 2 of 2 parameters",)
    assert Start.from_dict(start.to_dict()) == start


def test_renamed_parameters_are_found(storage: Path) -> None:
    upload(storage, rate="optimizer.lr")
    start = find(storage, ["before"], rename={"optimizer.lr": "optimizer.learning_rate"})
    assert start.past.studies[0].configs[1]["optimizer.learning_rate"] == 1e-2
    with pytest.raises(RecipeError, match=r"rename: 'optimizer.rate' is no parameter of the past"):
        find(storage, ["before"], rename={"optimizer.rate": "optimizer.learning_rate"})


def test_a_parameter_that_the_past_has_twice_is_told(storage: Path) -> None:
    upload(storage, parameters={"optimizer.lr": 0.1})
    message = "start_from: study 'before' has 'optimizer.learning_rate' itself, which rename makes"
    with pytest.raises(RecipeError, match=message):
        find(storage, ["before"], rename={"optimizer.lr": "optimizer.learning_rate"})
    start = find(storage, "similar", rename={"optimizer.lr": "optimizer.learning_rate"})
    assert any("not before: study 'before' has" in line for line in start.lines)


def test_a_pruned_space_holds_what_was_good(storage: Path) -> None:
    """The best of three trials has 1e-2; a tenth of two decades is 10**0.2."""
    upload(storage)
    start = find(storage, "before", prune_space=True)
    rate = start.space["optimizer.learning_rate"]
    assert isinstance(rate, Float)
    assert (rate.low, rate.high) == pytest.approx((10**-2.2, 10**-1.8))
    assert start.past.studies[0].scores == (1.0,)
    assert start.lines[-1] == ("the space is pruned: optimizer.learning_rate, optimizer.name")
    start.past.check(start.space)


def test_similar_takes_the_nearest_and_says_why(storage: Path) -> None:
    upload(storage, "near", rows=120)
    upload(storage, "far", descriptors={"rows": 10**9, "features": 10, "classes": 1024})
    upload(storage, "other", task="regression")
    start = find(storage, "similar")
    assert [study.name for study in start.past.studies] == ["near"]
    assert start.lines[0].startswith("near: distance 0.01, rows 120 and here 100, features")
    assert start.lines[1].startswith("not far: distance 0.67, rows 1e+09 and here 100")
    assert "not other: its task is regression, not classification" in start.lines


def test_without_a_similar_study_the_search_starts_cold(storage: Path) -> None:
    start = find(storage, "similar")
    assert start.past.studies == ()
    assert start.lines == ("no similar study: the search starts cold",)


def test_an_unknown_study_is_told_with_the_closest(storage: Path) -> None:
    upload(storage)
    with pytest.raises(
        TrackingError, match=r"start_from: .* no study 'befor' .*did you mean 'before'"
    ):
        find(storage, "befor")


def test_a_study_without_completed_trials_is_refused(storage: Path) -> None:
    upload(storage, status="failed")
    with pytest.raises(RecipeError, match="start_from: study 'before' has no completed trial"):
        find(storage, "before")


def test_a_study_of_another_space_is_refused(storage: Path) -> None:
    upload(storage, rate="model.width", parameters={})
    with pytest.raises(
        RecipeError, match=r"'before' shares no parameter .* model.width, and the space optimizer"
    ):
        find(storage, "before")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start_from": ["a", "a"]}, "start_from must not name anything twice"),
        ({"start_from": []}, "start_from must be text, or a list of one or more texts"),
        ({"start_from": 7}, "start_from must be text, or a list of one or more texts"),
        ({"start_from": "a", "rename": {"x": 3}}, r"rename\.x must be text, got 3"),
        ({"start_from": "a", "prune_space": "yes"}, "prune_space must be true or false"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Specification("next", model="mlp", data=HDF5("a.h5"), **arguments)


def test_a_new_name_must_be_in_the_space() -> None:
    wanted = StartFrom("a", {"lr": "optimizer.learning_rat"})
    with pytest.raises(RecipeError, match=r"did you mean 'optimizer.learning_rate'"):
        wanted.check(SPACE)
