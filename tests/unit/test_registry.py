"""Every part is found in one way: by a name, by a reference, or as the class."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rayfold.ensemble import BUILDERS, Best
from rayfold.errors import ModelError, RecipeError
from rayfold.registry import Registry, arguments_of
from rayfold.search import SEARCHERS, Random, Searcher

EXAMPLES = Path(__file__).parents[1] / "examples"
STRICT = """\
from rayfold.search import Random

class Strict(Random):
    def __init__(self, *, size, unit=1):
        if size < 1:
            raise ValueError(f"size {size} is too small")
        super().__init__()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with examples, and a searcher that needs an argument."""
    for name in ("hill_climber.py", "median_loss.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    (tmp_path / "strict.py").write_text(STRICT)
    return tmp_path


def test_a_name_a_reference_and_the_class_give_the_same(folder: Path) -> None:
    assert SEARCHERS.find("random") is SEARCHERS.find("rayfold.search:Random") is Random
    assert SEARCHERS.find(Random) is Random
    found = SEARCHERS.create("./hill_climber.py:HillClimber", {"num_initial": 3}, base=folder)
    assert found.settings() == {"hill_climber": {"num_initial": 3, "random_seed": 0}}
    assert BUILDERS.create("./median_loss.py:MedianLoss", base=folder).settings() == {
        "median_loss": {}
    }


def test_a_name_may_stand_for_a_class_with_arguments() -> None:
    by_score = BUILDERS.create("by-score", {"num_members": 3})
    assert by_score.settings() == Best(3, weighting="score").settings()
    assert "num_members" not in arguments_of(BUILDERS.find("single-best"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            r"^\./strict\.py:Strict needs size; write \{\./strict\.py:Strict: \{size",
        ),
        ({"size": 1, "unitt": 2}, r"takes size, unit, got 'unitt' \(did you mean 'unit'\?\)"),
        ({"size": 0}, r"^\./strict\.py:Strict: ValueError: size 0 is too small"),
    ],
)
def test_wrong_arguments_of_ones_own_class_are_told_in_a_line(
    folder: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        SEARCHERS.create("./strict.py:Strict", arguments, base=folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("radom", r"^searcher 'radom' is unknown \(did you mean 'random'\?\); choose from random"),
        ("./hill_climber.py", r"is unknown; if it is your own, name its class: '\./hill_climber"),
        ("./hill_climber.py:", r"^searcher '\./hill_climber\.py:': write 'package\.module:Class"),
        (
            "./hill_climber.py:Climber",
            r"has no 'Climber' .*mean 'HillClimber'.*; it defines HillClimb",
        ),
        ("./median_loss.py:MedianLoss", r"must be a subclass of rayfold\.search\.Searcher, got"),
        ("./gone.py:Gone", r"^searcher \./gone\.py:Gone: cannot read .*No such file"),
        (
            Searcher,
            r"^searcher 'rayfold\.search\.base:Searcher' must define _begin, _learn, _propose",
        ),
        (torch.optim.SGD, r"must be a subclass of rayfold\.search\.Searcher, got another"),
        (3, r"^a searcher is a name, a reference or a class, got int; give the class itself"),
    ],
)
def test_what_is_no_part_of_the_kind_is_told_in_a_line(
    folder: Path, given: Any, message: str
) -> None:
    with pytest.raises(ModelError, match=message) as told:
        SEARCHERS.find(given, base=folder)
    assert "\n" not in str(told.value)


def test_a_registry_without_names_takes_references() -> None:
    optimizers = Registry[torch.optim.Optimizer]("optimizer", "torch.optim:Optimizer")
    assert optimizers.find("torch.optim:NAdam") is torch.optim.NAdam
    with pytest.raises(ModelError, match=r"^optimizer 'nadam' is unknown; give 'package"):
        optimizers.find("nadam")
