import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import get_scorer
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.utils.validation import check_is_fitted
from torch import nn

from rayfold.ensemble import Ensemble, Input, Signature
from rayfold.ensemble.combination import WeightedMean
from rayfold.ensemble.predictor import BATCH_SIZE, EnsembleModule, check_features, predict_rows
from rayfold.errors import DataError, EnsembleError
from rayfold.tasks import Regression


def alone(model: nn.Module, signature: Signature) -> EnsembleModule:
    return EnsembleModule([[model]], WeightedMean(torch.ones(1)), signature)


def test_values_are_the_weighted_mean_over_members_of_the_mean_over_folds(
    regression: Ensemble,
) -> None:
    """Of a row of sum 5: 0.75 (6 + 8) / 2 + 0.25 (10 + 10)."""
    assert regression.predict(np.array([[2.0, 3.0]])).tolist() == [10.25]


def test_probabilities_are_averaged_not_logits(classification: Ensemble) -> None:
    """0.75 of 0.75 and 0.25 of 0.25."""
    features = np.zeros((2, 2), np.uint8)
    assert classification.predict_proba(features) == pytest.approx(
        np.array([[0.625, 0.375]] * 2), abs=1e-7
    )


def test_predictions_are_classes_as_the_labels_had_them(classification: Ensemble) -> None:
    assert classification.predict(np.zeros((2, 2), np.uint8)).tolist() == ["cat", "cat"]
    assert classification.classes_ is not None
    assert classification.classes_.tolist() == ["cat", "dog"]


def test_more_rows_than_a_batch_give_each_row_its_own(regression: Ensemble) -> None:
    features = np.arange(2.0 * (BATCH_SIZE + 3)).reshape(-1, 2)
    together = regression.predict(features)
    assert together.shape == (BATCH_SIZE + 3,)
    assert together[-1] == regression.predict(features[-1:])[0]


def test_no_rows_give_no_predictions(regression: Ensemble) -> None:
    assert regression.predict(np.zeros((0, 2))).shape == (0,)


def test_several_values_a_row_keep_their_columns(regression: Ensemble) -> None:
    signature = Signature(
        task=Regression(), inputs=regression.signature.inputs, num_outputs=2, classes=None
    )
    module = alone(nn.Linear(2, 2), signature)
    assert predict_rows(module, (np.zeros((3, 2), np.float32),)).shape == (3, 2)


def test_read_only_features_are_taken(regression: Ensemble) -> None:
    features = np.array([[2, 3]], np.float32)
    features.setflags(write=False)
    assert regression.predict(features).tolist() == [10.25]


