"""A study of a learner and a strategy of the user's own: named, recorded, and trained."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import rayfold as rf
from rayfold.errors import EnsembleError, ModelError, RecipeError
from rayfold.recipe import Recipe
from tests.study_here import StudyHere, describe

EXAMPLES = Path(__file__).parents[2] / "examples"
SPACE = rf.SearchSpace({"optimizer.learning_rate": rf.Float(1e-4, 1e-2, log=True)})


@pytest.fixture
def gan(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A study of the GAN of the examples, in files of the user's own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(EXAMPLES / "gan.py", tmp_path)

    def make(**changes: Any) -> StudyHere:
        options: dict[str, Any] = {
            "model": "./gan.py:GAN",
            "learner": "./gan.py:GANLearner",
            "data": rf.HDF5(digits),
            "space": SPACE,
            "searcher": rf.search.Random(),
            "folds": rf.Folds(2),
            "epochs": 1,
            "metric": "val_realism",
            "base": tmp_path,
            "storage": tmp_path / "store",
        }
        return StudyHere("faces", **{**options, **changes})

    return make


def test_what_a_learner_reports_is_searched_for_and_nothing_predicts(gan: Any) -> None:
    study = gan()
    result = study.run(2)
    assert result.mode == "max"
    assert [trial.status for trial in result.trials] == ["completed"] * 2
    assert all(0 < trial.score < 1 for trial in result.trials)
    assert describe(study)["learner"] == "./gan.py:GANLearner"
    with pytest.raises(
        EnsembleError, match=r"'faces' has no predictions to combine, since \./gan"
    ):
        rf.Ensemble.greedy("faces", storage=study.storage)


def test_a_learner_that_has_changed_is_refused_by_its_file(gan: Any, tmp_path: Path) -> None:
    gan().run(1)
    path = tmp_path / "gan.py"
    path.write_text(path.read_text().replace("LeakyReLU(0.2)", "LeakyReLU(0.3)"))
    with pytest.raises(RecipeError, match=r"began with other code: gan\.py has changed"):
        gan().plan(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": ["accuracy"]}, "metrics are computed of predictions, and the learner"),
        ({"metric": "val_accuracy"}, "metric 'val_accuracy' is not computed"),
    ],
)
def test_metrics_of_predictions_are_refused_where_there_are_none(
    gan: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        gan(**changes).plan(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learner": "supervized"}, r"learner 'supervized' is unknown \(did you mean 'superv"),
        ({"strategy": "./gan.py:GAN"}, r"strategy '\./gan\.py:GAN' must be a subclass of"),
        ({"learner": "./gan.py:Gone"}, r"learner '\./gan\.py:Gone': .* has no 'Gone'"),
    ],
)
def test_what_is_none_is_told_at_once(gan: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        gan(**changes)


def test_a_recipe_names_both(digits: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "epoch_averaging.py", tmp_path)
    text = f"""
        study: digits
        fixed:
          model: mlp
          data: {{hdf5: {digits}}}
          learner: supervised
          strategy: ./epoch_averaging.py:EpochAveraging
        """
    study = rf.Study.from_recipe(Recipe.from_yaml(text, base=tmp_path))
    description = describe(study)
    assert description["strategy"] == "./epoch_averaging.py:EpochAveraging"
    assert "learner" not in description
    assert list(description["code"]["files"]) == ["epoch_averaging.py"]
