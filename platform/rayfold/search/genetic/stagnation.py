"""Premature convergence: whether a search has stopped improving."""

from rayfold.search.genetic.operators import Individual


class Stagnation:
    """Counts the trials since the last new fittest individual.

    A trial counts only if it was suggested after the fittest one was observed, and after the last
    restart. Trials that were already running say nothing about the changed population. Otherwise a
    search on a thousand groups would restart again and again.

    Args:
        patience: Number of trials without a fitter one that mean stagnation; infinity: never.

    Attributes:
        fittest: The fittest individual so far; None before the first observation.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._first_counted = 0
        self._num_vain = 0
        self.fittest: Individual | None = None

    @property
    def reached(self) -> bool:
        """Whether the search should restart."""
        return self._num_vain >= self._patience

    def learn(self, individual: Individual, *, num_made: int) -> None:
        """Learn of an individual whose fitness is known; ``num_made`` were made so far."""
        if self.fittest is None or individual.fitness > self.fittest.fitness:
            self.fittest = individual
            self.reset(num_made=num_made)
        elif individual.number >= self._first_counted:
            self._num_vain += 1

    def reset(self, *, num_made: int) -> None:
        """Count only individuals made from now on."""
        self._first_counted = num_made
        self._num_vain = 0
