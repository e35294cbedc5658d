"""The combination of an ensemble's members to one prediction."""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn

from rayfold.tasks import LEAST_PROBABILITY, Task

LEAST_STACKED = 1e-6
"""Smallest probability for stacking, which would otherwise extrapolate from outliers."""


class Combination(nn.Module):
    """Combines members' predictions. It is a module, so an exported program contains it.

    Attributes:
        kind: Its name in a bundle's manifest.
    """

    kind: ClassVar[str]

    @abstractmethod
    def forward(
        self, predictions: torch.Tensor, present: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Combine predictions.

        Args:
            predictions: Probabilities or values, float64, shape ``(members, rows, outputs)``.
            present: Which rows each member has predicted, shape ``(members, rows)``; None: all.

        Returns:
            Probabilities or values, float64, shape ``(rows, outputs)``; NaN in a row that no
            member has predicted.
        """

    @abstractmethod
    def of_parts(self, parts: torch.Tensor) -> "Combination":
        """Return the combination of models whose weighted means are this one's members.

        Args:
            parts: Weight of each model in each present member, float64, shape
                ``(members, models)``; the weights of a member have the sum 1.
        """

    @property
    @abstractmethod
    def shares(self) -> tuple[float, ...]:
        """Weight of each member, at least 0; the sum is 1."""


class WeightedMean(Combination):
    """The weighted mean of the members that have predicted a row.

    Args:
        weights: Weight of each member, above 0, with sum 1, float64, shape ``(members,)``.
        temperature: Temperature of mean probabilities, above 0; None: no temperature.
    """

    kind = "weighted_mean"
    weights: torch.Tensor
    temperature: torch.Tensor | None

    def __init__(
        self, weights: torch.Tensor, temperature: float | torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("weights", weights.to(torch.float64))
        if temperature is not None:
            temperature = torch.as_tensor(temperature, dtype=torch.float64)
        self.register_buffer("temperature", temperature)

    def forward(
        self, predictions: torch.Tensor, present: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the mean of the present members, row by row."""
        if present is None:
            mean = torch.einsum("m,mro->ro", self.weights, predictions)
        else:
            weights = self.weights[:, None] * present
            mean = torch.einsum("mr,mro->ro", weights / weights.sum(0), predictions)
        return self.of_mean(mean)

    def of_mean(self, mean: torch.Tensor) -> torch.Tensor:
        """Return the prediction from the members' weighted mean."""
        return mean if self.temperature is None else tempered(mean, self.temperature)

    def of_parts(self, parts: torch.Tensor) -> "WeightedMean":
        """Return the mean with each weight split over the parts of its member."""
        return WeightedMean(self.weights @ parts, self.temperature)

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights."""
        return tuple(self.weights.tolist())


def tempered(probabilities: torch.Tensor, temperature: float | torch.Tensor) -> torch.Tensor:
    """Return probabilities whose logarithms are divided by a temperature.

    Args:
        probabilities: Shape ``(rows, classes)``.
        temperature: Above 0; below 1, predictions become more certain.
    """
    return (probabilities.clamp_min(LEAST_PROBABILITY).log() / temperature).softmax(-1)


class Stacking(Combination):
    """A linear model of all members' predictions; every member must have one for every row.

    A logistic model takes the logarithms of probabilities and returns the logarithms of odds; a
    ridge model takes and returns values.

    Args:
        coefficients: float64, shape ``(outputs, members, outputs)``: coefficient of each output
            for each output of each member.
        intercept: float64, shape ``(outputs,)``.
        task: The task; it decides which model this is.
        parts: float64, shape ``(members, models)``: weights of the mean over each member's models;
            None: the predictions are those of members.
    """

    kind = "stacking"
    coefficients: torch.Tensor
    intercept: torch.Tensor
    parts: torch.Tensor | None

    def __init__(
        self,
        coefficients: torch.Tensor,
        intercept: torch.Tensor,
        task: Task,
        parts: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("parts", None if parts is None else parts.to(torch.float64))
        self.register_buffer("coefficients", coefficients.to(torch.float64))
        self.register_buffer("intercept", intercept.to(torch.float64))
        self.task = task

    def forward(
        self, predictions: torch.Tensor, present: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the linear model's predictions."""
        if self.parts is not None:
            predictions = torch.einsum("pm,mro->pro", self.parts, predictions)
        if self.task.stacking == "logistic":
            predictions = predictions.clamp_min(LEAST_STACKED).log()
        outputs = torch.einsum("imo,mro->ri", self.coefficients, predictions) + self.intercept
        if self.task.stacking == "logistic":
            outputs = outputs.softmax(1)
        if present is not None:
            outputs = torch.where(present.all(0)[:, None], outputs, torch.nan)
        return outputs

    def of_parts(self, parts: torch.Tensor) -> "Stacking":
        """Return the linear model of weighted means, whose logarithms it takes."""
        assert self.parts is None
        return Stacking(self.coefficients, self.intercept, self.task, parts)

    @property
    def shares(self) -> tuple[float, ...]:
        """Each model's share of the sum of absolute coefficients."""
        sizes = self.coefficients.abs().sum(dim=(0, 2))
        if self.parts is not None:
            sizes = sizes @ self.parts
        total = sizes.sum()
        if total == 0:
            return (1 / len(sizes),) * len(sizes)
        return tuple((sizes / total).tolist())


def combination_from_state(
    kind: str, state: dict[str, Any], *, task: Task, num_members: int, num_outputs: int
) -> Combination:
    """Return the combination of a state dict.

    Args:
        kind: Its ``kind``.
        state: Its state dict.
        task: The task.
        num_members: Number of members.
        num_outputs: Number of outputs of each.

    Raises:
        ValueError: If there is no such kind, tensors are missing or have a wrong shape, or the
            temperature is not above 0.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if kind == WeightedMean.kind and shapes.get("weights") == (num_members,):
        if shapes.keys() == {"weights"}:
            return WeightedMean(state["weights"])
        if shapes == {"weights": (num_members,), "temperature": ()} and task.temperature:
            if not 0 < (temperature := float(state["temperature"])) < math.inf:
                raise ValueError(f"the temperature is {temperature}, expected one above 0")
            return WeightedMean(state["weights"], temperature)
    wanted: dict[str, tuple[int, ...]] = {"intercept": (num_outputs,)}
    num_combined = num_members
    if len(shapes.get("parts", ())) == 2:
        num_combined = shapes["parts"][0]
        wanted["parts"] = (num_combined, num_members)
    wanted["coefficients"] = (num_outputs, num_combined, num_outputs)
    if kind == Stacking.kind and shapes == wanted:
        return Stacking(state["coefficients"], state["intercept"], task, state.get("parts"))
    raise ValueError(f"no combination {kind!r} has tensors of shapes {shapes}")
