"""Studies in simulated time: real searchers, tabulated scores, any number of groups."""

from rayfold.simulation.charges import Charges
from rayfold.simulation.files import read_table
from rayfold.simulation.record import SimulatedTrial, Simulation
from rayfold.simulation.simulator import simulate
from rayfold.simulation.table import Table

__all__ = [
    "Charges",
    "SimulatedTrial",
    "Simulation",
    "Table",
    "read_table",
    "simulate",
]
