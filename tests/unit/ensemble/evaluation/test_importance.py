from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rayfold as rf
from rayfold.ensemble import Ensemble
from rayfold.ensemble.evaluation.importance import _importance, feature_importance
from rayfold.errors import DataError, EnsembleError, RecipeError
from tests.descriptions import study_description


def study_of(space: rf.SearchSpace, *trials: tuple[dict[str, Any], float]) -> Any:
    return SimpleNamespace(
        name="digits",
        description=study_description(space=space.to_dict()),
        trials=[SimpleNamespace(config=config, score=score) for config, score in trials],
    )


def test_what_the_score_depends_on_explains_its_variance() -> None:
    """The score is the rate's exponent; width and momentum, not always there, do nothing."""
    space = rf.SearchSpace(
        {
            "model.width": rf.Int(1, 64, log=True),
            "optimizer.name": rf.Choice("sgd", "adam"),
            "optimizer.learning_rate": rf.Float(1e-4, 1.0, log=True),
            "optimizer.momentum": rf.Float(0.0, 0.9, when={"optimizer.name": "sgd"}),
        }
    )
    generator = np.random.default_rng(0)
    configs = [space.sample(generator) for _ in range(40)]
    scored = [(config, float(np.log10(config["optimizer.learning_rate"]))) for config in configs]
    table = _importance(study_of(space, *scored), random_seed=0)
    assert table["parameter"][0] == "optimizer.learning_rate"
    assert sorted(table["parameter"]) == sorted(space)
    assert table["importance"][0] > 0.9
    assert table["importance"].sum() == pytest.approx(1)


def test_too_few_trials_are_told() -> None:
    space = rf.SearchSpace({"x": rf.Float(0, 1)})
    with pytest.raises(EnsembleError, match="study 'digits' has 1 completed trials; importance"):
        _importance(study_of(space, ({"x": 0.5}, 1.0)), random_seed=0)


def test_a_feature_that_counts_three_times_as_much_is_nine_times_as_important(
    regression: Ensemble,
) -> None:
    """Predictions are a multiple of the sum of both; one varies three times as much."""
    features = np.random.default_rng(0).normal(size=(400, 2)) * [1.0, 3.0]
    table = feature_importance(regression, features, regression.predict(features))
    assert table["input"].tolist() == ["features", "features"]
    assert table["place"].tolist() == [(1,), (0,)]
    assert table["importance"][0] == pytest.approx(9 * table["importance"][1], rel=0.2)
    assert table["deviation"][0] < table["importance"][0]


def test_a_feature_of_no_effect_has_no_importance(classification: Ensemble) -> None:
    """It adds the same to the logits of both classes."""
    features = np.random.default_rng(0).integers(0, 255, size=(20, 2)).astype(np.uint8)
    table = feature_importance(classification, features, ["cat"] * 20, num_repeats=2)
    assert table["importance"].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_wrong_arguments_are_told(classification: Ensemble) -> None:
    features = np.zeros((2, 2), np.uint8)
    with pytest.raises(DataError, match="target: expected 2 rows as the features have, got 3"):
        feature_importance(classification, features, ["cat"] * 3)
    with pytest.raises(DataError, match="target: the ensemble knows no class 'cow'"):
        feature_importance(classification, features, ["cat", "cow"])
    with pytest.raises(
        RecipeError, match=r"num_repeats must be a whole number from 1 to 10{9}, got 0"
    ):
        feature_importance(classification, features, ["cat", "dog"], num_repeats=0)
