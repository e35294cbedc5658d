"""What a study assumes of its data, and what about them looks wrong: told before it starts."""

from collections.abc import Sequence

from torch import nn

from rayfold.data import DataSet
from rayfold.data.scales import far_scales
from rayfold.library import takes_any_shape

CHANNELS = (1, 3, 4)
"""Lengths of an axis that holds the channels of an image: grey, colours, colours with alpha."""


def input_lines(data: DataSet) -> tuple[str, ...]:
    """Return what each row of each feature array is taken as, a line for each array."""
    return tuple(
        f"{name}: {_layout(array.shape[1:])}, {array.dtype}"
        for name, array in zip(data.feature_names, data.features, strict=True)
    )


def data_warnings(data: DataSet, model_class: type[nn.Module]) -> tuple[str, ...]:
    """Return what about the data may make models train badly, a line each.

    These are images that look as if their channels came last, where the model cares, and features
    and targets whose scale is far from 1.
    """
    layouts = [
        f"{name} has rows of shape {shape}, taken as {_layout(shape)}; if the last axis holds the "
        f"channels, store them first: numpy.moveaxis(images, -1, 1)."
        for name, shape in zip(data.feature_names, data.input_shapes, strict=True)
        if _looks_like_channels_last(shape) and not takes_any_shape(model_class)
    ]
    scales = [
        f"{scale}: the scale is far from 1, with which models train badly or diverge; "
        "standardise it in the file."
        for scale in far_scales(data)
    ]
    return (*layouts, *scales)


def _layout(shape: Sequence[int]) -> str:
    if not shape:
        return "1 value a row"
    sizes = " x ".join(map(str, shape))
    if len(shape) == 1:
        return f"{sizes} value{'s' if shape[0] > 1 else ''} a row"
    if len(shape) == 2:
        return f"{sizes} a row"
    channels, *image = shape
    return f"{channels} channels of {' x '.join(map(str, image))} (channels first)"


def _looks_like_channels_last(shape: Sequence[int]) -> bool:
    return len(shape) > 2 and shape[-1] in CHANNELS and shape[0] > max(CHANNELS)
