"""How many groups to start, and when."""

from rayfold.groups.plan import Groups


def groups_at_first(groups: Groups, room: int) -> int:
    """Return how many groups to ask for at the start.

    At least ``groups.minimum``, even where the cluster has no room for them: it may grow for
    them, or they wait. More, up to ``groups.maximum``, if there is room.

    Args:
        groups: What the study asks for.
        room: How many groups fit at this moment.
    """
    return max(groups.minimum, min(groups.maximum, room))


def may_grow(groups: Groups, *, started: int, ready: int) -> bool:
    """Tell whether another group is to be started, if there is room for it.

    Groups are added one at a time: not before all those started are ready, since a group that
    is still starting has not taken its room yet.

    Args:
        groups: What the study asks for.
        started: Groups that were started and not given up.
        ready: Those of them that are ready for orders.
    """
    return started < groups.maximum and ready >= started
