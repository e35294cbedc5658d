from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rayfold.data import HDF5, Folds, Holdout, load, load_features, load_labels
from rayfold.errors import DataError, RecipeError
from rayfold.tasks import Classification, Regression

Write = Callable[..., Path]

IMAGES = np.arange(40, dtype=np.uint8).reshape(10, 2, 2)
LABELS = np.array([3, 7] * 5, dtype=np.uint8)


def test_a_file_becomes_features_class_indices_and_rows(write: Write) -> None:
    path = write("digits.h5", {"features": IMAGES, "labels": LABELS})
    dataset = load(HDF5(path), holdout=Holdout(0.2))
    assert dataset.features[0].dtype == np.uint8
    assert dataset.features[0].tolist() == IMAGES.tolist()
    assert dataset.labels.tolist() == [0, 1] * 5
    assert (dataset.task, dataset.classes, dataset.num_outputs) == (Classification(), (3, 7), 2)
    assert (dataset.num_rows, dataset.input_shapes) == (10, ((2, 2),))
    assert dataset.num_bytes == 40 + 10 * 8
    assert sorted([*dataset.development_rows, *dataset.test_rows]) == list(range(10))
    assert dataset.labels[dataset.test_rows].tolist() in ([0, 1], [1, 0])
    assert dataset.row_groups is None
    assert dataset.labels_place == f"{path}, data set 'labels'"


def test_several_nested_feature_arrays_of_many_files_stay_in_order(
    write: Write, tmp_path: Path
) -> None:
    for number in range(2):
        rows = slice(5 * number, 5 * number + 5)
        write(
            f"part-{number}.h5",
            {"in/image": IMAGES[rows], "in/age": LABELS[rows] / 2, "out/kind": LABELS[rows]},
        )
    dataset = load(
        HDF5(tmp_path / "part-*.h5", features=["in/age", "/in/image"], labels="out/kind")
    )
    assert dataset.feature_names == ("in/age", "in/image")
    assert dataset.input_shapes == ((), (2, 2))
    assert dataset.features[0].tolist() == (LABELS / 2).tolist()
    assert dataset.features[1].tolist() == IMAGES.tolist()
    assert dataset.test_rows.tolist() == []


def test_float_labels_are_regression_and_a_task_overrides_that(write: Write) -> None:
    path = write("a.h5", {"features": IMAGES, "labels": LABELS.astype("f8")})
    regression = load(HDF5(path))
    assert (regression.task, regression.classes, regression.num_outputs) == (Regression(), None, 1)
    assert regression.labels.shape == (10, 1)
    assert regression.labels.dtype == np.float32
    assert load(HDF5(path), task="classification").classes == (3.0, 7.0)


def test_integers_can_be_regression_with_several_outputs(write: Write) -> None:
    path = write("a.h5", {"features": IMAGES, "labels": np.stack([LABELS, LABELS + 1], axis=1)})
    dataset = load(HDF5(path), task="regression")
    assert dataset.num_outputs == 2
    assert dataset.labels[0].tolist() == [3.0, 4.0]


