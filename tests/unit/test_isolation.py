import random
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from rayfold.isolation import (
    Snapshot,
    generator_states,
    isolated,
    own_generators,
    seed_generators,
    set_generator_states,
)


class Doubling(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        return result * 2 if func is Tensor.add else result


class Silent(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def enter(mode: Any) -> None:
    """Enter a block that is never left."""
    mode.__enter__()


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "grad mode": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "type of autocast": (
        lambda: torch.set_autocast_dtype("cpu", torch.float16),
        lambda: torch.get_autocast_dtype("cpu"),
    ),
    "type": (lambda: torch.set_default_dtype(torch.float64), torch.get_default_dtype),
    "device": (lambda: torch.set_default_device("meta"), lambda: torch.empty(0).device),
    "threads": (
        lambda: torch.set_num_threads(torch.get_num_threads() + 1),
        torch.get_num_threads,
    ),
    "deterministic": (
        lambda: torch.use_deterministic_algorithms(True),
        torch.are_deterministic_algorithms_enabled,
    ),
    "precision": (
        lambda: torch.set_float32_matmul_precision("medium"),
        torch.get_float32_matmul_precision,
    ),
    "cudnn": (
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
        lambda: torch.backends.cudnn.benchmark,
    ),
    "numbers below the smallest normal one": (
        lambda: torch.set_flush_denormal(True),
        lambda: (torch.tensor([1e-310], dtype=torch.float64) * 1).item() == 0,
    ),
    "autocast": (
        lambda: enter(torch.autocast("cpu")),
        lambda: (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
    ),
    "nested autocast": (
        lambda: enter(torch.autocast("cpu")),
        lambda: (torch.autocast_increment_nesting(), torch.autocast_decrement_nesting()),
    ),
    "a mode of functions": (
        lambda: enter(Doubling()),
        lambda: torch.ones(1).add(0).item(),
    ),
    "a mode of dispatch": (
        lambda: enter(cast(Any, Silent)()),
        torch._C._len_torch_dispatch_stack,
    ),
    "hooks of all modules": (
        lambda: nn.modules.module.register_module_forward_hook(lambda *given: given[2] + 1),
        lambda: nn.Identity()(torch.zeros(1)).item(),
    ),
    "anomalies": (
        lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
        torch.is_anomaly_enabled,
    ),
}


def draw() -> list[float]:
    return [random.gauss(0, 1), float(np.random.standard_normal()), float(torch.rand(()))]


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("raises", [False, True])
def test_a_setting_that_a_block_changes_is_put_back(what: str, raises: bool) -> None:
    change, read = CHANGES[what]
    before = read()
    try:
        with isolated():
            change()
            assert read() != before
            if raises:
                raise KeyError
    except KeyError:
        pass
    assert read() == before


def test_a_hook_of_all_modules_from_outside_is_put_back_when_a_block_removes_it() -> None:
    hook = nn.modules.module.register_module_forward_hook(lambda *given: given[2] + 1)
    try:
        with isolated():
            hook.remove()
            assert nn.Identity()(torch.zeros(1)).item() == 0
        assert nn.Identity()(torch.zeros(1)).item() == 1
    finally:
        hook.remove()


def test_all_three_generators_follow_from_the_seed_and_go_on_from_their_states() -> None:
    seed_generators(7)
    first = draw()
    states = generator_states()
    following = draw()  # two of the three keep every second normal number in hand
    seed_generators(7)
    assert draw() == first
    random.seed(1)
    np.random.seed(1)
    set_generator_states(states)
    assert draw() == following


def test_a_block_with_its_own_generators_leaves_those_outside_as_they_were() -> None:
    seed_generators(7)
    draw()
    following = draw()
    seed_generators(7)
    draw()
    inside = []
    for _ in range(2):
        with own_generators(3):
            inside.append(draw())
            random.seed(0)
            np.random.seed(0)
            torch.manual_seed(0)
    assert draw() == following
    assert inside[0] == inside[1]


class Restless(nn.Module):
    """Writes to what it holds in each way there is."""

    seen: Tensor

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("seen", torch.zeros(2))

    def forward(self) -> None:
        if self.how == "in place":
            self.seen += 1
        elif self.how == "anew":
            self.seen = self.seen + 1
        elif self.how == "by data":
            self.seen.data[0] = 3
        elif self.how == "by NumPy":
            self.seen.numpy()[:] = 3
        elif self.how == "parameter":
            self.weight.data.mul_(2)


@pytest.mark.parametrize("how", ["in place", "anew", "by data", "by NumPy", "parameter", "no"])
def test_a_model_is_put_back_to_its_snapshot_however_it_has_changed(how: str) -> None:
    model = Restless(how)
    before = Snapshot(model, parameters=True)
    model()
    changed = before.restore()
    assert (changed.buffers, changed.parameters) == (
        how not in ("parameter", "no"),
        how == "parameter",
    )
    assert model.seen.tolist() == [0, 0]
    assert model.weight.tolist() == [1, 1]
    assert isinstance(model.weight, nn.Parameter)
    assert "seen" in dict(model.named_buffers())


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
def test_scripted_parts_are_put_back_too() -> None:
    scripted = torch.jit.script(nn.BatchNorm1d(1))
    model = nn.Sequential(scripted)
    before = Snapshot(model, parameters=True)
    model.train()(torch.tensor([[1.0], [3.0]]))
    assert scripted.running_mean.item() != 0
    before.restore()
    assert scripted.running_mean.item() == 0
