"""A small convolutional network for images."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

GRID = 4
"""Side of the map that the last layer sees, at most."""


class CNN(nn.Module):
    """Convolutional blocks that double their channels and halve the image, then a linear layer.

    A block is convolution, group normalisation, ReLU and, while both sides of the image are at
    least 2, max pooling. What is left is averaged down to at most 4 x 4 and flattened, so that the
    last layer sees where in the image things are and yet stays small for large images.

    Normalising in groups of channels, and not over the batch, keeps a row's gradient independent
    of the other rows: a batch that is split over workers gives the same step as a whole one.

    Args:
        input_shape: ``(height, width)`` or ``(channels, height, width)``.
        num_outputs: Classes, or values to predict.
        channels: Channels of the first block; each further block has twice as many.
        blocks: Number of blocks.
        kernel_size: Side of the convolutions' kernels, an odd number.
        dropout: Share of the last layer's inputs dropped while training, in [0, 1).

    Raises:
        ValueError: If an argument is out of its range, or ``input_shape`` is not an image's.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_outputs: int,
        channels: int = 32,
        blocks: int = 2,
        kernel_size: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if len(input_shape) not in (2, 3) or min(input_shape) < 1:
            raise ValueError(
                "input_shape must be (height, width) or (channels, height, width), "
                f"got {tuple(input_shape)}."
            )
        if num_outputs < 1:
            raise ValueError(f"num_outputs must be at least 1, got {num_outputs}.")
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}.")
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, got {blocks}.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be an odd number from 1 on, got {kernel_size}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}.")

        *depth, height, width = input_shape
        self.image_shape = (*(depth or [1]), height, width)
        in_channels = self.image_shape[0]
        layers: list[nn.Module] = []
        for block in range(blocks):
            out_channels = channels * 2**block
            layers += _block(in_channels, out_channels, kernel_size)
            if min(height, width) >= 2:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            in_channels = out_channels
        # Windows of one size, not adaptive ones, whose gradients vary from run to run on a GPU.
        window = (math.ceil(height / GRID), math.ceil(width / GRID))
        grid = math.ceil(height / window[0]) * math.ceil(width / window[1])
        self.layers = nn.Sequential(
            *layers,
            nn.AvgPool2d(window, ceil_mode=True),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(in_channels * grid, num_outputs),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map images of shape ``(rows, *input_shape)`` to outputs ``(rows, num_outputs)``."""
        outputs: Tensor = self.layers(images.reshape(images.shape[0], *self.image_shape))
        return outputs


def _block(in_channels: int, out_channels: int, kernel_size: int) -> list[nn.Module]:
    """Return convolution, normalisation and activation; the image keeps its size.

    The channels are normalised in as many groups, up to 8, as divide them evenly.
    """
    num_groups = max(number for number in range(1, 9) if out_channels % number == 0)
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.GroupNorm(num_groups, out_channels),
        nn.ReLU(),
    ]
