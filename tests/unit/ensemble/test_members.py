from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from rayfold.ensemble.members import _read_trial
from rayfold.errors import EnsembleError


def logged(folder: Path, *folds: dict[int, float]) -> Any:
    """A trial with files of its folds, each given as rows and what was predicted of them."""
    for number, fold in enumerate(folds):
        rows = np.array(sorted(fold))
        predictions = np.array([[fold[row]] for row in sorted(fold)], np.float32)
        tensors = {"rows": rows, "predictions": predictions, "labels": rows / 2}
        save_file(tensors, folder / f"{number}.safetensors")
    return SimpleNamespace(
        id="0000",
        folds=tuple(range(len(folds))),
        predictions=lambda fold: folder / f"{fold}.safetensors",
    )


def test_the_predictions_of_repeated_folds_are_averaged_row_by_row(tmp_path: Path) -> None:
    """Two cuts of 4 rows into 2 folds: row 0 gets 1 and 3, row 1 gets 2 and 6, and so on."""
    trial = logged(tmp_path, {0: 1, 1: 2}, {2: 5, 3: 0}, {0: 3, 2: 6}, {1: 6, 3: 4})
    rows, predictions, labels = _read_trial(
        trial, {"num_folds": 4, "num_rows": 4, "num_outputs": 1}
    )
    assert rows.tolist() == [0, 1, 2, 3]
    assert predictions.tolist() == [[2.0], [4.0], [5.5], [2.0]]
    assert predictions.dtype == np.float32
    assert labels.tolist() == [0.0, 0.5, 1.0, 1.5]


def test_rows_that_are_not_predicted_equally_often_are_refused(tmp_path: Path) -> None:
    trial = logged(tmp_path, {0: 1, 1: 2}, {2: 5, 3: 0}, {0: 3, 1: 6}, {1: 6, 3: 4})
    with pytest.raises(
        EnsembleError, match="predicts 4 rows in 8 predictions, expected each of 4"
    ):
        _read_trial(trial, {"num_folds": 4, "num_rows": 4, "num_outputs": 1})
