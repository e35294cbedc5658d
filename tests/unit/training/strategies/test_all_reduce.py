import pytest
from torch import nn

from rayfold.training import Share, SingleProcess
from rayfold.training.strategies import AllReduce


class OneOfSeveral(SingleProcess):
    """A worker of a group, as far as shares go."""

    def __init__(self, rank: int, world_size: int) -> None:
        super().__init__()
        self.rank, self.world_size = rank, world_size


def validation_rows(num_rows: int) -> list[list[int]]:
    """The rows that count of each of three workers."""
    return [
        counted(AllReduce(OneOfSeveral(rank, 3)).validation_share(num_rows), num_rows)
        for rank in range(3)
    ]


def counted(share: Share, num_rows: int) -> list[int]:
    return [*range(num_rows)[share.rows]] if share.weight else []


def test_alone_the_model_is_not_wrapped() -> None:
    model = nn.Linear(1, 1)
    assert AllReduce(SingleProcess()).wrap(model) is model


def test_shares_follow_one_another_and_differ_by_one_row_at_most() -> None:
    assert validation_rows(6) == [[0, 1], [2, 3], [4, 5]]
    assert validation_rows(8) == [[0, 1], [2, 3, 4], [5, 6, 7]]


def test_fewer_rows_than_workers_leave_some_with_rows_of_others() -> None:
    assert validation_rows(2) == [[], [0], [1]]
    assert validation_rows(1) == [[], [], [0]]
    share = AllReduce(OneOfSeveral(0, 3)).validation_share(2)
    assert share == Share(slice(0, 2), weight=0.0)


@pytest.mark.parametrize("num_rows", range(1, 12))
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_no_worker_trains_on_a_single_row_of_several(num_rows: int, world_size: int) -> None:
    shares = [
        AllReduce(OneOfSeveral(rank, world_size)).training_share(num_rows)
        for rank in range(world_size)
    ]
    parts = [counted(share, num_rows) for share in shares]
    assert [row for part in parts for row in part] == [*range(num_rows)]
    assert len(parts[0]) > 0
    assert num_rows == 1 or all(len(part) != 1 for part in parts)
