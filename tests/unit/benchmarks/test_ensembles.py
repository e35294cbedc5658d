"""The benchmark of ensembles on made-up predictions: its comparison and its tables."""

import ensembles
import numpy as np
import pytest
from ensemble_studies import Predicted
from numpy.typing import NDArray

from rayfold.ensemble.builders import Best, Greedy
from rayfold.ensemble.out_of_fold import OutOfFold
from rayfold.tasks import Classification


def predicted(true_class: NDArray[np.float64]) -> OutOfFold:
    """Predictions of two classes by the probability of the true one, class 0, of each row."""
    predictions = np.stack([true_class, 1 - true_class], axis=-1).astype(np.float32)
    return OutOfFold(
        task=Classification(),
        predictions=predictions,
        present=np.ones(true_class.shape, bool),
        complete=np.ones(len(true_class), bool),
        target=np.zeros(true_class.shape[1], np.int64),
        folds=np.arange(true_class.shape[1]) % 3,
    )


def test_a_change_is_paired_row_by_row() -> None:
    """Every row has half of the other's loss, so that no resampling moves the share of -50 %."""
    reference = np.array([1.0, 2.0, 6.0, 8.0])
    assert ensembles.change(reference / 2, reference) == pytest.approx((-0.5, -0.5, -0.5))
    share, low, high = ensembles.change(np.array([0.0, 4.0, 4.0, 0.5]), reference)
    assert share == pytest.approx(-0.5)
    assert low < share < high


def test_the_refit_is_the_mean_loss_of_its_models_and_their_average_is_better() -> None:
    """Of a row with 0.9 and 0.4: losses 0.105 and 0.916, one of two wrong; the average is 0.65."""
    held_out = predicted(np.array([[0.9, 0.4]]))
    models = np.array([[[0.9, 0.1], [0.9, 0.1]], [[0.4, 0.6], [0.9, 0.1]]])
    losses, wrong = ensembles.scores(models, held_out)
    assert losses == pytest.approx([-(np.log(0.9) + np.log(0.4)) / 2, -np.log(0.9)])
    assert wrong.tolist() == [0.5, 0.0]
    losses, wrong = ensembles.scores(models.mean(axis=0), held_out)
    assert losses[0] == pytest.approx(-np.log(0.65))
    assert wrong.tolist() == [0.0, 0.0]


def test_ensembles_of_few_rows_are_judged_on_the_other_rows() -> None:
    """One candidate is perfect on most rows, the other on the rest; the best one is the first."""
    true_class = np.where(np.arange(40) < 30, 0.99, 0.2)
    both = predicted(np.stack([true_class, 1.19 - true_class]))
    assert ensembles.few_rows_change(Best(1, calibrate=False), both, 20, draw=0) == 0.0
    assert ensembles.few_rows_change(Best(2), both, 20, draw=0) != 0.0


def test_the_tables_have_a_line_per_builder_and_the_goal() -> None:
    """Six candidates, each right on other rows; the refit has 0.8, but 0.2 in the first row."""
    refits = np.tile([0.8, 0.2], (3, 50, 1))
    refits[:, 0] = [0.2, 0.8]
    generator = np.random.default_rng(0)
    split = Predicted(
        out_of_fold=predicted(generator.uniform(0.3, 0.99, (6, 120))),
        held_out=predicted(generator.uniform(0.3, 0.99, (6, 50))),
        winner=0,
        refits=refits,
    )
    lines = list(ensembles.score_lines([split, split]))
    assert lines[1] == "with 100 rows together."
    assert lines[5].startswith(
        "| refitted winner |  |  | 0.2509 [0.2"
    )  # -log(0.8) - log(0.25) / 50
    assert "|  | 2.00% [0.00%, 5.00%] |  |" in lines[5]
    assert [line.split("|")[1].strip() for line in lines[6 : 8 + len(ensembles.BUILDERS)]] == [
        "average of 3 refits",
        "winner's fold average",
        *ensembles.BUILDERS,
    ]
    [curve] = [line for line in ensembles.curve_lines([split]) if line.startswith("| best, raw |")]
    [alone] = [line for line in lines if line.startswith("| best 1 |")]
    share = curve.split("|")[2].split(",")[0].strip()
    assert share in alone


def test_a_plain_greedy_selection_chooses_the_same() -> None:
    made_up = ensembles.make_out_of_fold(12, 90, 3)
    chosen = ensembles.plain_greedy(made_up, num_rounds=8)
    weights = np.bincount(chosen, minlength=12) / 8
    built = Greedy(8, prior_rows=0).build(made_up)
    assert dict(zip(built.candidates, built.combination.shares, strict=True)) == pytest.approx(
        {index: weight for index, weight in enumerate(weights) if weight}
    )
    lines = list(ensembles.build_time_lines(12, 90, 3))
    assert lines[0] == "12 candidates, 90 rows, 3 classes:"
    assert len(lines) == 15


def test_cases_of_mnist_need_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert ensembles.parse(["digits cnn"]).mnist is None
    with pytest.raises(SystemExit, match="2"):
        ensembles.parse(["digits cnn", "mnist8k cnn"])
    assert "CASE 'mnist8k cnn' needs --mnist, the file that" in capsys.readouterr().err
