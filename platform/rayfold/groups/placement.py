"""Which nodes groups fit on."""

from collections.abc import Mapping
from typing import Any

import ray

from rayfold.groups.plan import Groups


def room_for_groups(groups: Groups) -> int:
    """Return how many more groups the nodes have room for now."""
    need = groups.worker_resources
    per_node = sum(_times(need, node["Resources"]) for node in _nodes())
    return min(per_node, _times(need, ray.available_resources())) // groups.workers


def nodes_without_groups(groups: Groups) -> list[str]:
    """Return the ids of the nodes that are too small for a worker, even when they are idle.

    The head of a cluster is often one of them: it is started with no CPUs, so that no task runs
    there.
    """
    return [
        node["NodeID"]
        for node in _nodes()
        if not _times(groups.worker_resources, node["Resources"])
    ]


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _times(need: Mapping[str, float], resources: Mapping[str, float]) -> int:
    """Return how often ``need`` fits into ``resources``."""
    return min(int(resources.get(name, 0.0) // amount) for name, amount in need.items())
