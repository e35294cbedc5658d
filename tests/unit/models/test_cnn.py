from typing import Any

import pytest
import torch
from torch import nn

from rayfold.models.cnn import CNN


def convolutions(model: CNN) -> list[nn.Conv2d]:
    return [layer for layer in model.layers if isinstance(layer, nn.Conv2d)]


def num_poolings(model: CNN) -> int:
    return sum(isinstance(layer, nn.MaxPool2d) for layer in model.layers)


def last_layer(model: CNN) -> nn.Linear:
    layer = model.layers[-1]
    assert isinstance(layer, nn.Linear)
    return layer


def test_each_block_doubles_the_channels() -> None:
    model = CNN(input_shape=(8, 8), num_outputs=10, channels=6, blocks=3)
    shapes = [(layer.in_channels, layer.out_channels) for layer in convolutions(model)]
    assert shapes == [(1, 6), (6, 12), (12, 24)]


@pytest.mark.parametrize(
    ("input_shape", "outputs"), [((8, 8), 10), ((1, 8, 8), 10), ((3, 9, 5), 2), ((1, 1), 1)]
)
def test_images_with_and_without_a_channel_axis_are_taken(
    input_shape: tuple[int, ...], outputs: int
) -> None:
    model = CNN(input_shape=input_shape, num_outputs=outputs, channels=4)
    assert model(torch.zeros(2, *input_shape)).shape == (2, outputs)
    assert model(torch.zeros(0, *input_shape)).shape == (0, outputs)


def test_pooling_stops_when_a_side_is_smaller_than_two() -> None:
    """8 x 4 is pooled to 4 x 2, to 2 x 1, and then no more, however many blocks follow."""
    model = CNN(input_shape=(8, 4), num_outputs=10, channels=4, blocks=5)
    assert num_poolings(model) == 2
    assert last_layer(model).in_features == 4 * 2**4 * 2 * 1


def test_large_images_are_averaged_down_to_four_by_four() -> None:
    """28 x 28 is pooled to 7 x 7; windows of 2 x 2 leave 4 x 4 of it, times 16 channels."""
    model = CNN(input_shape=(28, 28), num_outputs=10, channels=8, blocks=2)
    assert last_layer(model).in_features == 16 * 4 * 4


@pytest.mark.parametrize("side", range(1, 40))
def test_every_size_of_image_can_be_built_and_used(side: int) -> None:
    model = CNN(input_shape=(side, 41 - side), num_outputs=3, channels=2, blocks=2)
    assert model(torch.zeros(1, side, 41 - side)).shape == (1, 3)


@pytest.mark.parametrize("channels", [1, 7, 8, 30, 37])
def test_any_number_of_channels_can_be_normalised_in_groups(channels: int) -> None:
    model = CNN(input_shape=(8, 8), num_outputs=10, channels=channels)
    groups = [layer.num_groups for layer in model.layers if isinstance(layer, nn.GroupNorm)]
    expected = {1: [1, 2], 7: [7, 7], 8: [8, 8], 30: [6, 6], 37: [1, 2]}
    assert groups == expected[channels]


def test_a_batch_in_two_parts_gives_the_gradient_of_the_whole() -> None:
    """Rows do not see each other: the sum of the parts' gradients is that of the batch."""
    torch.manual_seed(0)
    model = CNN(input_shape=(8, 8), num_outputs=10, channels=8, dropout=0.0).double()
    images = torch.rand(6, 8, 8, dtype=torch.float64)

    def gradient(*parts: torch.Tensor) -> torch.Tensor:
        model.zero_grad()
        for part in parts:
            model(part).square().sum().backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        return torch.cat([grad.flatten() for grad in gradients if grad is not None])

    torch.testing.assert_close(gradient(images), gradient(images[:4], images[4:]))


@pytest.mark.parametrize(
    ("argument", "match"),
    [
        ({"input_shape": (8,)}, r"input_shape must be \(height, width\) or .*, got \(8,\)"),
        ({"input_shape": (1, 8, 8, 8)}, r"input_shape must be .*, got \(1, 8, 8, 8\)"),
        ({"input_shape": (0, 8)}, r"input_shape must be .*, got \(0, 8\)"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"blocks": 0}, "blocks must be at least 1, got 0"),
        ({"kernel_size": 4}, "kernel_size must be an odd number from 1 on, got 4"),
        ({"kernel_size": -1}, "kernel_size must be an odd number from 1 on, got -1"),
        ({"dropout": 1.0}, r"dropout must be at least 0 and below 1, got 1\.0"),
        ({"num_outputs": 0}, "num_outputs must be at least 1, got 0"),
    ],
)
def test_an_argument_out_of_range_is_named(argument: dict[str, Any], match: str) -> None:
    arguments: dict[str, Any] = {"input_shape": (8, 8), "num_outputs": 10, **argument}
    with pytest.raises(ValueError, match=match):
        CNN(**arguments)
