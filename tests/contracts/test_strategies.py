"""The strategies of Rayfold, and those of the examples, keep the contract."""

from pathlib import Path

from rayfold.testing import StrategyContract

EXAMPLES = Path(__file__).parents[1] / "examples"


class TestAllReduce(StrategyContract):
    strategy = "all_reduce"


class TestSharded(StrategyContract):
    strategy = f"{EXAMPLES / 'sharded.py'}:Sharded"


class TestParameterServer(StrategyContract):
    strategy = f"{EXAMPLES / 'parameter_server.py'}:ParameterServer"


class TestEpochAveraging(StrategyContract):
    exact = False
    strategy = f"{EXAMPLES / 'epoch_averaging.py'}:EpochAveraging"
