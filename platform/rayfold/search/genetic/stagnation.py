"""Premature convergence: when a search has stopped getting better."""

from rayfold.search.genetic.operators import Individual


class Stagnation:
    """Counts the trials since the fittest individual was last outdone.

    Only those count that were suggested after that one was told, or after the last restart: what
    was on its way by then says nothing about a population that has changed since. So a search
    of a thousand groups does not restart again and again.

    Args:
        patience: So many trials without a fitter one are stagnation; infinity: none ever is.

    Attributes:
        fittest: The fittest individual so far; None before the first is told.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._first_counted = 0
        self._num_vain = 0
        self.fittest: Individual | None = None

    @property
    def reached(self) -> bool:
        """Whether it is time to begin anew."""
        return self._num_vain >= self._patience

    def learn(self, individual: Individual, *, num_made: int) -> None:
        """Take in an individual whose fitness is known; ``num_made`` were made so far."""
        if self.fittest is None or individual.fitness > self.fittest.fitness:
            self.fittest = individual
            self.reset(num_made=num_made)
        elif individual.number >= self._first_counted:
            self._num_vain += 1

    def reset(self, *, num_made: int) -> None:
        """Count those only that are made from now on."""
        self._first_counted = num_made
        self._num_vain = 0
