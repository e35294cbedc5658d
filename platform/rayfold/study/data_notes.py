"""Notes on the data before a study starts: how they are understood, and likely mistakes."""

from collections.abc import Sequence

from torch import nn

from rayfold.data import Channels, DataSet
from rayfold.data.inputs import has_channels_last, model_shape
from rayfold.data.scales import constant_targets, far_scales
from rayfold.model_construction import takes_any_shape

CHANNELS = (1, 3, 4)
"""Possible numbers of channels of an image: grey, colours, colours with alpha."""

_OTHERWISE: dict[Channels, str] = {
    "first": "the last axis holds the channels, say so: channels: last (in Python "
    'channels="last")',
    "last": "the first axis holds the channels, leave channels out",
}


def input_lines(data: DataSet) -> tuple[str, ...]:
    """Return how the rows of each feature array are understood, one line for each array."""
    return tuple(
        f"{name}: {_layout(array.shape[1:], data.channels)}, {array.dtype}"
        for name, array in zip(data.feature_names, data.features, strict=True)
    )


def data_warnings(data: DataSet, model_class: type[nn.Module]) -> tuple[str, ...]:
    """Return what may make models train badly, one line each.

    These are: images whose channels seem to be on another axis than given, if the model needs
    channels; features and targets whose scale is far from 1; constant targets.
    """
    shapes = [array.shape[1:] for array in data.features]
    layouts = [
        f"{name} has rows of shape {shape}, taken as {_layout(shape, data.channels)}; if "
        f"{_OTHERWISE[data.channels]}."
        for name, shape in zip(data.feature_names, shapes, strict=True)
        if _looks_wrong(shape, data.channels) and not takes_any_shape(model_class)
    ]
    scales = [
        f"{scale}: the scale is far from 1, with which models train badly or diverge; "
        f"{scale.remedy} in the file."
        for scale in far_scales(data)
    ]
    constants = [
        f"{data.label_name}{f', column {column}' if data.num_outputs > 1 else ''}: all rows for "
        "development have the same value, so that there is nothing to learn; leave it out."
        for column in constant_targets(data)
    ]
    return (*layouts, *scales, *constants)


def _layout(shape: Sequence[int], channels: Channels) -> str:
    if not shape:
        return "1 value a row"
    sizes = " x ".join(map(str, shape))
    if len(shape) == 1:
        return f"{sizes} value{'s' if shape[0] > 1 else ''} a row"
    if len(shape) == 2:
        return f"{sizes} a row"
    number, *image = model_shape(shape, channels)
    where = "last" if has_channels_last(shape, channels) else "first"
    sizes = " x ".join(map(str, image))
    return f"{number} channel{'' if number == 1 else 's'} of {sizes} (channels {where})"


def _looks_wrong(shape: Sequence[int], channels: Channels) -> bool:
    """Tell whether the other end of a row's shape looks like the number of channels.

    It does if images have so many channels, or if all other axes are equally long (square images).
    """
    if len(shape) < 3 or (channels == "last" and not has_channels_last(shape, channels)):
        return False
    taken, *between, other = shape if channels == "first" else shape[::-1]
    is_square = {taken} == set(between) != {other}
    return (other in CHANNELS or is_square) and taken > max(CHANNELS)
