import pytest
import torch

from rayfold.training import SingleProcess


def test_alone_every_value_is_its_own() -> None:
    collective, rows = SingleProcess(), torch.arange(3)
    assert collective.gather_rows(rows) is rows
    assert collective.sum(rows) is rows
    assert collective.broadcast("value") == "value"


def test_what_cannot_be_written_is_raised() -> None:
    def fail() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        SingleProcess().on_rank_0(fail)
    assert SingleProcess().on_rank_0(lambda: 7) == 7
