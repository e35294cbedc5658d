"""An ensemble as one module, and predictions with it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from rayfold.data import to_float
from rayfold.data.inputs import Input
from rayfold.ensemble.combination import Combination
from rayfold.ensemble.records import Signature
from rayfold.errors import DataError, EnsembleError
from rayfold.isolation import Snapshot, isolated, own_generators, seed_generators
from rayfold.process_guard import guarded_process

BATCH_SIZE = 1024

_LARGEST_BYTE = 255.0
_SEED = 0  # of what models draw while they predict

_Call: TypeAlias = Callable[[nn.Module, Sequence[torch.Tensor]], torch.Tensor]


class EnsembleModule(nn.Module):
    """All models of an ensemble as one module: from features to probabilities or values.

    No model affects another, or later rows. Each gets copies of the features and has its own
    generators. Its state and PyTorch's settings are restored after each call.

    Args:
        members: The models of each member, in evaluation mode; they have equal weights.
        combination: Combines the members' predictions.
        signature: Inputs and outputs.
    """

    def __init__(
        self,
        members: Sequence[Sequence[nn.Module]],
        combination: Combination,
        signature: Signature,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(nn.ModuleList(models) for models in members)
        self.combination = combination
        self.signature = signature
        self.num_outputs = signature.num_outputs
        self._parameters_stay: set[nn.Module] = set()  # seen to leave them alone: no more copies
        self._patches_nothing: set[nn.Module] = set()  # seen to leave the process alone
        self._buffers_change: set[nn.Module] = set()
        self.eval()

    def forward(self, *features: torch.Tensor) -> torch.Tensor:
        """Predict rows.

        Args:
            features: One tensor for each input, shape ``(rows, ...)``: uint8 if the input is
                stored as bytes, which are divided by 255 here; otherwise float32. Channels are on
                the axis of the file; if this is the last, they are moved here.

        Returns:
            Probabilities or values, float64, shape ``(rows, outputs)``.

        Raises:
            EnsembleError: If a model returns another shape.
        """
        bags = [predictions.mean(0) for predictions in self.each(*features)]
        combined: torch.Tensor = self.combination(torch.stack(bags))
        return combined

    def each(self, *features: torch.Tensor) -> list[torch.Tensor]:
        """Return the predictions of each member's models, shape ``(models, rows, outputs)``."""
        inputs = [
            as_trained(tensor, entry)
            for tensor, entry in zip(features, self.signature.inputs, strict=True)
        ]
        if torch.compiler.is_compiling():  # a program that is exported has been tried before
            return self._each(self._traced, inputs)
        with own_generators(_SEED, inputs[0].device):
            return self._each(self._run, inputs)

    def _each(self, call: _Call, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        found = []
        for models in self.members:
            assert isinstance(models, nn.ModuleList)
            bag = torch.stack(
                [call(model, [tensor.clone() for tensor in inputs]) for model in models]
            )
            bag = bag.double()  # in float32, probabilities would not add up to 1
            found.append(self.signature.task.activate(bag))
        return found

    def _run(self, model: nn.Module, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Call a model, and restore what it has changed."""
        num_rows, versions = len(inputs[0]), _versions(model)
        before = Snapshot(model, parameters=model not in self._parameters_stay)
        seed_generators(_SEED, inputs[0].device)
        guard: AbstractContextManager[list[str]] = (
            nullcontext([]) if model in self._patches_nothing else guarded_process()
        )
        with guard as patches, isolated():
            outputs: torch.Tensor = model(*inputs)
            expected = self.signature.task.output_shape(num_rows, self.num_outputs)
            if outputs.shape != expected:
                raise EnsembleError(
                    f"{type(model).__name__} returned shape {tuple(outputs.shape)}, "
                    f"expected {expected}."
                )
            outputs = outputs.clone()  # it may be a part of the model
        if not patches:
            self._patches_nothing.add(model)
        changed = before.restore()
        if changed.buffers:
            self._buffers_change.add(model)
        if changed.parameters or _versions(model) != versions:
            self._parameters_stay.discard(model)
        else:
            self._parameters_stay.add(model)
        return outputs

    def _traced(self, model: nn.Module, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Call a model so that its program changes nothing from one call to the next."""
        outputs: torch.Tensor
        if model in self._buffers_change:
            buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
            outputs = torch.func.functional_call(model, buffers, tuple(inputs))
        else:
            outputs = model(*inputs)
        return outputs


def as_trained(tensor: torch.Tensor, entry: Input) -> torch.Tensor:
    """Convert the rows of an input to the form of the training."""
    if entry.dtype == "uint8":
        tensor = tensor.to(torch.float32) / _LARGEST_BYTE
    if entry.channels == "last":
        tensor = tensor.movedim(-1, 1).contiguous()
    return tensor


def _versions(model: nn.Module) -> int:
    return sum(parameter._version for parameter in model.parameters())


def batches(features: Sequence[NDArray[np.generic]]) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield the rows of the arrays of ``check_features``, at most ``BATCH_SIZE`` at a time."""
    for start in range(0, len(features[0]), BATCH_SIZE):
        yield tuple(torch.tensor(array[start : start + BATCH_SIZE]) for array in features)


def predict_rows(
    module: EnsembleModule, features: Sequence[NDArray[np.generic]]
) -> NDArray[np.float64]:
    """Return the ensemble's predictions of the arrays of ``check_features``.

    Returns:
        Probabilities or values, shape ``(rows, outputs)``.
    """
    with torch.no_grad():
        parts = [module(*batch).numpy() for batch in batches(features)]
    return np.concatenate([np.zeros((0, module.num_outputs)), *parts])


def predict_each(
    module: EnsembleModule, features: Sequence[NDArray[np.generic]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the predictions of every model, shape ``(models, rows, outputs)``, and its weight.

    A member's models share its weight. Weights have shape ``(models,)`` and sum 1.
    """
    shares = module.combination.shares
    with torch.no_grad():
        parts = [torch.cat(module.each(*batch)).numpy() for batch in batches(features)]
    sizes = [len(models) for models in module.members]  # type: ignore[arg-type]
    weights = np.repeat(np.array(shares) / sizes, sizes)
    empty = np.zeros((sum(sizes), 0, module.num_outputs))
    return np.concatenate([empty, *parts], axis=1), weights


def predict_variants(
    module: EnsembleModule, features: Sequence[NDArray[np.generic]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ensemble's predictions with one model of each member, and equal weights.

    Variant *i* takes model *i* of each member; members with fewer models repeat them in turn. The
    members of a stack are added and subtracted and need not predict the target themselves. So only
    the differences between variants measure uncertainty, not those between members.

    Returns:
        Predictions of shape ``(variants, rows, outputs)``, and weights, shape ``(variants,)``.
    """
    num_variants = max(len(models) for models in module.members)  # type: ignore[arg-type]
    parts = []
    with torch.no_grad():
        for batch in batches(features):
            members = module.each(*batch)
            variants = [
                module.combination(torch.stack([each[i % len(each)] for each in members]))
                for i in range(num_variants)
            ]
            parts.append(torch.stack(variants).numpy())
    empty = np.zeros((num_variants, 0, module.num_outputs))
    predictions = np.concatenate([empty, *parts], axis=1)
    return predictions, np.full(num_variants, 1 / num_variants)


def check_features(
    features: ArrayLike | tuple[ArrayLike, ...], signature: Signature
) -> tuple[NDArray[np.generic], ...]:
    """Check features against the signature, and turn them into what the ensemble takes.

    Args:
        features: An array of shape ``(rows, ...)``, or a tuple with one for each input, of the
            type that was trained on.
        signature: What goes in.

    Returns:
        One array for each input: uint8 where it is stored as bytes, otherwise float32.

    Raises:
        DataError: If the number of arrays, a shape, a type or a value is wrong.
    """
    given = features if isinstance(features, tuple) else (features,)
    try:
        arrays = [np.asarray(array) for array in given]
    except ValueError:
        raise DataError("the features' rows differ in their shape; give arrays.") from None
    if len(arrays) != len(signature.inputs):
        names = ", ".join(entry.name for entry in signature.inputs)
        raise DataError(
            f"expected {len(signature.inputs)} feature arrays ({names}), got {len(arrays)}; "
            "pass a tuple with one array for each."
        )
    num_rows = arrays[0].shape[0] if arrays[0].ndim else 0
    converted: list[NDArray[np.generic]] = []
    for array, entry in zip(arrays, signature.inputs, strict=True):
        if array.ndim == 0 or array.shape[1:] != entry.shape:
            expected = ", ".join(["rows", *map(str, entry.shape)])
            layout = ", channels last" if entry.channels == "last" else ""
            raise DataError(
                f"{entry.name}: expected shape ({expected}){layout}, got {array.shape}."
            )
        if array.shape[0] != num_rows:
            raise DataError(
                f"{entry.name}: expected {num_rows} rows as in {signature.inputs[0].name}, "
                f"got {array.shape[0]}."
            )
        if (array.dtype == np.uint8) != (entry.dtype == "uint8"):
            raise DataError(
                f"{entry.name}: expected type {entry.dtype} as in training (uint8 is divided by "
                f"255, other types are not), got {array.dtype}."
            )
        if array.dtype == np.uint8:
            converted.append(np.ascontiguousarray(array))
            continue
        values = to_float(array)
        finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if not finite.all():
            row = int(np.flatnonzero(~finite)[0])
            raise DataError(f"{entry.name}: row {row} holds NaN or infinity; repair or drop it.")
        converted.append(values)
    return tuple(converted)
