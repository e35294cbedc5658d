"""What earlier studies are worth to a new one: their configurations, and how alike the data are.

Everything is read from MLflow, and mapped into the new study's space.
"""

from rayfold.transfer.configurations import MappedStudy, map_study, pruned_space
from rayfold.transfer.descriptors import describe_data
from rayfold.transfer.similarity import Distance, distance
from rayfold.transfer.start import Start, StartFrom, find_start, start_from_parts

__all__ = [
    "Distance",
    "MappedStudy",
    "Start",
    "StartFrom",
    "describe_data",
    "distance",
    "find_start",
    "map_study",
    "pruned_space",
    "start_from_parts",
]
