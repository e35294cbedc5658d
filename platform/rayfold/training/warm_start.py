"""Initial weights of a fold from earlier studies, for tensors whose names and shapes match."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rayfold.data import DataSet
from rayfold.model_construction import build_model, model_arguments
from rayfold.results import Config, LoadedWeights
from rayfold.training.lazy_modules import blank_rows, materialise
from rayfold.training.weights_file import tensors_of

Shapes = Mapping[str, tuple[int, ...]]
"""Names of a model's tensors, parameters and buffers, each with its shape."""


@dataclass(frozen=True, kw_only=True)
class SourceTrial:
    """A trial of an earlier study whose models others may begin with.

    Attributes:
        number: Counted from 0 among the sources.
        study: Name of the study.
        study_id: Its own identity.
        trial: Name of the trial within it.
        shapes: Shapes of the models' tensors.
        same_outputs: Whether it predicts the same classes or values, so that the output layer also
            fits.
        folds: For each fold of the new study, the fold of this trial whose model has seen neither
            its validation rows nor the test rows; None if there is no such model.
    """

    number: int
    study: str
    study_id: str
    trial: str
    shapes: Shapes
    same_outputs: bool
    folds: tuple[int | None, ...]

    def file(self, source_fold: int) -> Path:
        """Return the path of the copy of a fold's weights, relative to the study's folder."""
        return Path("initial_weights") / str(self.number) / f"fold_{source_fold}.safetensors"

    def fitting(self, shapes: Shapes, outputs: Collection[str]) -> tuple[str, ...]:
        """Return the tensors that a model of these shapes can load.

        Args:
            shapes: Shapes of the new model.
            outputs: Names of its tensors whose shape depends on the number of outputs; they are
                loaded only if both models predict the same classes or values.
        """
        return tuple(
            name
            for name, shape in shapes.items()
            if self.shapes.get(name) == shape and (self.same_outputs or name not in outputs)
        )


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """How the warm trials of a study begin.

    Attributes:
        sources: The best trials of each study first; in each study every source has other shapes.
        shrink: Factor of the loaded weights.
        noise: Factor of the fresh weights that are added to the loaded ones.
        frozen_epochs: Number of first epochs in which loaded weights do not change.
        learning_rate_factor: Factor of their learning rate after that.

    References:
        Ash, Adams, "On Warm-Starting Neural Network Training", arXiv 1910.08475: shrink and
        perturb, because training from a warm start generalises worse.
    """

    sources: tuple[SourceTrial, ...]
    shrink: float
    noise: float
    frozen_epochs: int = 0
    learning_rate_factor: float = 1.0

    @property
    def holds_back(self) -> bool:
        """Whether loaded weights ever have another learning rate than fresh ones."""
        return self.frozen_epochs > 0 or self.learning_rate_factor != 1.0

    def rate_factor(self, epoch: float) -> float:
        """Return the factor of the learning rate of loaded weights after ``epoch`` epochs."""
        return 0.0 if epoch < self.frozen_epochs else self.learning_rate_factor

    def choose(
        self, shapes: Shapes, outputs: Collection[str], *, fold: int, number: int
    ) -> SourceTrial | None:
        """Return the source that fits a model best.

        Of the sources with most fitting tensors, the best of each study is used. Trials of the new
        study take the studies in turn.

        Args:
            shapes: Shapes of the new model.
            outputs: Names of its tensors whose shape depends on the number of outputs.
            fold: The fold to train.
            number: Number of the trial, counted from 0.

        Returns:
            None if no tensor of any source fits, or if all have seen rows that the fold hides.
        """
        counts = [
            len(source.fitting(shapes, outputs)) if source.folds[fold] is not None else 0
            for source in self.sources
        ]
        most = max(counts, default=0)
        if most == 0:
            return None
        best: dict[str, SourceTrial] = {}
        for source, count in zip(self.sources, counts, strict=True):
            if count == most:
                best.setdefault(source.study_id, source)
        return list(best.values())[number % len(best)]

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild a record from ``to_dict()``."""
        sources = tuple(
            SourceTrial(
                **{
                    **source,
                    "shapes": {name: tuple(shape) for name, shape in source["shapes"].items()},
                    "folds": tuple(source["folds"]),
                }
            )
            for source in values["sources"]
        )
        return cls(**{**values, "sources": sources})


@dataclass(frozen=True)
class Loaded:
    """The initial weights of a model.

    Attributes:
        weights: Their origin, for the fold's result.
        names: Names of the loaded tensors.
    """

    weights: LoadedWeights
    names: frozenset[str]


def load_initial_weights(
    model: nn.Module,
    warm_start: WarmStart,
    *,
    folder: Path,
    outputs: Collection[str],
    fold: int,
    number: int,
) -> Loaded | None:
    """Mix the weights of the source that fits best into a new model.

    Floating-point parameters become ``shrink * loaded + noise * fresh``. Buffers, such as the
    running statistics of batch normalisation, are copied unchanged.

    Args:
        model: Changed in place.
        warm_start: How trials begin.
        folder: The study's folder.
        outputs: Names of tensors whose shape depends on the number of outputs.
        fold: The fold to train.
        number: Number of the trial, counted from 0.

    Returns:
        None if nothing fits; the model is then unchanged.
    """
    state = model.state_dict()
    shapes = tensor_shapes(state)
    source = warm_start.choose(shapes, outputs, fold=fold, number=number)
    if source is None:
        return None
    source_fold = source.folds[fold]
    assert source_fold is not None
    past = load_file(folder / source.file(source_fold))
    names = source.fitting(shapes, outputs)
    trained = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    with torch.no_grad():
        for name in names:
            _mix(state[name], past[name], warm_start, shrunk=name in trained)
    weights = LoadedWeights(
        study=source.study,
        trial=source.trial,
        fold=source_fold,
        num_loaded=len(names),
        num_tensors=len(shapes),
    )
    return Loaded(weights, frozenset(names))


def _mix(tensor: Tensor, past: Tensor, warm_start: WarmStart, *, shrunk: bool) -> None:
    past = past.to(device=tensor.device, dtype=tensor.dtype)
    if shrunk and tensor.is_floating_point():
        tensor.mul_(warm_start.noise).add_(past, alpha=warm_start.shrink)
    else:
        tensor.copy_(past)


def tensor_shapes(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a state dict, without other extra state."""
    return {name: tuple(tensor.shape) for name, tensor in tensors_of(state).items()}


