"""Ensembles on HDF5 files: which rows, how good, and what is written."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rayfold.data import HDF5, Holdout, load
from rayfold.description import HoldoutSplit
from rayfold.ensemble import Ensemble, FilePredictions, predict_files
from rayfold.errors import DataError
from rayfold.machine import machine_fault
from rayfold.tasks import Regression

Write = Callable[..., Path]
IMAGES = np.zeros((3, 2), np.uint8)
"""Every row is a cat with probability 0.75 * 0.75 + 0.25 * 0.25 = 0.625."""
SUMS = np.array([[2.0, 3.0], [0.0, 1.0]])
"""Values of 0.75 (x + 2) + 0.25 (2 x + 10) = 1.25 x + 4, with x = 5 and 1: 10.25 and 5.25."""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an HDF5 file: ``write("a.h5", images=..., labels=[...])``."""

    def write_file(name: str, **arrays: Any) -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            for key, values in arrays.items():
                text = np.asarray(values).dtype.kind == "U"
                file.create_dataset(key, data=values, dtype=h5py.string_dtype() if text else None)
        return tmp_path / name

    return write_file


def from_study(ensemble: Ensemble, data_digest: str, **test: Any) -> Ensemble:
    """Return the ensemble as if it came from a study of these data."""
    contents = ensemble.contents
    split = HoldoutSplit(**test)
    origin = dataclasses.replace(contents.origin, data_digest=data_digest, test=split)
    return Ensemble(dataclasses.replace(contents, origin=origin))


def test_text_classes_are_compared_with_text_labels(
    classification: Ensemble, write: Write
) -> None:
    """Two of three are cats; the log loss is -(2 ln 0.625 + ln 0.375) / 3."""
    file = write("animals.h5", images=IMAGES, labels=["cat", "dog", "cat"])
    found = predict_files(classification, file)
    assert found.rows.tolist() == [0, 1, 2]
    assert found.predictions.tolist() == ["cat"] * 3
    assert found.metrics() == pytest.approx(
        {"accuracy": 2 / 3, "log_loss": -(2 * math.log(0.625) + math.log(0.375)) / 3}
    )
    assert found.summary() == "3 rows, accuracy 0.6667, log_loss 0.6403"


def test_the_metrics_of_the_study_come_first(classification: Ensemble, write: Write) -> None:
    """All are taken for cats: of the cats all are found, of the dogs none."""
    origin = dataclasses.replace(
        classification.origin, scored=("val_balanced_accuracy", "val_loss")
    )
    contents = dataclasses.replace(classification.contents, origin=origin)
    file = write("animals.h5", images=IMAGES, labels=["cat", "dog", "cat"])
    assert predict_files(Ensemble(contents), file).summary() == (
        "3 rows, balanced_accuracy 0.5000, accuracy 0.6667, log_loss 0.6403"
    )


def test_without_labels_there_are_predictions_and_no_metrics(
    classification: Ensemble, write: Write
) -> None:
    found = predict_files(classification, write("animals.h5", images=IMAGES))
    assert found.labels is None
    assert found.metrics() == {}
    assert found.summary() == "3 rows"


def test_a_class_that_was_not_trained_counts_as_wrong_and_has_no_log_loss(
    classification: Ensemble, write: Write
) -> None:
    file = write("animals.h5", images=IMAGES, labels=["cat", "cow", "cow"])
    assert predict_files(classification, file).metrics() == {"accuracy": pytest.approx(1 / 3)}


def test_labels_of_which_none_is_a_class_are_refused(
    classification: Ensemble, write: Write
) -> None:
    file = write("animals.h5", images=IMAGES, labels=["cow", "cow", "hen"])
    refused = r"animals\.h5, data set 'labels': it holds 'cow', 'hen', but the classes .* 'cat', "
    with pytest.raises(DataError, match=refused):
        predict_files(classification, file)


@pytest.mark.parametrize(
    ("labels", "shown"), [([0.0, 1.0, 0.25], r"0\.25"), ([7.0, 8.0, 8.0], r"7\.0, 8\.0")]
)
def test_values_of_a_regression_are_no_classes(
    classification: Ensemble, write: Write, labels: list[float], shown: str
) -> None:
    """Two of the first three are classes by chance."""
    contents = classification.contents
    signature = dataclasses.replace(contents.signature, classes=(0, 1))
    ensemble = Ensemble(dataclasses.replace(contents, signature=signature))
    file = write("sums.h5", images=IMAGES, labels=labels)
    with pytest.raises(DataError, match=rf"it holds {shown}, but the classes .* are 0, 1;"):
        predict_files(ensemble, file)


