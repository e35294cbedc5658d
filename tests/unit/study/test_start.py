"""A study that starts from others: its arguments, its plan and its journal."""

from collections.abc import Callable
from typing import Any

import pytest

from rayfold.errors import RecipeError, TrackingError
from rayfold.journal import Journal
from rayfold.search import Fixed, Past, PastStudy, Random
from rayfold.space import Float, SearchSpace
from rayfold.study import Study
from rayfold.transfer.start import Start

SPACE = SearchSpace({"optimizer.learning_rate": Float(1e-4, 1e-1, log=True)})
PAST = PastStudy(
    name="before",
    mode="min",
    configs=({"optimizer.learning_rate": 0.001},),
    scores=(0.5,),
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"rename": {"lr": "optimizer.learning_rate"}},
            "rename needs earlier studies; give start_from",
        ),
        ({"prune_space": True}, "prune_space needs earlier studies; give start_from"),
        ({"start_from": []}, "start_from must be text, or a list of one or more texts"),
        (
            {"start_from": "a", "searcher": Fixed([{"optimizer.learning_rate": 0.1}])},
            "the searcher fixed cannot start from earlier studies; leave start_from out",
        ),
        (
            {"start_from": "a", "rename": {"lr": "optimizer.rate"}},
            r"rename: 'lr' becomes 'optimizer.rate', which is no parameter of the space",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    make_study: Callable[..., Study], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        make_study(space=SPACE, **arguments)


def test_a_plan_says_where_there_is_no_store(
    make_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study = make_study(space=SPACE, searcher=Random(), start_from="before")
    with pytest.raises(TrackingError, match="start_from: no MLflow store at"):
        study.plan(4)
    alike = make_study(space=SPACE, searcher=Random(), start_from=["Similar"])
    with pytest.raises(TrackingError, match=r"To have them chosen, write similar alone, without"):
        alike.plan(4)
    (line,) = make_study(space=SPACE, searcher=Random(), start_from="similar").plan(4).past
    assert line.startswith("no similar study: ")


def test_a_study_that_goes_on_takes_its_past_from_its_journal(
    make_study: Callable[..., Study],
) -> None:
    """There is no MLflow to ask, and the lines are those of the first run."""
    study = make_study(space=SPACE, searcher=Random(), start_from="before")
    start = Start(past=Past((PAST,)), space=SPACE, lines=("before: as asked for",))
    with Journal.open(study.folder / "journal.jsonl") as journal:
        journal.append("past", **start.to_dict())
    plan = study.plan(4)
    assert plan.past == start.lines
    assert "past       before: as asked for" in plan.lines()
