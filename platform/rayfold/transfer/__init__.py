"""What earlier studies are worth to a new one: configurations, weights, and how alike data are.

Everything is read from MLflow; configurations are mapped into the new study's space.
"""

from rayfold.transfer.cold_starts import Beginning, ColdStarts
from rayfold.transfer.configurations import MappedStudy, map_study, pruned_space
from rayfold.transfer.descriptors import describe_data
from rayfold.transfer.similarity import Distance, distance
from rayfold.transfer.start import Start, StartFrom, find_start, start_from_parts
from rayfold.transfer.weights import FoundWeights, InitialWeights, find_weights

__all__ = [
    "Beginning",
    "ColdStarts",
    "Distance",
    "FoundWeights",
    "InitialWeights",
    "MappedStudy",
    "Start",
    "StartFrom",
    "describe_data",
    "distance",
    "find_start",
    "find_weights",
    "map_study",
    "pruned_space",
    "start_from_parts",
]
