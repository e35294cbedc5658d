import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from rayfold.search.bayesian.gaussian_process import JITTER, GaussianProcess


def make_data(number: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    features = generator.random((number, 3))
    scores = np.sin(5 * features[:, 0]) + features[:, 1] + 0.05 * generator.normal(size=number)
    return features, (scores - scores.mean()) / scores.std()


def fitted(process: GaussianProcess, features: np.ndarray, scores: np.ndarray) -> GaussianProcess:
    process.fit(features, scores, np.zeros(len(scores)), seed=0)
    return process


def test_its_posterior_is_that_of_scikit_learn() -> None:
    features, scores = make_data(40)
    process = fitted(GaussianProcess(3), features, scores)
    values = process.hyperparameters
    kernel = ConstantKernel(values.amplitude) * Matern(values.length_scales, nu=2.5)
    peer = GaussianProcessRegressor(kernel, alpha=values.noise + JITTER, optimizer=None)
    peer.fit(features, scores)
    new = np.random.default_rng(1).random((20, 3))
    mean, deviation = process.predict(new)
    expected_mean, expected_deviation = peer.predict(new, return_std=True)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-6)
    np.testing.assert_allclose(deviation, expected_deviation, atol=1e-6)
    np.testing.assert_allclose(process.means, process.predict(features)[0], atol=1e-6)


def test_growing_by_rows_is_fitting_anew() -> None:
    features, scores = make_data(120)
    grown = fitted(GaussianProcess(3), features[:100], scores[:100])
    hyperparameters = grown.hyperparameters
    for number in range(101, 109):
        fitted(grown, features[:number], scores[:number])
    assert grown.hyperparameters is hyperparameters
    whole = GaussianProcess(3)
    whole.hyperparameters, whole._num_fitted = hyperparameters, 108
    fitted(whole, features[:108], scores[:108])
    for one, other in zip(grown.predict(features), whole.predict(features), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_hyperparameters_are_fitted_again_after_a_tenth_more() -> None:
    features, scores = make_data(110)
    process = fitted(GaussianProcess(3), features[:100], scores[:100])
    before = process.hyperparameters
    assert fitted(process, features[:109], scores[:109]).hyperparameters is before
    assert fitted(process, features, scores).hyperparameters is not before


def test_it_finds_which_features_matter() -> None:
    process = fitted(GaussianProcess(3), *make_data(80))
    lengths = process.hyperparameters.length_scales
    assert lengths[2] > 3 * lengths[0]
    assert process.hyperparameters.noise < 0.05


def test_many_observations_are_learnt_and_few_of_them_fitted() -> None:
    features, scores = make_data(400)
    process = fitted(GaussianProcess(3), features, scores)
    assert np.abs(process.predict(features)[0] - scores).mean() < 0.1


def test_a_believed_score_pulls_the_mean_and_leaves_the_process_alone() -> None:
    features, scores = make_data(30)
    process = fitted(GaussianProcess(3), features, scores)
    new = np.array([[0.5, 0.5, 0.5]])
    before = process.predict(new)
    mean, deviation = process.with_beliefs(new, np.array([3.0])).predict(new)
    assert mean[0] > before[0][0] + 0.5
    assert deviation[0] < before[1][0]
    assert process.predict(new)[0] == before[0]


def test_known_variances_are_believed_less() -> None:
    features, scores = make_data(30)
    exact, vague = GaussianProcess(3), GaussianProcess(3)
    exact.fit(features, scores, np.zeros(30), seed=0)
    vague.hyperparameters, vague._num_fitted = exact.hyperparameters, 30
    vague.fit(features, scores, np.full(30, 4.0), seed=0)
    assert np.abs(vague.predict(features)[0]).mean() < np.abs(exact.predict(features)[0]).mean()


def test_scores_that_are_not_finite_are_refused() -> None:
    features, scores = make_data(10)
    scores[3] = np.nan
    with pytest.raises((ValueError, FloatingPointError)):
        fitted(GaussianProcess(3), features, scores)
