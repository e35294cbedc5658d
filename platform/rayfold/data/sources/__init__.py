"""Sources: where the rows of a data set come from."""

from rayfold.data.sources.base import Column, Roles, Source, columns_of
from rayfold.data.sources.hdf5 import HDF5

__all__ = ["Column", "HDF5", "Roles", "Source", "columns_of"]
