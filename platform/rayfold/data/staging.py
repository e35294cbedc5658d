"""A data set, held once per node in Ray's object store."""

import ray

from rayfold.data.dataset import DataSet
from rayfold.errors import DataError


def stage(data: DataSet) -> "ray.ObjectRef[DataSet]":
    """Put a data set into the object store of the driver's node.

    ``ray.get`` of the reference gives every worker read-only views of one copy per node; a node
    fetches it when its first worker asks.

    Raises:
        DataError: If the data do not fit into the object store.
    """
    size = data.num_bytes
    capacity = ray.cluster_resources().get("object_store_memory", 0.0)
    smallest = min(
        (
            node["Resources"].get("object_store_memory", 0.0)
            for node in ray.nodes()
            if node["Alive"]
        ),
        default=capacity,
    )
    if size > 0.8 * smallest:
        raise DataError(
            f"the data need {size / 1e9:.1f} GB but a node's object store holds "
            f"{smallest / 1e9:.1f} GB; start Ray with a larger object_store_memory."
        )
    return ray.put(data)
