import pytest

from rayfold.groups.growth import groups_at_first, may_grow
from rayfold.groups.plan import Groups


@pytest.mark.parametrize(
    ("minimum", "maximum", "room", "expected"),
    [(1, 4, 2, 2), (1, 4, 9, 4), (2, 4, 0, 2), (3, 3, 1, 3)],
)
def test_at_first_there_are_as_many_as_fit_and_at_least_the_minimum(
    minimum: int, maximum: int, room: int, expected: int
) -> None:
    assert groups_at_first(Groups(minimum=minimum, maximum=maximum), room) == expected


def test_one_more_is_started_only_when_all_others_are_ready() -> None:
    groups = Groups(minimum=1, maximum=3)
    assert may_grow(groups, started=2, ready=2)
    assert not may_grow(groups, started=2, ready=1)
    assert not may_grow(groups, started=3, ready=3)
