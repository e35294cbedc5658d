"""How many groups to start, and when."""

from rayfold.groups.plan import Groups


def groups_at_first(groups: Groups, room: int) -> int:
    """Return how many groups to request at the start.

    At least ``groups.minimum``, even if the cluster has no room: it may grow, or they wait. More,
    up to ``groups.maximum``, if there is room.

    Args:
        groups: The groups of the study.
        room: Number of groups that fit now.
    """
    return max(groups.minimum, min(groups.maximum, room))


def may_grow(groups: Groups, *, started: int, ready: int) -> bool:
    """Tell whether to start another group, if there is room for it.

    Groups are added one at a time, after all started ones are ready: a group that is still
    starting has not taken its room yet.

    Args:
        groups: The groups of the study.
        started: Number of groups that were started and not given up.
        ready: Number of groups that are ready for jobs.
    """
    return started < groups.maximum and ready >= started
