"""What every builder of ensembles promises, as tests to inherit."""

import random
from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
import pytest
import torch

from rayfold.ensemble import Builder, OutOfFold
from rayfold.tasks import Classification, Regression, Task

NUM_CANDIDATES, NUM_ROWS, NUM_FOLDS = 8, 120, 4
NOISE = np.linspace(0.6, 1.4, NUM_CANDIDATES)[:, None, None]
LAST_STOPPED = 3
"""So many candidates, the last ones, were stopped before their last fold."""


class BuilderContract(ABC):
    """Tests that a builder keeps the promises of ``rayfold.ensemble.Builder``.

    Inherit them in a test module, in a class whose name begins with ``Test``::

        class TestMine(BuilderContract):
            def make_builder(self) -> Builder:
                return Mine()
    """

    @abstractmethod
    def make_builder(self) -> Builder:
        """Return a new builder."""

    @pytest.fixture(params=["three classes", "two classes", "two values"])
    def out_of_fold(self, request: pytest.FixtureRequest) -> OutOfFold:
        """Eight candidates of different quality."""
        if request.param == "two values":
            return values_out_of_fold(2)
        return classes_out_of_fold(3 if request.param == "three classes" else 2)

    def test_it_chooses_candidates_once_each_that_count_in_falling_order(
        self, out_of_fold: OutOfFold
    ) -> None:
        """Shares sum to 1."""
        selection = self.make_builder().build(out_of_fold)
        shares = selection.combination.shares
        assert 0 < len(selection.candidates) == len(set(selection.candidates)) == len(shares)
        assert all(type(index) is int for index in selection.candidates)
        assert set(selection.candidates) <= set(range(NUM_CANDIDATES))
        assert list(shares) == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1)
        assert min(shares) >= 0

    def test_every_row_gets_a_prediction(self, out_of_fold: OutOfFold) -> None:
        """Probabilities sum to 1."""
        predictions = self.make_builder().build(out_of_fold).predict(out_of_fold)
        assert predictions.shape == out_of_fold.predictions.shape[1:]
        assert np.isfinite(predictions).all()
        if out_of_fold.task.probabilities:
            assert predictions.min() >= 0
            assert predictions.sum(axis=1) == pytest.approx(np.ones(NUM_ROWS))

    def test_the_same_predictions_give_the_same_ensemble(self, out_of_fold: OutOfFold) -> None:
        """Of two builders."""
        one, other = (self.make_builder().build(out_of_fold) for _ in range(2))
        assert one.candidates == other.candidates
        assert one.combination.shares == other.combination.shares

    def test_the_order_of_the_candidates_makes_no_difference(self, out_of_fold: OutOfFold) -> None:
        """But for rounding."""
        reversed_ = np.arange(NUM_CANDIDATES)[::-1]
        once = self.make_builder().build(out_of_fold).predict(out_of_fold)
        turned = out_of_fold.of_candidates(reversed_)
        again = self.make_builder().build(turned).predict(turned)
        assert again == pytest.approx(once, abs=1e-3)

    def test_every_row_gets_a_prediction_where_the_best_one_was_stopped(
        self, out_of_fold: OutOfFold
    ) -> None:
        """The last one is right wherever it has rows, and only the first one has all."""
        predictions, present = out_of_fold.predictions.copy(), out_of_fold.present
        right = (
            np.eye(predictions.shape[2], dtype=np.float32)[out_of_fold.target.astype(int)]
            if out_of_fold.task.probabilities
            else out_of_fold.target
        )
        predictions[-1] = np.where(present[-1][:, None], right, 0)
        some = [0, NUM_CANDIDATES - 1]
        both = replace(out_of_fold, predictions=predictions).of_candidates(some)
        assert both.complete.tolist() == [True, False]
        assert np.isfinite(self.make_builder().build(both).predict(both)).all()

    def test_what_stands_where_there_is_no_prediction_makes_no_difference(
        self, out_of_fold: OutOfFold
    ) -> None:
        """Zeros, or the truth itself."""
        predictions = out_of_fold.predictions.copy()
        predictions[~out_of_fold.present] = 0.5
        other = replace(out_of_fold, predictions=predictions)
        one, same = (self.make_builder().build(each) for each in (out_of_fold, other))
        assert one.candidates == same.candidates
        assert one.combination.shares == pytest.approx(same.combination.shares)

    def test_a_single_candidate_is_taken(self, out_of_fold: OutOfFold) -> None:
        """There is nothing to choose."""
        alone = self.make_builder().build(out_of_fold.of_candidates([0]))
        assert alone.candidates == (0,)

    def test_it_learns_of_other_rows_what_helps_on_these(self, out_of_fold: OutOfFold) -> None:
        """Built on three folds, it is better on the fourth than the candidates on average."""
        last = out_of_fold.folds == NUM_FOLDS - 1
        built = self.make_builder().build(out_of_fold.of_rows(~last))
        rows = out_of_fold.of_rows(last)
        complete = rows.of_candidates(np.flatnonzero(rows.complete))
        combined = OutOfFold(
            task=rows.task,
            predictions=built.predict(rows)[None].astype(np.float32),
            present=np.ones((1, int(last.sum())), bool),
            complete=np.ones(1, bool),
            target=rows.target,
            folds=rows.folds,
        )
        assert combined.losses()[0] < complete.losses().mean()

    def test_global_random_generators_are_left_alone(self, out_of_fold: OutOfFold) -> None:
        """Neither Python's nor NumPy's nor PyTorch's is drawn from, or seeded."""
        before = random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()
        self.make_builder().build(out_of_fold)
        after = random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist()
        assert after == before

    def test_its_settings_are_one_name_with_arguments(self) -> None:
        """They say how it is made again."""
        ((name, arguments),) = self.make_builder().settings().items()
        assert name.isidentifier()
        assert all(key.isidentifier() for key in arguments)


def classes_out_of_fold(num_classes: int) -> OutOfFold:
    """Return noisy probabilities of random classes, the first candidate's with the least noise."""
    generator = np.random.default_rng(0)
    target = generator.integers(num_classes, size=NUM_ROWS)
    noise = NOISE * generator.normal(size=(NUM_CANDIDATES, NUM_ROWS, num_classes))
    likelihoods = np.exp(1.5 * np.eye(num_classes)[target] + noise)
    predictions = likelihoods / likelihoods.sum(axis=2, keepdims=True)
    return _with_stopped(Classification(), predictions, target)


def values_out_of_fold(num_outputs: int) -> OutOfFold:
    """Return noisy predictions of random values, the first candidate's with the least noise."""
    generator = np.random.default_rng(0)
    target = generator.normal(size=(NUM_ROWS, num_outputs)).astype(np.float32)
    noise = NOISE * generator.normal(size=(NUM_CANDIDATES, NUM_ROWS, num_outputs))
    return _with_stopped(Regression(), target + noise, target)


def _with_stopped(task: Task, predictions: np.ndarray, target: np.ndarray) -> OutOfFold:
    """Return predictions without those of the last fold by the candidates that were stopped."""
    folds = np.arange(NUM_ROWS) % NUM_FOLDS
    present = np.ones(predictions.shape[:2], bool)
    present[-LAST_STOPPED:, folds == NUM_FOLDS - 1] = False
    return OutOfFold(
        task=task,
        predictions=np.where(present[:, :, None], predictions, 0).astype(np.float32),
        present=present,
        complete=np.asarray(present.all(axis=1)),
        target=target,
        folds=folds,
    )