@pytest.mark.parametrize("labels", [[9.25, 5.25], [[9.25], [5.25]]])
def test_values_are_compared_by_their_errors(
    regression: Ensemble, write: Write, labels: Any
) -> None:
    """Off by 1 and by 0."""
    found = predict_files(regression, write("sums.h5", features=SUMS, labels=labels))
    assert found.predictions.tolist() == [10.25, 5.25]
    assert found.probabilities is None
    assert found.metrics() == pytest.approx({"rmse": math.sqrt(0.5), "mae": 0.5})


def test_several_values_a_row_count_alike() -> None:
    found = FilePredictions(
        task=Regression(),
        rows=np.arange(2),
        predictions=np.array([[1.0, 2.0], [3.0, 4.0]]),
        probabilities=None,
        labels=np.array([[1.0, 2.0], [3.0, 0.0]], np.float32),
        classes=None,
    )
    assert found.metrics() == {"rmse": 2.0, "mae": 1.0}


def test_held_out_rows_are_those_that_the_study_kept(
    classification: Ensemble, write: Write
) -> None:
    file = write("animals.h5", images=np.zeros((10, 2), np.uint8), labels=["cat", "dog"] * 5)
    data = load(HDF5(file, features="images"), holdout=Holdout(0.2, random_seed=3))
    ensemble = from_study(classification, data.digest, fraction=0.2, random_seed=3)
    found = predict_files(ensemble, file, held_out=True)
    assert found.rows.tolist() == data.test_rows.tolist()
    assert found.labels is not None
    assert sorted(found.labels.tolist()) == ["cat", "dog"]
    assert found.metrics()["accuracy"] == 0.5


def test_predictions_of_the_data_that_were_trained_on_are_marked_as_such(
    regression: Ensemble, write: Write
) -> None:
    table = {"features": SUMS.repeat(5, axis=0), "labels": np.array([0.0, 1.0] * 5)}
    file = write("table.h5", **table)
    digest = load(HDF5(file), holdout=Holdout(0.2)).digest
    ensemble = from_study(regression, digest, fraction=0.2, random_seed=0, row_groups=None)
    of_study = predict_files(ensemble, file).summary()
    assert of_study.endswith("; the models were trained on most of these rows, see --held-out")
    table["labels"][3] = 7.0
    assert "trained" not in predict_files(ensemble, write("other.h5", **table)).summary()
    assert "trained" not in predict_files(ensemble, file, held_out=True).summary()


def test_held_out_rows_of_a_regression_are_compared_too(
    regression: Ensemble, write: Write
) -> None:
    file = write("sums.h5", features=SUMS.repeat(5, axis=0), labels=np.full(10, 7.75))
    data = load(HDF5(file), holdout=Holdout(0.2))
    ensemble = from_study(regression, data.digest, fraction=0.2, random_seed=0)
    assert predict_files(ensemble, file, held_out=True).metrics() == {"rmse": 2.5, "mae": 2.5}


def test_held_out_rows_of_other_data_are_refused(classification: Ensemble, write: Write) -> None:
    """One pixel is another; nobody can tell which rows were kept."""
    images = np.zeros((10, 2), np.uint8)
    data = load(HDF5(write("a.h5", images=images, labels=["cat", "dog"] * 5), features="images"))
    images[0, 0] = 1
    other = write("b.h5", images=images, labels=["cat", "dog"] * 5)
    ensemble = from_study(classification, data.digest, fraction=0.2, random_seed=0)
    with pytest.raises(DataError, match="are other data than study 'digits' was run on"):
        predict_files(ensemble, other, held_out=True)


def test_held_out_rows_of_a_study_that_kept_none_are_refused(
    classification: Ensemble, write: Write
) -> None:
    file = write("animals.h5", images=IMAGES, labels=["cat", "dog", "cat"])
    with pytest.raises(DataError, match="study 'digits' kept no rows for the test"):
        predict_files(from_study(classification, "d", fraction=0.0), file, held_out=True)


