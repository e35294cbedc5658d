import numpy as np
import pytest

from rayfold.ensemble import OutOfFold, Stacked
from rayfold.errors import RecipeError
from rayfold.tasks import Classification, Regression


def of_classes(predictions: np.ndarray, target: np.ndarray) -> OutOfFold:
    return OutOfFold(
        task=Classification(),
        predictions=predictions.astype(np.float32),
        present=np.ones(predictions.shape[:2], bool),
        complete=np.ones(len(predictions), bool),
        target=target,
        folds=np.arange(len(target)) % 2,
    )


def test_a_candidate_that_is_always_wrong_is_turned_round() -> None:
    """What no mean can do: where it says one class, it is the other."""
    target = np.arange(40) % 2
    wrong = np.where(np.eye(2)[target] == 1, 0.1, 0.9)
    out_of_fold = of_classes(wrong[None], target)
    predictions = Stacked(inverse_penalty=10).build(out_of_fold).predict(out_of_fold)
    assert predictions.argmax(axis=1).tolist() == target.tolist()


def test_values_that_are_off_by_a_factor_and_a_shift_are_set_right() -> None:
    target = np.linspace(-1, 1, 50)[:, None]
    out_of_fold = OutOfFold(
        task=Regression(),
        predictions=(3 * target + 5)[None].astype(np.float32),
        present=np.ones((1, 50), bool),
        complete=np.ones(1, bool),
        target=target.astype(np.float32),
        folds=np.arange(50) % 2,
    )
    predictions = Stacked().build(out_of_fold).predict(out_of_fold)
    assert predictions == pytest.approx(target, abs=0.01)


@pytest.mark.parametrize("classes", [[1], [0, 2]])
def test_a_class_that_no_row_has_gets_next_to_no_probability(classes: list[int]) -> None:
    target = np.array(classes * 10)
    generator = np.random.default_rng(0)
    predictions = generator.dirichlet(np.ones(3), size=(2, len(target)))
    out_of_fold = of_classes(predictions, target)
    combined = Stacked().build(out_of_fold).predict(out_of_fold)
    others = [index for index in range(3) if index not in classes]
    assert combined[:, others].max() < 1e-9
    assert combined.sum(axis=1) == pytest.approx(np.ones(len(target)))


def test_candidates_that_lack_rows_do_not_take_part() -> None:
    target = np.arange(20) % 2
    predictions = np.stack([np.full((20, 2), 0.5), np.eye(2)[target]]).astype(np.float32)
    present = np.ones((2, 20), bool)
    present[1, 0] = False
    out_of_fold = OutOfFold(
        task=Classification(),
        predictions=predictions,
        present=present,
        complete=np.all(present, axis=1),
        target=target,
        folds=np.arange(20) % 2,
    )
    assert Stacked().build(out_of_fold).candidates == (0,)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"num_members": 0}, "num_members must be a whole number from 1 to 10{9}, got 0"),
        ({"inverse_penalty": 0}, "inverse_penalty must be a number above 0, at most 10{9}, got 0"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, float], match: str) -> None:
    with pytest.raises(RecipeError, match=match):
        Stacked(**arguments)  # type: ignore[arg-type]
