import torch
from torch import nn

from rayfold.training import SingleProcess


class OneOfThree(SingleProcess):
    """What one of three workers would be told its part is."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.world_size = rank, 3


def parts(num_rows: int) -> list[list[int]]:
    rows = list(range(num_rows))
    return [rows[OneOfThree(rank).part(num_rows)] for rank in range(3)]


def test_alone_all_rows_are_its_own() -> None:
    strategy = SingleProcess()
    rows = torch.arange(3)
    assert strategy.part(7) == slice(0, 7)
    assert strategy.gather_rows(rows, 3) is rows
    assert strategy.sum(rows) is rows
    assert strategy.broadcast("value") == "value"
    assert strategy.gradient_scale == 1.0


def test_alone_the_model_is_not_wrapped() -> None:
    model = nn.Linear(1, 1)
    assert SingleProcess().wrap(model, ()) is model


def test_parts_follow_one_another_and_differ_by_one_row_at_most() -> None:
    assert parts(6) == [[0, 1], [2, 3], [4, 5]]
    assert parts(8) == [[0, 1], [2, 3, 4], [5, 6, 7]]


def test_fewer_rows_than_workers_leave_some_without() -> None:
    assert parts(2) == [[], [0], [1]]
    assert parts(1) == [[], [], [0]]
    assert parts(0) == [[], [], []]
