from typing import Any

import pytest

from rayfold.errors import RecipeError
from rayfold.schedulers import Replay

SCHEDULE = [(0, {"batch_size": 16}), (2, {"batch_size": 32}), (6, {"batch_size": 64})]


def test_values_change_at_the_milestones() -> None:
    """A change at the last epoch would come too late."""
    for epochs, milestones in ((7, (2, 6)), (6, (2,)), (2, ())):
        replay = Replay(SCHEDULE)
        replay.start(mode="min", num_folds=2, epochs=epochs)
        assert replay.milestones == milestones


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ([], r"begin with epoch 0 and rise, got epochs \[\]"),
        ([(1, {})], r"begin with epoch 0 and rise, got epochs \[1\]"),
        ([(0, {}), (4, {}), (2, {})], r"got epochs \[0, 4, 2\]"),
        ([(0, {}), (0, {})], r"got epochs \[0, 0\]"),
        ([(0, {}), (1.5, {})], r"got epochs \[0, 1.5\]"),
        ([0, 2], "pairs of an epoch and a configuration"),
    ],
)
def test_a_schedule_must_begin_with_epoch_0_and_rise(schedule: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Replay(schedule)
