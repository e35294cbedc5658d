from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rayfold.data import DataSet, Folds, SeenRows
from rayfold.data.seen_rows import row_digests
from rayfold.errors import DataError
from rayfold.tasks import Classification


def in_memory(*features: np.ndarray) -> DataSet:
    num_rows = len(features[0])
    return DataSet(
        features=features,
        feature_names=tuple(f"features_{number}" for number in range(len(features))),
        labels=np.arange(num_rows) % 2,
        row_groups=None,
        task=Classification(),
        classes=(0, 1),
        digest="d" * 64,
        development_rows=np.arange(num_rows - 2),
        test_rows=np.arange(num_rows - 2, num_rows),
    )


@pytest.fixture
def bytes_() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 3, 2), dtype=np.uint8)


def test_equal_features_have_equal_digests_in_whatever_type(bytes_: np.ndarray) -> None:
    scaled = bytes_.astype(np.float64) / 255
    digests = row_digests(in_memory(bytes_))
    assert np.array_equal(digests, row_digests(in_memory(scaled.astype(np.float32))))
    assert len(set(digests.tolist())) == 20
    assert digests.dtype == np.int64


def test_equal_images_have_equal_digests_wherever_their_channels_are_stored() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 3), dtype=np.uint8)
    last = replace(in_memory(images), channels="last")
    first = in_memory(np.moveaxis(images, -1, 1))
    assert np.array_equal(row_digests(last), row_digests(first))
    assert not np.array_equal(row_digests(in_memory(images)), row_digests(first))


def test_any_number_tells_rows_apart(bytes_: np.ndarray) -> None:
    other = bytes_.copy()
    other[7, 2, 1] ^= 1
    same = row_digests(in_memory(bytes_)) == row_digests(in_memory(other))
    assert list(np.flatnonzero(~same)) == [7]


def test_every_input_counts(bytes_: np.ndarray) -> None:
    beside = np.zeros((20, 1), dtype=np.float32)
    alone, both = row_digests(in_memory(bytes_)), row_digests(in_memory(bytes_, beside))
    assert not (alone == both).any()


def test_blocks_do_not_matter(bytes_: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = row_digests(in_memory(bytes_))
    monkeypatch.setattr("rayfold.data.seen_rows._BLOCK", 3)
    assert np.array_equal(row_digests(in_memory(bytes_)), whole)


def test_a_fold_has_seen_its_training_rows_and_what_it_inherits(
    bytes_: np.ndarray, tmp_path: Path
) -> None:
    data = in_memory(bytes_)
    plan = Folds(3).split(data)
    inherited = {1: np.array([5, -7], dtype=np.int64)}
    written = SeenRows.of(data, plan, inherited)
    written.save(tmp_path / "new" / "seen.safetensors")
    seen = SeenRows.load(tmp_path / "new" / "seen.safetensors")
    digests = row_digests(data)
    for fold in plan.folds:
        expected = set(digests[fold.training_rows].tolist()) | (
            {5, -7} if fold.index == 1 else set()
        )
        assert set(seen.by_fold(fold.index).tolist()) == expected
        assert not np.isin(digests[fold.validation_rows], seen.by_fold(fold.index)).any()
    assert seen.training.shape == (3, 20)


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "seen.safetensors"
    path.write_bytes(b"no safetensors")
    with pytest.raises(DataError, match="is not a valid record of seen rows"):
        SeenRows.load(path)