def test_rows_that_disagree_are_refused_with_the_file(
    classification: Ensemble, write: Write
) -> None:
    """Also where the files make up for each other: labels would belong to other rows."""
    first = write("first.h5", images=IMAGES, labels=["cat"] * 4)
    second = write("second.h5", images=IMAGES, labels=["cat"] * 2)
    with pytest.raises(DataError, match=r"first\.h5: data set 'images' has 3 rows but 'labels' h"):
        predict_files(classification, [first, second])


def test_labels_of_another_kind_are_refused_with_the_file(
    classification: Ensemble, regression: Ensemble, write: Write
) -> None:
    numbers = write("numbers.h5", images=IMAGES, labels=[0, 1, 0])
    with pytest.raises(DataError, match=r"numbers\.h5, data set 'labels': it holds numbers, but"):
        predict_files(classification, numbers)
    text = write("text.h5", features=SUMS, labels=["10.25", "5.25"])
    with pytest.raises(DataError, match="it holds text, but study 'digits' learned to predict n"):
        predict_files(regression, text)


def test_labels_of_another_width_are_refused(regression: Ensemble, write: Write) -> None:
    file = write("sums.h5", features=SUMS, labels=np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"expected labels of shape \(2,\).* got \(2, 3\)"):
        predict_files(regression, file)


def test_a_file_without_the_features_is_refused(classification: Ensemble, write: Write) -> None:
    file = write("animals.h5", image=IMAGES)
    with pytest.raises(DataError, match=r"animals\.h5.*'images' \(did you mean 'image'\?\)"):
        predict_files(classification, file)


def test_what_is_written_can_be_read_back(
    classification: Ensemble, write: Write, tmp_path: Path
) -> None:
    found = predict_files(classification, write("animals.h5", images=IMAGES))
    found.write(tmp_path / "predictions.h5")
    with h5py.File(tmp_path / "predictions.h5") as file:
        assert set(file) == {"rows", "predictions", "classes", "probabilities"}
        assert file["rows"][:].tolist() == [0, 1, 2]
        assert file["predictions"].asstr()[:].tolist() == ["cat"] * 3
        assert file["classes"].asstr()[:].tolist() == ["cat", "dog"]
        assert file["probabilities"][:] == pytest.approx(np.array([[0.625, 0.375]] * 3))


def test_values_are_written_without_classes(
    regression: Ensemble, write: Write, tmp_path: Path
) -> None:
    predict_files(regression, write("sums.h5", features=SUMS)).write(tmp_path / "values.h5")
    with h5py.File(tmp_path / "values.h5") as file:
        assert {name: file[name][:].tolist() for name in file} == {
            "rows": [0, 1],
            "predictions": [10.25, 5.25],
        }


def test_no_file_is_replaced(classification: Ensemble, write: Write) -> None:
    file = write("animals.h5", images=IMAGES)
    content = file.read_bytes()
    with pytest.raises(DataError, match=r"animals\.h5 exists; choose another file"):
        predict_files(classification, file).write(file)
    assert file.read_bytes() == content


def test_a_folder_that_is_not_there_is_told(
    classification: Ensemble, write: Write, tmp_path: Path
) -> None:
    found = predict_files(classification, write("animals.h5", images=IMAGES))
    with pytest.raises(DataError, match=r"there is no folder .*missing; make it first"):
        found.write(tmp_path / "missing" / "predictions.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["animals.h5"]


def test_a_full_disk_refuses_the_file_and_keeps_nothing_of_it(
    small_disk: tuple[Path, Callable[[str], None]],
) -> None:
    """The 4 MB do not fit in 1 MB; HDF5 itself would crash Python there."""
    folder, enlarge = small_disk
    found = FilePredictions(
        task=Regression(),
        rows=np.arange(500_000),
        predictions=np.zeros(500_000),
        probabilities=None,
        labels=None,
        classes=None,
    )
    full = r"file\.h5: cannot be written: No space left on device \(.* free on "
    with pytest.raises(DataError, match=full) as caught:
        found.write(folder / "file.h5")
    assert machine_fault(caught.value, folder) is not None
    assert list(folder.iterdir()) == []
    enlarge("64m")
    found.write(folder / "file.h5")
    with h5py.File(folder / "file.h5") as file:
        assert file["rows"][-1] == 499_999