def test_row_groups_keep_rows_together_in_test_and_folds(write: Write) -> None:
    groups = [f"patient {number // 2}" for number in range(10)]
    path = write("a.h5", {"features": IMAGES, "labels": LABELS, "patient": groups})
    dataset = load(HDF5(path, row_groups="patient"), holdout=Holdout(0.2))
    assert dataset.row_groups is not None
    assert dataset.row_groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert len(dataset.test_rows) == 2
    assert dataset.test_rows[0] // 2 == dataset.test_rows[1] // 2
    for fold in Folds(2).split(dataset).folds:
        assert not set(fold.training_rows // 2) & set(fold.validation_rows // 2)


def test_row_groups_may_be_a_feature_too(write: Write) -> None:
    path = write("a.h5", {"site": np.arange(10) // 2, "labels": LABELS})
    dataset = load(HDF5(path, features="site", row_groups="site"))
    assert dataset.row_groups is not None
    assert dataset.row_groups.tolist() == dataset.features[0].tolist()


def test_the_digest_does_not_depend_on_how_the_values_are_stored(
    write: Write, tmp_path: Path
) -> None:
    floats = IMAGES.astype("<f4")
    plain = write("plain.h5", {"features": floats, "labels": LABELS})
    packed = write(
        "packed.h5", {"features": floats, "labels": LABELS}, compression="gzip", chunks=True
    )
    swapped = write("swapped.h5", {"features": floats.astype(">f4"), "labels": LABELS})
    for number in range(2):
        rows = slice(5 * number, 5 * number + 5)
        write(f"part-{number}.h5", {"features": floats[rows], "labels": LABELS[rows]})
    sources = [plain, packed, swapped, tmp_path / "part-*.h5"]
    digests = {load(HDF5(source)).digest for source in sources}
    assert len(digests) == 1
    assert len(digests.pop()) == 64


def test_the_digest_is_the_same_for_another_test_split(write: Write) -> None:
    path = write("a.h5", {"features": IMAGES, "labels": LABELS})
    assert load(HDF5(path)).digest == load(HDF5(path), holdout=Holdout(0.2)).digest


CHANGED = {
    "a value": {"features": IMAGES + (np.arange(10) == 4)[:, None, None].astype(np.uint8)},
    "the type": {"features": IMAGES.astype(np.int8)},
    "the shape": {"features": IMAGES.reshape(10, 4)},
    "a label": {"labels": LABELS[[1, 0, 2, 3, 4, 5, 6, 7, 8, 9]]},
    "the classes": {"labels": LABELS + 1},
    "the kind of classes": {"labels": [str(label) for label in LABELS]},
    "the order of rows": {"features": IMAGES[::-1]},
}


@pytest.mark.parametrize("what", CHANGED)
def test_the_digest_changes_with(write: Write, what: str) -> None:
    before = write("a.h5", {"features": IMAGES, "labels": LABELS})
    after = write("b.h5", {"features": IMAGES, "labels": LABELS, **CHANGED[what]})
    assert load(HDF5(before)).digest != load(HDF5(after)).digest


def test_the_digest_changes_with_names_and_row_groups(write: Write) -> None:
    arrays = {"features": IMAGES, "x": IMAGES, "labels": LABELS, "site": np.arange(10) // 2}
    path = write("a.h5", arrays)
    sources = [HDF5(path), HDF5(path, features="x"), HDF5(path, row_groups="site")]
    assert len({load(source).digest for source in sources}) == 3


@pytest.mark.parametrize("where", ["features", "labels"])
def test_nan_is_refused_in(write: Write, where: str) -> None:
    arrays = {"features": np.zeros((4, 2)), "labels": np.zeros(4)}
    arrays[where][2] = np.nan
    path = write("a.h5", arrays)
    with pytest.raises(DataError, match=f"a.h5, data set '{where}': .* first in row 2"):
        load(HDF5(path))


def test_a_misspelt_name_is_refused_before_anything_is_read(write: Write) -> None:
    path = write("a.h5", {"features": IMAGES, "labels": LABELS})
    with pytest.raises(DataError, match=r"no data set 'lables' \(did you mean 'labels'\?\)"):
        load(HDF5(path, labels="lables"))


def test_text_as_features_is_refused(write: Write) -> None:
    path = write("a.h5", {"features": ["red", "blue"], "labels": [0, 1]})
    with pytest.raises(
        DataError, match=r"data set 'features': features must be numbers, got text"
    ):
        load(HDF5(path))


def test_errors_of_a_list_of_files_name_the_first_and_the_number(write: Write) -> None:
    files = [write(f"{number}.h5", {"features": [1], "labels": ["ant"]}) for number in range(3)]
    with pytest.raises(
        DataError, match=r"0\.h5 and 2 more, data set 'labels': every row has the class 'ant'"
    ):
        load(HDF5(files))


def test_a_class_too_small_for_the_folds_after_the_test_split_names_the_file(
    write: Write,
) -> None:
    """Five bees would do for four folds, but the test split takes two of them."""
    labels = ["ant"] * 15 + ["bee"] * 5
    path = write("insects.h5", {"features": np.arange(20), "labels": labels})
    Folds(4).split(load(HDF5(path)))
    dataset = load(HDF5(path), holdout=Holdout(0.4))
    with pytest.raises(
        DataError, match=r"insects\.h5, data set 'labels': class 'bee' has 3 development rows"
    ):
        Folds(4).split(dataset)


def test_many_small_classes_of_numbers_suggest_regression(write: Write) -> None:
    path = write("a.h5", {"features": np.arange(20), "labels": np.arange(20)})
    with pytest.raises(DataError, match=r"\(20 classes are too small\); .* task='regression'"):
        Folds(2).split(load(HDF5(path)))


def test_every_refusal_is_one_line_and_leaves_the_file_closed(write: Write) -> None:
    path = write("a.h5", {"features": np.array([np.inf, 1]), "labels": [0, 1]})
    with pytest.raises(DataError) as caught:
        load(HDF5(path))
    assert "\n" not in str(caught.value)
    with h5py.File(path, "a") as file:
        assert file.mode == "r+"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"paths": []}, r"paths must be text, or a list of one or more texts, got \[\]"),
        ({"paths": 5}, "paths must be text, or a list of one or more texts, got 5"),
        ({"features": ["x", "/x"]}, "features must name 'x' once only"),
        ({"features": ["x", "labels"]}, "names 'labels' as labels and in features"),
        ({"row_groups": "/labels"}, "names 'labels' as labels and in row_groups"),
        ({"labels": ""}, "labels must be the name of a data set as in the file, got ''"),
        ({"task": "counts"}, "^data.task is now an option of the study: write task beside data"),
        ({"test_fraction": 0.2}, r"^data.test_fraction is now holdout of .* holdout=Holdout\(0.2"),
        ({"random_seed": 1}, "^data.random_seed is now random_seed of holdout: write holdout:"),
    ],
)
def test_a_source_is_checked_before_any_file_is_touched(
    arguments: dict[str, Any], text: str
) -> None:
    with pytest.raises(RecipeError, match=text):
        HDF5(**{"paths": "nowhere.h5", **arguments})


