"""A multilayer perceptron for any number of feature arrays of any shape."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class MLP(nn.Module):
    """Flattens and concatenates its inputs, then applies fully connected layers.

    ``depth`` times linear layer, activation and dropout; then a linear layer to the outputs.

    Args:
        input_shapes: Shape of a row of each feature array; ``()`` is a single number.
        num_outputs: Classes, or values to predict.
        hidden: Width of the hidden layers.
        depth: Number of hidden layers; 0 is a linear model.
        dropout: Share of the hidden activations dropped while training, in [0, 1).
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        *,
        input_shapes: Sequence[Sequence[int]],
        num_outputs: int,
        hidden: int = 128,
        depth: int = 2,
        dropout: float = 0.1,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.input_sizes = tuple(math.prod(shape) for shape in input_shapes)
        if sum(self.input_sizes) < 1:
            raise ValueError(f"input_shapes {input_shapes} hold no numbers; give some features.")
        if num_outputs < 1:
            raise ValueError(f"num_outputs must be at least 1, got {num_outputs}.")
        if hidden < 1:
            raise ValueError(f"hidden must be at least 1, got {hidden}.")
        if depth < 0:
            raise ValueError(f"depth must be at least 0, got {depth}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}.")
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}."
            )
        layers: list[nn.Module] = []
        width = sum(self.input_sizes)
        for _ in range(depth):
            layers += [nn.Linear(width, hidden), ACTIVATIONS[activation](), nn.Dropout(dropout)]
            width = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, num_outputs))

    def forward(self, *features: Tensor) -> Tensor:
        """Map features, each of shape ``(rows, *shape)``, to outputs ``(rows, num_outputs)``."""
        flat = [
            feature.reshape(feature.shape[0], size)
            for feature, size in zip(features, self.input_sizes, strict=True)
        ]
        outputs: Tensor = self.layers(torch.cat(flat, dim=1))
        return outputs
