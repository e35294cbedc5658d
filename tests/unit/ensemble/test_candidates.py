from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from rayfold.ensemble.candidates import read_candidates
from rayfold.errors import EnsembleError
from tests.descriptions import study_description

CUT = ({0: 1.0, 1: 2.0}, {2: 3.0, 3: 4.0})
"""Rows of each fold, and what was predicted of them."""


class Store:
    """Trials with files of their folds, as they come from MLflow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0

    def trial(
        self,
        *folds: dict[int, float],
        numbers: tuple[int, ...] | None = None,
        status: str = "completed",
        fold_digest: str = "f" * 64,
    ) -> Any:
        numbers = tuple(range(len(folds))) if numbers is None else numbers
        folder = self._folder / str(self._number)
        folder.mkdir()
        for number, fold in zip(numbers, folds, strict=True):
            rows = np.array(sorted(fold), np.int64)
            tensors: dict[str, np.ndarray] = {
                "rows": rows,
                "predictions": np.array([[fold[row]] for row in sorted(fold)], np.float32),
                "labels": (rows[:, None] / 2).astype(np.float32),
            }
            save_file(tensors, folder / f"{number}.safetensors")
        self._number += 1
        return SimpleNamespace(
            id=f"{self._number - 1:04d}",
            status=status,
            folds=numbers,
            fold_digest=fold_digest,
            predictions=lambda fold: folder / f"{fold}.safetensors",
        )

    def study(self, *trials: Any, name: str = "numbers", run_id: str = "", **changes: Any) -> Any:
        numbers = {"task": "regression", "classes": None, "num_outputs": 1}
        return SimpleNamespace(
            name=name,
            run_id=run_id,
            description=study_description(**numbers | changes),
            trials=trials,
        )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_rows_come_sorted_with_the_fold_that_validated_them(store: Store) -> None:
    trial = store.trial({3: 4.0, 1: 2.0}, {0: 1.0, 2: 3.0})
    candidates = read_candidates([store.study(trial)], min_share=0.5)
    out_of_fold = candidates.out_of_fold
    assert candidates.rows.tolist() == [0, 1, 2, 3]
    assert out_of_fold.folds.tolist() == [1, 0, 1, 0]
    assert out_of_fold.predictions[0, :, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert out_of_fold.target[:, 0].tolist() == [0.0, 0.5, 1.0, 1.5]
    assert out_of_fold.predictions.dtype == np.float32


def test_a_study_whose_learner_predicts_nothing_says_so_in_a_line(store: Store) -> None:
    study = store.study(store.trial(), predicts=False, learner="./gan.py:GANLearner")
    message = r"^study 'numbers' has no predictions to combine, since ./gan.py:GANLearner predicts"
    with pytest.raises(EnsembleError, match=message):
        read_candidates([study], min_share=0.5)


def test_the_predictions_of_repeated_folds_are_averaged_row_by_row(store: Store) -> None:
    """Two cuts of 4 rows into 2 folds: row 0 gets 1 and 3, row 1 gets 2 and 6, and so on."""
    trial = store.trial({0: 1, 1: 2}, {2: 5, 3: 0}, {0: 3, 2: 6}, {1: 6, 3: 4})
    out_of_fold = read_candidates([store.study(trial, num_folds=4)], min_share=0.5).out_of_fold
    assert out_of_fold.predictions[0, :, 0].tolist() == [2.0, 4.0, 5.5, 2.0]
    assert out_of_fold.folds.tolist() == [0, 0, 1, 1]


def test_a_trial_that_was_stopped_takes_part_with_the_rows_that_it_has(store: Store) -> None:
    study = store.study(
        store.trial(CUT[1], numbers=(1,), status="stopped"), store.trial(*CUT), store.trial(*CUT)
    )
    out_of_fold = read_candidates([study], min_share=0.5).out_of_fold
    assert out_of_fold.present.tolist() == [[False, False, True, True], [True] * 4, [True] * 4]
    assert out_of_fold.complete.tolist() == [False, True, True]
    assert out_of_fold.predictions[0, :, 0].tolist() == [0.0, 0.0, 3.0, 4.0]


def test_too_few_rows_are_no_evidence(store: Store) -> None:
    study = store.study(
        store.trial(*CUT),
        store.trial(CUT[0], numbers=(0,), status="stopped"),
        store.trial(status="stopped"),
        store.trial(CUT[0], numbers=(0,), status="running"),
        store.trial(CUT[0], numbers=(0,), status="failed"),
    )
    candidates = read_candidates([study], min_share=0.6)
    assert [trial.id for _, trial in candidates.trials] == ["0000"]


def test_trials_of_several_studies_are_candidates_together(store: Store) -> None:
    studies = [store.study(store.trial(*CUT), name="a"), store.study(store.trial(*CUT), name="b")]
    candidates = read_candidates(studies, min_share=0.5)
    assert [candidates.name(index) for index in range(2)] == ["a/0000", "b/0001"]
    assert candidates.out_of_fold.predictions.shape == (2, 4, 1)


def test_studies_with_other_folds_are_refused_by_name(store: Store) -> None:
    studies = [
        store.study(store.trial(*CUT), name="a"),
        store.study(store.trial(*CUT), name="b", fold_digest="0" * 64),
    ]
    with pytest.raises(
        EnsembleError, match=r"study 'a' was validated on folds f{12}, study 'b' on folds 0{12}"
    ):
        read_candidates(studies, min_share=0.5)


@pytest.mark.parametrize(
    ("field", "value"), [("data_digest", "0" * 64), ("task", "classification"), ("num_rows", 5)]
)
def test_studies_of_other_data_are_refused(store: Store, field: str, value: Any) -> None:
    studies = [
        store.study(store.trial(*CUT), name="a"),
        store.study(store.trial(*CUT), name="b", **{field: value}),
    ]
    with pytest.raises(EnsembleError, match=f"studies 'a' and 'b' differ in {field}"):
        read_candidates(studies, min_share=0.5)


def test_a_trial_of_other_folds_is_refused(store: Store) -> None:
    study = store.study(store.trial(*CUT, fold_digest="0" * 64))
    with pytest.raises(
        EnsembleError, match=r"trial 0000 was validated on folds 0{12}, study 'num"
    ):
        read_candidates([study], min_share=0.5)


def test_predictions_that_are_not_finite_are_left_out_and_told(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    study = store.study(store.trial({0: np.nan, 1: 2.0}, CUT[1]), store.trial(*CUT))
    candidates = read_candidates([study], min_share=0.5)
    assert [trial.id for _, trial in candidates.trials] == ["0001"]
    assert "trial 0000 is left out: its predictions are not finite" in caplog.text


@pytest.mark.parametrize(
    ("folds", "numbers", "match"),
    [
        ((CUT[0],), (0,), "trial 0000 lacks the files of fold 1 in MLflow"),
        ((), (), "trial 0000 lacks the files of fold 0 in MLflow"),
        (
            (CUT[0], {0: 1.0, 3: 4.0}),
            (0, 1),
            "trial 0000 predicts 3 rows in 4 predictions, expected each of 4 rows once",
        ),
        (
            ({**CUT[0], 2: 0.0}, CUT[1]),
            (0, 1),
            "trial 0000 predicts 4 rows in 5 predictions, expected each of 4 rows once",
        ),
    ],
)
def test_a_completed_trial_that_is_not_whole_is_refused(
    store: Store, folds: tuple[dict[int, float], ...], numbers: tuple[int, ...], match: str
) -> None:
    with pytest.raises(EnsembleError, match=match):
        read_candidates([store.study(store.trial(*folds, numbers=numbers))], min_share=0.5)


def test_a_trial_that_predicts_other_rows_is_refused(store: Store) -> None:
    study = store.study(store.trial(*CUT), store.trial(CUT[0], {2: 1.0, 7: 1.0}))
    with pytest.raises(EnsembleError, match="trial 0001 predicts other rows than trial 0000"):
        read_candidates([study], min_share=0.5)


def test_a_study_without_a_completed_trial_is_told(store: Store) -> None:
    stopped = store.trial(CUT[0], numbers=(0,), status="stopped")
    for study in (store.study(), store.study(stopped)):
        with pytest.raises(EnsembleError, match="study 'numbers' has no completed trial"):
            read_candidates([study], min_share=0.5)


def part(store: Store, name: str, *trials: Any) -> Any:
    return store.study(*trials, name=f"numbers.{name}", run_id=name)


def scored(trial: Any, score: float) -> Any:
    trial.score = score
    return trial


def test_the_best_trials_of_all_parts_averaged_are_one_candidate(store: Store) -> None:
    """Of low the trial with 0.1 counts: the mean of 1, 2, 3, 4 and of 3, 4, 5, 6 is 2, 3, 4, 5."""
    whole = store.study(store.trial(*CUT), run_id="whole")
    low = part(store, "low", scored(store.trial({0: 9, 1: 9}, {2: 9, 3: 9}), 0.2))
    low.trials = (*low.trials, scored(store.trial(*CUT), 0.1))
    high = part(store, "high", scored(store.trial({0: 3, 1: 4}, {2: 5, 3: 6}), 0.3))
    candidates = read_candidates([whole], min_share=0.5, parts=[[low, high]])
    assert candidates.made_of == ((0,), (1, 2))
    assert candidates.name(1) == "numbers.low/0002 + numbers.high/0003"
    assert [study.name for study in candidates.studies] == [
        "numbers",
        "numbers.low",
        "numbers.high",
    ]
    out_of_fold = candidates.out_of_fold
    assert out_of_fold.predictions[1, :, 0].tolist() == [2.0, 3.0, 4.0, 5.0]
    assert out_of_fold.complete.tolist() == [True, True]
    assert candidates.losses.shape == (3,)


def test_a_trial_of_a_part_that_is_a_candidate_itself_is_entered_once(store: Store) -> None:
    whole = store.study(store.trial(*CUT), run_id="whole")
    low = part(store, "low", scored(store.trial(*CUT), 0.1))
    high = part(store, "high", scored(store.trial(*CUT), 0.1))
    candidates = read_candidates([whole, low], min_share=0.5, parts=[[low, high]])
    assert candidates.made_of == ((0,), (1,), (1, 2))
    assert len(candidates.trials) == 3


def test_without_a_trial_of_each_part_there_is_no_average(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    whole = store.study(store.trial(*CUT), run_id="whole")
    low = part(store, "low", scored(store.trial(*CUT), 0.1))
    high = part(store, "high", scored(store.trial(*CUT, status="failed"), 0.1))
    candidates = read_candidates([whole], min_share=0.5, parts=[[low, high]])
    assert candidates.made_of == ((0,),)
    assert len(candidates.studies) == 1
    assert "the parts are left out: numbers.high has no completed trial" in caplog.text