def model_shapes(
    model_class: type[nn.Module], config: Config, data: DataSet, *, more_outputs: int = 0
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors of the model that a configuration describes.

    It is built without memory if its constructor allows it.

    Raises:
        ModelError: If the constructor refuses the arguments.
    """
    arguments = model_arguments(
        model_class,
        config,
        input_shapes=data.input_shapes,
        num_outputs=data.num_outputs + more_outputs,
    )
    try:
        with torch.device("meta"):
            model = model_class(**arguments)
            materialise(model, blank_rows(data.input_shapes, "meta"))
    except (RuntimeError, NotImplementedError, TypeError, ValueError):  # it computes with them
        model = build_model(model_class, arguments)
        materialise(model, blank_rows(data.input_shapes))
    return tensor_shapes(model.state_dict())


def output_tensors(model_class: type[nn.Module], config: Config, data: DataSet) -> frozenset[str]:
    """Return the names of the tensors whose shape depends on the number of outputs."""
    shapes = model_shapes(model_class, config, data)
    larger = model_shapes(model_class, config, data, more_outputs=1)
    return frozenset(name for name, shape in shapes.items() if larger.get(name) != shape)


def parameter_groups(module: nn.Module) -> Iterator[dict[str, Any]]:
    """Yield a group for each parameter, so that each can have its own learning rate."""
    for parameter in module.parameters():
        yield {"params": [parameter]}


def rate_factors(
    model: nn.Module, module: nn.Module, warm_start: WarmStart, loaded: Loaded | None
) -> list[Callable[[float], float]]:
    """Return a function of the epoch for each of a module's ``parameter_groups``.

    Args:
        model: The model whose weights were loaded.
        module: The model, or a part of it.
        warm_start: How trials begin.
        loaded: The initial weights of the model.
    """
    names = loaded.names if loaded is not None else frozenset()
    warm = {parameter for name, parameter in model.named_parameters() if name in names}
    return [
        warm_start.rate_factor if parameter in warm else (lambda epoch: 1.0)
        for parameter in module.parameters()
    ]
