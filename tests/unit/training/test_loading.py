import numpy as np
import pytest
import torch
from torch import nn

from rayfold.data import DataSet
from rayfold.training import Share, SingleProcess
from rayfold.training.batches import batches_of
from rayfold.training.loading import Loader
from rayfold.training.strategies import AllReduce


class EveryOther(AllReduce):
    """This worker trains on the second half of full batches of 8, and on no others."""

    def training_share(self, num_rows: int) -> Share | None:  # type: ignore[override]
        return Share(slice(4, 8), weight=0.5) if num_rows == 8 else None


@pytest.mark.parametrize("block_bytes", [0, 100, 500, 2**20])
def test_training_batches_are_the_rows_in_order_however_many_are_read_together(
    two_inputs: DataSet, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayfold.training.loading.BLOCK_BYTES", block_bytes)
    order = np.random.default_rng(0).permutation(60)
    slices = batches_of(60, 7)
    loader = Loader(two_inputs, AllReduce(SingleProcess()))
    batches = list(loader.training_batches(order, slices))
    assert len(batches) == 9
    for batch, which in zip(batches, slices, strict=True):
        features, labels = two_inputs.batch(order[which])
        assert batch is not None
        assert batch.total_rows == len(labels)
        assert batch.labels.tolist() == labels.tolist()
        for tensor, array in zip(batch.features, features, strict=True):
            np.testing.assert_array_equal(tensor, array)


def test_a_batch_without_a_share_of_this_worker_is_none(data: DataSet) -> None:
    loader = Loader(data, EveryOther(SingleProcess()))
    *full, last = loader.training_batches(np.arange(60), batches_of(60, 8))
    assert last is None
    for batch, start in zip(full, range(0, 56, 8), strict=True):
        assert batch is not None
        assert (batch.total_rows, batch.weight) == (8, 0.5)
        assert batch.labels.tolist() == data.labels[start + 4 : start + 8].tolist()


def test_a_model_may_write_to_its_inputs(data: DataSet) -> None:
    """Even with its parameters, which makes a tensor and those that share its memory depend."""
    scale = nn.Parameter(torch.full((4,), 3.0))
    kept = data.features[0].copy()
    loader = Loader(data, AllReduce(SingleProcess()))
    for number, batch in enumerate(loader.training_batches(np.arange(60), batches_of(60, 8))):
        assert batch is not None
        (features,) = batch.features
        np.testing.assert_array_equal(features, kept[8 * number :][: len(features)])
        assert not features.requires_grad
        features.mul_(scale).sum().backward()
    np.testing.assert_array_equal(data.features[0], kept)
    torch.testing.assert_close(scale.grad, torch.from_numpy(kept.sum(0)))
