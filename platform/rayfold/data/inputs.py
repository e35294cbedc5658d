"""How stored features become a model's input: the same in training and in prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rayfold.errors import DataError

Channels: TypeAlias = Literal["first", "last"]
"""Which axis of a row holds the channels of an image, as it is stored."""

Features: TypeAlias = tuple[NDArray[np.float32], ...]
"""A model's inputs: one array for each, rows first."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One feature array that a study's models take.

    Attributes:
        name: Name of its column; in an HDF5 file, of the data set.
        shape: Shape of one row, as stored.
        dtype: NumPy's name of the type, as stored; bytes (``"uint8"``) are scaled to [0, 1].
        channels: ``"last"`` if rows are stored so, and given so: the models get them first.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    channels: Channels = "first"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild it from ``to_dict()``."""
        return cls(**{**values, "shape": tuple(values["shape"])})

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values; one with channels first says nothing of them."""
        values = {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}
        return values if self.channels == "first" else {**values, "channels": self.channels}

    @property
    def model_shape(self) -> tuple[int, ...]:
        """Shape of one row as the models get it."""
        return model_shape(self.shape, self.channels)


_LARGEST_BYTE = np.float32(255)
_IMAGE_AXES = (3, 4)  # height x width x channels, depth x height x width x channels


def has_channels_last(shape: Sequence[int], channels: Channels) -> bool:
    """Tell whether rows are stored with their channels last: those of 3 or 4 axes can be.

    Args:
        shape: Of one row, as stored.
        channels: What was said of the data set.
    """
    return channels == "last" and len(shape) in _IMAGE_AXES


def model_shape(shape: Sequence[int], channels: Channels) -> tuple[int, ...]:
    """Return the shape of one row as a model gets it: channels first."""
    if has_channels_last(shape, channels):
        return (shape[-1], *shape[:-1])
    return tuple(shape)


def to_float(array: NDArray[Any], channels: Channels = "first") -> NDArray[np.float32]:
    """Turn features into float32, by their type alone, with their channels first.

    Bytes (uint8, as images have) are divided by 255, booleans become 0 and 1, and all other
    numbers keep their value. Nothing depends on the rows that are passed, so that one row alone
    gives what it gives among others.

    Args:
        array: Features, rows first, any shape.
        channels: Where rows of 3 or 4 axes have their channels.

    Returns:
        A C-contiguous array with rows of ``model_shape``; ``array`` itself when nothing has to
        change.

    Raises:
        DataError: If ``array`` holds no numbers, or numbers beyond float32.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"features have type {array.dtype}, expected numbers; convert them first.")
    if has_channels_last(array.shape[1:], channels):
        array = np.moveaxis(array, -1, 1)
    if array.dtype == np.float32:
        return np.ascontiguousarray(array)
    if array.dtype == np.uint8:
        scaled: NDArray[np.float32] = np.divide(array, _LARGEST_BYTE, dtype=np.float32, order="C")
        return scaled
    try:
        with np.errstate(over="raise"):
            return np.asarray(array, dtype=np.float32, order="C")
    except FloatingPointError:
        raise DataError(
            f"features of type {array.dtype} hold numbers beyond float32 (3.4e38); scale them."
        ) from None
