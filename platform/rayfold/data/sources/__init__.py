"""Sources: where rows come from, and what of them is recorded."""

from rayfold.data.sources.base import Column, Roles, Source, columns_of
from rayfold.data.sources.hdf5 import HDF5

__all__ = ["Column", "HDF5", "Roles", "Source", "columns_of"]