def test_equal_sources_are_equal_however_they_are_written() -> None:
    one = HDF5("a.h5", features="x")
    other = HDF5([Path("a.h5")], features=["/x"])
    assert one == other
    assert hash(one) == hash(other)
    assert one.paths == ("a.h5",)
    assert one.features == ("x",)


def test_without_a_name_features_are_those_called_so_or_the_only_others(write: Write) -> None:
    named = write("a.h5", {"features": IMAGES, "extra": IMAGES, "labels": LABELS})
    only = write("b.h5", {"image": IMAGES, "patient": LABELS, "labels": LABELS})
    assert load(HDF5(named)).feature_names == ("features",)
    assert load(HDF5(only, row_groups="patient")).feature_names == ("image",)
    with pytest.raises(DataError, match=r"which data set holds the features\?.*'image', 'pa"):
        load(HDF5(only))
    none = write("c.h5", {"labels": LABELS})
    with pytest.raises(DataError, match="the file holds no other besides the labels, 'labels'"):
        load(HDF5(none))


def test_features_are_read_without_labels_for_prediction(write: Write) -> None:
    first = write("a.h5", {"in/image": IMAGES, "age": LABELS})
    second = write("b.h5", {"in/image": IMAGES[:1], "age": LABELS[:1]})
    age, images = load_features([first, second], ["age", "in/image"])
    assert age.tolist() == [*LABELS.tolist(), 3]
    assert images.shape == (11, 2, 2)
    assert len(load_features(first, "age")) == 1


def test_labels_are_read_as_stored_or_not_at_all(write: Write) -> None:
    path = write("a.h5", {"kind": ["bee", "ant"], "number": [[7], [3]], "pair": [[1, 2], [3, 4]]})
    kinds, numbers, pairs = (load_labels(path, name) for name in ("kind", "number", "pair"))
    assert kinds is not None
    assert kinds.tolist() == ["bee", "ant"]
    assert numbers is not None
    assert numbers.tolist() == [7, 3]
    assert pairs is not None
    assert pairs.shape == (2, 2)
    assert load_labels(path, "labels") is None


def test_labels_in_some_files_only_are_refused(write: Write) -> None:
    files = [write("a.h5", {"labels": [1]}), write("b.h5", {"x": [1]})]
    with pytest.raises(DataError, match=r"b\.h5: there is no data set 'labels', but other"):
        load_labels(files, "labels")


def test_prediction_vets_its_files_too(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = h5py.ExternalLink("b.h5", "/features")
        file["labels"] = h5py.SoftLink("/nothing")
    with pytest.raises(DataError, match="is an external link"):
        load_features(tmp_path / "a.h5", "features")
    with pytest.raises(DataError, match="soft link that leads nowhere"):
        load_labels(tmp_path / "a.h5", "labels")


def test_wrong_labels_are_told_before_features_are_read(tmp_path: Path) -> None:
    """Of two faults it is the labels' that is told: reading the features would find theirs."""
    path = tmp_path / "wrong.h5"
    with h5py.File(path, "w") as file:
        file["features"] = np.full((4, 2), np.nan)
        file["labels"] = np.zeros((4, 3), np.int64)
    with pytest.raises(DataError, match="data set 'labels': expected one class a row"):
        load(HDF5(path))


class TestChannels:
    def test_the_data_stay_as_stored_and_models_get_channels_first(self, write: Write) -> None:
        images = np.arange(600, dtype=np.uint8).reshape(10, 4, 5, 3)
        path = write("a.h5", {"image": images, "age": np.arange(10), "labels": LABELS})
        stored = HDF5(path, features=["image", "age"], channels="last")
        dataset = load(stored)
        assert dataset.features[0].tolist() == images.tolist()
        assert dataset.input_shapes == ((3, 4, 5), ())
        assert load(stored).digest == dataset.digest
        first = load(HDF5(path, features=["image", "age"]))
        assert first.input_shapes == ((4, 5, 3), ())
        assert first.digest != dataset.digest

    def test_rows_that_have_no_channels_cannot_have_them_last(self, write: Write) -> None:
        path = write("a.h5", {"image": IMAGES, "labels": LABELS})
        with pytest.raises(
            DataError, match=r"channels is 'last', but no .*: 'image' \(2, 2\); leave channels out"
        ):
            load(HDF5(path, features="image", channels="last"))

    def test_another_word_is_refused(self) -> None:
        with pytest.raises(RecipeError, match="channels must be 'first' or 'last', got 'middle'"):
            HDF5("a.h5", channels="middle")  # type: ignore[arg-type]
