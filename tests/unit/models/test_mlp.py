from typing import Any

import pytest
import torch

from rayfold.models.mlp import MLP


def num_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_hidden_layers_have_the_given_width_and_number() -> None:
    """(4 + 1) x 3 into the first, (3 + 1) x 3 into the second, (3 + 1) x 2 into the outputs."""
    model = MLP(input_shapes=[(4,)], num_outputs=2, hidden=3, depth=2)
    assert num_parameters(model) == 15 + 12 + 8
    assert model(torch.zeros(5, 4)).shape == (5, 2)


def test_depth_zero_is_a_linear_model() -> None:
    model = MLP(input_shapes=[(4,)], num_outputs=2, depth=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    assert model(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist() == [[11.0, 11.0]]


def test_feature_arrays_of_any_shape_are_flattened_and_concatenated_in_order() -> None:
    """An image of 2 x 2, a number and a vector of 3 make 8 inputs; the weights are 1 to 8."""
    model = MLP(input_shapes=[(2, 2), (), (3,)], num_outputs=1, depth=0)
    state = {"layers.0.weight": torch.arange(1.0, 9.0)[None], "layers.0.bias": torch.zeros(1)}
    model.load_state_dict(state)
    image, number, vector = torch.zeros(1, 2, 2), torch.tensor([10.0]), torch.zeros(1, 3)
    image[0, 1, 0] = 1.0  # weight 3
    vector[0, 2] = 1.0  # weight 8
    assert model(image, number, vector).item() == 3 + 5 * 10 + 8


def test_no_rows_give_no_outputs() -> None:
    assert MLP(input_shapes=[(2, 2)], num_outputs=3)(torch.zeros(0, 2, 2)).shape == (0, 3)


def test_a_missing_feature_array_is_refused() -> None:
    model = MLP(input_shapes=[(2,), (3,)], num_outputs=1)
    with pytest.raises(ValueError, match="zip"):
        model(torch.zeros(1, 2))


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = MLP(input_shapes=[(4,)], num_outputs=2, hidden=64, dropout=0.5)
    rows = torch.ones(3, 4)
    assert not torch.equal(model(rows), model(rows))
    model.eval()
    assert torch.equal(model(rows), model(rows))


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_every_activation_lets_gradients_reach_the_first_layer(activation: str) -> None:
    torch.manual_seed(0)
    model = MLP(input_shapes=[(4,)], num_outputs=2, activation=activation)
    model(torch.ones(3, 4)).sum().backward()
    first = next(model.parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("argument", "match"),
    [
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"depth": -1}, "depth must be at least 0, got -1"),
        ({"dropout": 1.0}, r"dropout must be at least 0 and below 1, got 1\.0"),
        ({"dropout": float("nan")}, "dropout must be at least 0 and below 1, got nan"),
        ({"activation": "rely"}, "activation must be one of relu, gelu, silu, tanh, got 'rely'"),
        ({"num_outputs": 0}, "num_outputs must be at least 1, got 0"),
        ({"input_shapes": []}, r"input_shapes \[\] hold no numbers"),
        ({"input_shapes": [(0,)]}, r"input_shapes \[\(0,\)\] hold no numbers"),
    ],
)
def test_an_argument_out_of_range_is_named(argument: dict[str, Any], match: str) -> None:
    arguments: dict[str, Any] = {"input_shapes": [(4,)], "num_outputs": 2, **argument}
    with pytest.raises(ValueError, match=match):
        MLP(**arguments)
