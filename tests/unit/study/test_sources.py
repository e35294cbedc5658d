"""A study of a source of the user's own: named, recorded, read again, and cut into parts."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rayfold as rf
from rayfold.data import Source, columns_of, load
from rayfold.data.parts import by_column, by_files
from rayfold.errors import DataError, RecipeError
from rayfold.recipe import Recipe
from tests.examples.made_rows import MadeRows
from tests.study_here import StudyHere, describe

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPE = """
study: circle
fixed:
  model: mlp
  data: {"./made_rows.py:MadeRows": {num_rows: 160}}
  holdout: 0.25
  folds: 2
  epochs: 12
  parameters: {batch_size: 8, model.hidden: 32, optimizer.name: adam}
search:
  space: {optimizer.learning_rate: {float: [0.01, 0.02]}}
  searcher: random
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the recipe is, with a file beside it that makes the rows."""
    folder = tmp_path_factory.mktemp("circle")
    shutil.copy(EXAMPLES / "made_rows.py", folder)
    return folder


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Iterator[Any]:
    """A study of these rows: ``recipe("fixed.epochs=3")``."""

    def make(*overrides: str) -> StudyHere:
        changes = [f"resources.storage={folder / 'store'}", *overrides]
        return StudyHere.from_recipe(Recipe.from_yaml(RECIPE, base=folder, overrides=changes))

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield make


@pytest.fixture(scope="module")
def trained(recipe: Any) -> StudyHere:
    """The study, after its only trial."""
    study: StudyHere = recipe()
    assert [trial.status for trial in study.run(1).trials] == ["completed"]
    return study


def test_a_study_is_judged_on_test_rows_of_its_own_source(trained: StudyHere) -> None:
    """A network learns the circle; guessing is wrong in half of the 40 rows."""
    ensemble = rf.Ensemble.greedy("circle", storage=trained.storage)
    held_out = ensemble.report(MadeRows(num_rows=160)).held_out
    assert held_out is not None
    assert held_out.ensemble.num_rows == 40
    assert held_out.ensemble.error is not None
    assert held_out.ensemble.error.value < 0.3
    with pytest.raises(DataError, match="these are other data than study 'circle' was run on"):
        ensemble.report(MadeRows(num_rows=160, random_seed=1))


def test_what_a_study_records_of_its_source(trained: StudyHere) -> None:
    recorded = describe(trained)
    assert recorded["source"] == {"made_rows": {"num_rows": 160, "random_seed": 0}}
    assert recorded["source_code"]["reference"] == "./made_rows.py:MadeRows"
    assert list(recorded["source_code"]["files"]) == ["made_rows.py"]
    assert recorded["code"]["files"] == {}
    texts = [*(trained.folder / "code").rglob("made_rows.py")]
    assert [text.read_text() for text in texts] == [(EXAMPLES / "made_rows.py").read_text()]


def test_other_rows_are_refused_and_other_code_for_the_same_rows_is_not(
    trained: StudyHere, recipe: Any, folder: Path
) -> None:
    with pytest.raises(RecipeError, match=r"data\.rows: 120 -> 60; source\.made_rows\.num_rows: "):
        recipe('fixed.data={"./made_rows.py:MadeRows": {num_rows: 80}}').plan()
    (folder / "same_rows.py").write_text((folder / "made_rows.py").read_text() + "\n# The same\n")
    other = recipe('fixed.data={"./same_rows.py:MadeRows": {num_rows: 160}}')
    assert "1 completed" in other.plan(2).done


def test_parts_are_cut_by_a_column_of_the_source_and_not_by_files(recipe: Any) -> None:
    change = "search.sub_problems={by: column, column: quadrant, num_trials: 1}"
    whole = recipe("study=cut", change)
    assert [part.study for part in whole.plan().parts] == [f"cut.{n}" for n in range(4)]
    with pytest.raises(RecipeError, match=r"by is 'files', but the rows of MadeRows lie in none"):
        recipe("study=cut", "search.sub_problems={by: files, num_trials: 1}").plan()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('{"./made_rows.py:MadeRows": {rows: 3}}', r"data is wrong: .* takes num_rows, random_se"),
        (
            '{"./made_rows.py:Made": {}}',
            r"data is wrong: source '\./made_rows.py:Made': .* has no",
        ),
        (
            "./absent.py:Rows",
            r"data is wrong: source \./absent\.py:Rows: cannot read .*absent\.py",
        ),
        ("{hdf: {paths: a.h5}}", "data is wrong: source 'hdf' is unknown .did you mean 'hdf5'"),
        ("{hdf: a.h5}", r"fixed\.data\.hdf is unknown \(did you mean 'hdf5'\?\)"),
        ("a.h5", r"fixed\.data must be a mapping, got 'a\.h5'"),
        ("{hdf5: a.h5, test_fraction: 0.2}", r"data\.test_fraction is now holdout of the study"),
        (
            '{"./made_rows.py:MadeRows": {}, test_fraction: 0.2}',
            "data is wrong: test_fraction is now holdout of the study: write holdout: ",
        ),
        (
            '{"./made_rows.py:MadeRows": {task: regression}}',
            r"data is wrong: \./made_rows\.py:MadeRows: task is now an option of the study",
        ),
        ("{}", r"data must name HDF5 files, such as .*, or a source, such as .*, got \{\}"),
    ],
)
def test_what_is_no_source_is_told_in_one_line(recipe: Any, data: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as told:
        recipe(f"fixed.data={data}")
    assert "\n" not in str(told.value)


class Failing(MadeRows):
    def columns(self, names: Any) -> Any:
        return super().columns(names)[self._num_rows]


class Uneven(MadeRows):
    def columns(self, names: Any) -> Any:
        return [*super().columns(names)[:-1], *MadeRows(num_rows=5).columns(names[-1:])]


class OneClass(MadeRows):
    def columns(self, names: Any) -> Any:
        points = np.ones((40, 2), np.float32)
        return columns_of({"point": points, "place": ["inside"] * 40}, names)


class Returning(MadeRows):
    """A source of which one method returns something else."""

    def __init__(self, method: str, returned: object) -> None:
        super().__init__()
        setattr(self, method, lambda *_: returned)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Failing(), r"Failing: it failed with IndexError: .* \(test_sources.py line \d+"),
        (Uneven(), "Uneven: column 'point' has 200 rows but column 'place' has 5; each row needs"),
        (OneClass(), "OneClass: column 'place': "),
        (Returning("roles", None), r"roles\(\) must return Roles\(features=.*, got NoneType"),
        (Returning("roles", ("point", "place")), r"roles\(\) must return Roles\(.*, got tuple"),
        (Returning("columns", None), "got NoneType; write return columns_of"),
        (Returning("columns", {"point": [1]}), "got dict; write return columns_of"),
        (Returning("columns", [[1], [2]]), "got list of list; write return columns_of"),
        (Returning("columns", []), r"in this order: \['point', 'place'\], got \[\]; write"),
        (Returning("describe", None), r"describe\(\) must return a dict of .*, got None"),
        (Returning("describe", {"x": object()}), r"got \{'x': <.* \(Object of type object is not"),
        (Returning("describe", {"x": float("nan")}), r"got \{'x': nan\} \(Out of range float"),
        (Returning("describe", {"x": (1, 2)}), r"got .* \(keys must be text, and lists no tuples"),
    ],
)
def test_a_source_that_is_wrong_is_told_in_one_line(
    tmp_path: Path, source: Source, message: str
) -> None:
    study = rf.Study("circle", model="mlp", data=source, storage=tmp_path)
    with pytest.raises(DataError, match=f"^data source {type(source).__name__}: ") as told:
        study.plan()
    assert re.search(message, str(told.value))
    assert "\n" not in str(told.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("by", "method", "returned", "message"),
    [
        ("files", "files", {"a.h5": "many"}, "Returning: it failed with ValueError: invalid lite"),
        ("column", "columns", {}, r"Returning: columns\(names\) must return columns, got dict"),
    ],
)
def test_a_source_that_is_wrong_about_its_parts_is_told_in_one_line(
    by: str, method: str, returned: Any, message: str
) -> None:
    data = load(MadeRows())
    source = Returning(method, returned)
    with pytest.raises(DataError, match=f"^data source {message}") as told:
        by_files(data, source, None) if by == "files" else by_column(data, source, "place", None)
    assert "\n" not in str(told.value)