def test_a_model_of_several_inputs_takes_a_tuple() -> None:
    class Product(nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return left * right

    inputs = tuple(Input(name=name, shape=(1,), dtype="int64") for name in ("left", "right"))
    signature = Signature(task=Regression(), inputs=inputs, num_outputs=1, classes=None)
    features = check_features((np.array([[2]]), np.array([[3]])), signature)
    assert predict_rows(alone(Product(), signature), features) == [[6.0]]
    with pytest.raises(DataError, match=r"expected 2 feature arrays \(left, right\), got 1"):
        check_features(np.array([[2]]), signature)
    with pytest.raises(DataError, match="right: expected 1 rows as in left, got 2"):
        check_features((np.array([[2]]), np.array([[3], [4]])), signature)


@pytest.mark.parametrize(
    ("features", "match"),
    [
        (np.zeros((4, 3)), r"features: expected shape \(rows, 2\), got \(4, 3\)"),
        (np.zeros(2), r"features: expected shape \(rows, 2\), got \(2,\)"),
        (3.0, r"features: expected shape \(rows, 2\), got \(\)"),
        (np.array([["a", "b"]]), "features have type <U1, expected numbers"),
        (np.array([[0.0, 1.0], [np.nan, 1.0]]), "features: row 1 holds NaN or infinity"),
        (np.zeros((4, 2), np.uint8), "expected type float64 as in training .* got uint8"),
    ],
)
def test_features_that_do_not_fit_are_told(
    regression: Ensemble, features: np.ndarray, match: str
) -> None:
    with pytest.raises(DataError, match=match):
        regression.predict(features)


def test_rows_of_different_lengths_are_told(regression: Ensemble) -> None:
    with pytest.raises(DataError, match="rows differ in their shape; give arrays"):
        regression.predict([[1.0, 2.0], [3.0]])


def test_bytes_are_not_mistaken_for_numbers(classification: Ensemble) -> None:
    """Images that were trained on as bytes, and scaled, come as floats of 0 to 255."""
    with pytest.raises(DataError, match="images: expected type uint8 as in training"):
        classification.predict(np.zeros((4, 2)))


def test_a_regression_has_no_probabilities(regression: Ensemble) -> None:
    assert regression.classes_ is None
    assert not hasattr(regression, "predict_proba")
    with pytest.raises(AttributeError, match=r"^regression has no class probabilities; use pred"):
        regression.predict_proba(np.zeros((4, 2)))


def test_a_model_that_returns_another_shape_is_named(regression: Ensemble) -> None:
    with pytest.raises(EnsembleError, match=r"Linear returned shape \(1, 5\), expected \(1, 1\)"):
        predict_rows(alone(nn.Linear(2, 5), regression.signature), (np.zeros((1, 2), np.float32),))


def test_the_table_has_a_row_per_member_with_its_configuration(regression: Ensemble) -> None:
    table = regression.table()
    assert table["trial"].tolist() == ["0003", "0001"]
    assert table["weight"].tolist() == [0.75, 0.25]
    assert table["model.scale"].tolist() == [1.0, 2.0]


def test_its_table_names_the_metric_of_the_study(regression: Ensemble) -> None:
    contents = regression.contents
    origin = dataclasses.replace(contents.origin, scored=("val_r2", "val_loss"))
    table = Ensemble(dataclasses.replace(contents, origin=origin)).table()
    assert table["val_r2"].tolist() == [0.5, 0.5]


def test_it_shows_its_members_and_losses(regression: Ensemble) -> None:
    assert repr(regression) == (
        "<Ensemble of 'digits', 2 members {0003: 0.75, 0001: 0.25}, "
        "nested out-of-fold squared error 0.15 (best trial alone 0.25)>"
    )


class TestAsAnEstimator:
    """What scikit-learn's functions need of it."""

    FEATURES = np.arange(12, dtype=np.float64).reshape(6, 2)

    def test_it_has_no_parameters_to_set(self, regression: Ensemble) -> None:
        assert regression.set_params(**regression.get_params()) is regression
        with pytest.raises(EnsembleError, match="no parameters to set, got alpha; build another"):
            regression.set_params(alpha=1)

    def test_it_tells_the_number_of_features_of_a_table(self, regression: Ensemble) -> None:
        assert regression.n_features_in_ == self.FEATURES.shape[1]
        (entry,) = regression.signature.inputs
        images = replace(entry, shape=(4, 4))
        regression.signature = replace(regression.signature, inputs=(images,))
        assert not hasattr(regression, "n_features_in_")

    def test_scorers_and_cross_validation_take_it_as_it_is(self, regression: Ensemble) -> None:
        target = regression.predict(self.FEATURES)
        scores = cross_val_score(regression, self.FEATURES, target, cv=3, scoring="r2")
        assert scores.tolist() == [1.0, 1.0, 1.0]
        assert regression.score(self.FEATURES, target) == 1.0
        again = cross_val_predict(regression, self.FEATURES, target, cv=2)
        assert again.tolist() == target.tolist()

    def test_it_is_a_classifier_with_classes_and_probabilities(
        self, classification: Ensemble
    ) -> None:
        features = np.zeros((8, 2), np.uint8)
        labels = np.array(["cat", "dog", "cat", "cat", "dog", "cat", "cat", "cat"])
        assert is_classifier(classification)
        assert not is_regressor(classification)
        scores = cross_val_score(classification, features, labels, cv=2, scoring="accuracy")
        assert scores.mean() == 0.75
        loss = get_scorer("neg_log_loss")(classification, features, labels)
        assert loss == pytest.approx((3 * np.log(0.625) + np.log(0.375)) / 4, abs=1e-6)

    def test_cloning_and_fitting_change_nothing(self, regression: Ensemble) -> None:
        check_is_fitted(regression)
        assert clone(regression) is regression
        assert regression.fit(self.FEATURES, None) is regression
        assert regression.get_params() == {}
