"""A study with sub-problems: its arguments, its plan, its parts and what it begins with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rayfold.data import Folds, SubProblems
from rayfold.errors import RecipeError, TrackingError
from rayfold.journal import Journal, read_journal
from rayfold.recipe import Recipe
from rayfold.results import TrialResult
from rayfold.schedulers import Population, Racing, Replay
from rayfold.search import Fixed, Past, Random
from rayfold.space import Float, SearchSpace
from rayfold.study import Study, StudyResult
from rayfold.study.opened import Call
from rayfold.study.opening import has_begun, open_study
from rayfold.study.preparation import Preparation
from rayfold.transfer.start import start_from_parts

MakeStudy = Callable[..., Study]

SPACE = SearchSpace({"optimizer.learning_rate": Float(1e-4, 1e-1, log=True)})
PARTS = SubProblems(by="labels", groups={"a": [0, 1], "b": [2, 1]}, num_trials=4)
SPLIT = SubProblems(by="labels", groups={"low": [0, 1], "high": [2, 3]}, num_trials=4)


@pytest.fixture
def make_split(make_study: MakeStudy, digits: Path) -> MakeStudy:
    """A study of 60 rows in classes 0 to 3 in turn, cut into low and high ones."""
    with h5py.File(digits, "r+") as file:
        file["labels"][:] = np.arange(60) % 4

    def make(name: str = "digits", **changes: Any) -> Study:
        arguments = {"space": SPACE, "searcher": Random(), "sub_problems": SPLIT}
        return make_study(name, **{**arguments, **changes})

    return make


def trial(number: int, rate: float, score: float | None, status: str = "completed") -> TrialResult:
    return TrialResult(
        id=f"{number:04d}",
        config={"optimizer.learning_rate": rate},
        status=status,  # type: ignore[arg-type]
        score=score,
        standard_error=None,
        folds=(),
        error=None,
        started_at=0.0,
        finished_at=1.0,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sub_problems": "files"}, r"sub_problems must be a mapping, got 'files'"),
        (
            {"scheduler": Population(interval=2), "folds": Folds(3, order="together")},
            "sub_problems do not work with the scheduler population, which would compare trials",
        ),
        (
            {"scheduler": Replay([(0, {}), (2, {})]), "folds": Folds(3, order="together")},
            "sub_problems do not work with the scheduler replay",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    make_split: MakeStudy, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        make_split(**arguments)


def test_a_scheduler_of_ray_tune_is_refused(make_split: MakeStudy) -> None:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    with pytest.raises(RecipeError, match="do not work with the scheduler tune"):
        make_split(scheduler=AsyncHyperBandScheduler())


def test_a_plan_tells_the_parts_with_their_rows_and_trials(make_split: MakeStudy) -> None:
    """Of 60 rows each class has 15; 4 trials of each part and 2 of the whole, of 3 folds."""
    plan = make_split().plan(2)
    assert plan.num_fold_trainings == 30
    lines = plan.lines()
    assert "part       digits.low: 30 rows, 4 trials" in lines
    assert "part       digits.high: 30 rows, 4 trials" in lines
    trainings = next(line for line in lines if line.startswith("trainings"))
    assert trainings.startswith("trainings  (8 of parts + 2) trials x 3 folds = 30 of")


def test_a_group_that_does_not_fit_is_refused_by_the_plan(make_split: MakeStudy) -> None:
    with pytest.raises(RecipeError, match="groups: 'b' names 1 as 'a' does"):
        make_split(sub_problems=PARTS).plan(2)
    with pytest.raises(RecipeError, match="name must be 1 to 100 letters"):
        make_split("d" * 99).plan(2)


def test_the_study_of_a_part_is_the_whole_but_for_name_rows_and_seed(
    make_split: MakeStudy,
) -> None:
    whole = make_split(scheduler=Racing())
    low, high = whole.preparation.parts
    assert [part.specification.name for part in (low, high)] == ["digits.low", "digits.high"]
    assert low.folder.path == whole.storage / "digits.low"
    of_whole, of_part = (study.description([]).to_dict() for study in (whole.preparation, low))
    assert of_whole["sub_problems"] == {"by": "labels", "column": None, "parts": ["low", "high"]}
    part = of_part.pop("sub_problem")
    assert (part["of"], part["part"], part["rows"]) == ("digits", "low", 30)
    assert of_part.pop("sub_problems") is of_whole.pop("sub_problem") is None
    del of_whole["sub_problems"]
    seeds = [
        study.description([]).searcher["random"]["random_seed"]
        for study in (whole.preparation, low, high)
    ]
    assert len(set(seeds)) == 3
    assert of_part.pop("searcher")["random"].keys() == of_whole.pop("searcher")["random"].keys()
    assert of_part == of_whole
    assert low.data is whole.dataset


def test_a_part_that_has_other_rows_is_refused(make_split: MakeStudy) -> None:
    (low, _) = make_split().preparation.parts
    with Journal.open(low.folder.journal) as journal:
        open_study(low, journal, [], 4, Call())
    other = SubProblems(by="labels", groups={"low": [0, 2], "high": [1, 3]}, num_trials=4)
    (changed, _) = make_split(sub_problems=other).preparation.parts
    with pytest.raises(RecipeError, match=r"since it began: .*sub_problem: other contents; put"):
        has_begun(changed, low.entries(), accept_changed_code=False)


def test_the_trials_of_the_parts_are_the_start_of_the_whole() -> None:
    start = start_from_parts(
        {
            "digits.low": [trial(0, 0.01, 0.5), trial(1, 0.02, None, "failed")],
            "digits.high": [trial(0, 0.03, 0.25, "stopped")],
        },
        SPACE,
        "min",
    )
    (low,) = start.past.studies
    assert (low.configs, low.scores) == (({"optimizer.learning_rate": 0.01},), (0.5,))
    assert start.lines == (
        "digits.low: its part; 1 of 1 trials",
        "not digits.high: it has no completed trial",
    )


@pytest.mark.parametrize("fixed", [False, True])
def test_what_was_taken_from_parts_is_written_first_and_taken_again(
    make_split: MakeStudy, fixed: bool
) -> None:
    """Even if nothing was: a later run must not find more than the first did."""
    searcher = Fixed([{"optimizer.learning_rate": 0.1}]) if fixed else Random()
    study = make_split(searcher=searcher)
    (low, _) = study.preparation.parts
    result = found(low, trial(0, 0.01, 0.5))
    study.preparation.head_start.take_from_parts([result], configurations=not fixed)
    path = study.folder / "journal.jsonl"
    with Journal.open(path) as journal:
        open_study(study.preparation, journal, [], 2, Call())
    past, begun, _ = read_journal(path)
    assert (past.event, begun.event) == ("past", "study")
    assert len(past.fields["studies"]) == (0 if fixed else 1)
    again = make_split(searcher=searcher)
    again.preparation.head_start.take_from_parts([], configurations=not fixed)
    assert (
        again.preparation.head_start.start(read_journal(path)).past
        == study.preparation.head_start.start([]).past
    )


def test_a_past_that_was_asked_for_goes_before_that_of_the_parts(make_split: MakeStudy) -> None:
    study = make_split(start_from="before")
    (low, _) = study.preparation.parts
    result = found(low, trial(0, 0.01, 0.5))
    study.preparation.head_start.take_from_parts([result], configurations=True)
    with pytest.raises(TrackingError, match="start_from: no MLflow store"):
        study.preparation.head_start.start([])
    assert make_split().preparation.head_start.start([]).past == Past()


def test_a_recipe_makes_the_same_parts(digits: Path, tmp_path: Path) -> None:
    text = f"""
study: digits
fixed:
  model: mlp
  data: {{hdf5: {digits.name}}}
  epochs: 1
search:
  space: mlp
  num_trials: 1
  sub_problems: {{by: files, num_trials: 2, groups: {{one: [{digits.name}], two: [other.h5]}}}}
resources:
  storage: {tmp_path / "store"}
"""
    study = Study.from_recipe(Recipe.from_yaml(text, base=digits.parent))
    assert study.specification.sub_problems == SubProblems(
        by="files",
        num_trials=2,
        groups={"one": [str(digits)], "two": [str(digits.parent / "other.h5")]},
    )


def found(part: Preparation, *trials: TrialResult) -> StudyResult:
    """What the study of a part has found."""
    return StudyResult(
        name=part.specification.name,
        metric="val_loss",
        mode="min",
        metrics=("val_loss",),
        trials=trials,
        interrupted=False,
        uploaded=True,
        tracking_uri="",
    )
