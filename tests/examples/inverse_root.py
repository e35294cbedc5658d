"""A schedule whose learning rate falls by the inverse root of the epochs."""

from rayfold.training import Schedule, Span


class InverseRoot(Schedule):
    """The learning rate is divided by the root of ``1 + epochs / unit``.

    Args:
        unit: Epochs after which it has fallen by the root of 2.
    """

    def __init__(self, *, unit: float = 1.0) -> None:
        self._unit = unit

    def factor(self, step: int, span: Span) -> float:
        """Return 1 after the warm-up, and less later."""
        epochs = (step - span.warmup) / span.per_epoch
        return float((1 + epochs / self._unit) ** -0.5)
