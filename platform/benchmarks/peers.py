"""Other tools as searchers: each in a virtual environment and a process of its own."""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayfold.results import Config
from rayfold.search import Observation, Searcher
from rayfold.space import Choice

TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Tool:
    """What a peer is made of.

    Attributes:
        requirements: Pinned distributions of its environment.
        arguments: What ``peer_process.py`` is called with.
    """

    requirements: tuple[str, ...]
    arguments: tuple[str, ...]


SKOPT = ("scikit-optimize==0.10.2", "scikit-learn==1.9.1", "numpy==2.4.6", "scipy==1.17.1")
OPTUNA = ("optuna==5.0.0", "scipy==1.17.1", "numpy==2.4.6", TORCH)
DEEPHYPER = ("deephyper==0.13.2",)
PEERS = {
    "skopt-gp": Tool(SKOPT, ("skopt", "GP")),
    "skopt-et": Tool(SKOPT, ("skopt", "ET")),
    "optuna-tpe": Tool(OPTUNA, ("optuna", "TPESampler")),
    "optuna-gp": Tool(OPTUNA, ("optuna", "GPSampler")),
    "deephyper-cbo": Tool(DEEPHYPER, ("deephyper", "CBO")),
}
"""Name on the command line to tool."""


class Peer(Searcher):
    """A searcher whose proposals come from another tool, all of whose settings are its defaults.

    The tool sees a grid: a whole number from 0 for each parameter with an order, a category for
    every other. It is asked and told by lines of JSON over pipes, and ended by ``close``.

    Args:
        name: One of ``PEERS``.
        ordered: Names of the space's parameters, all choices, and whether they have an order.
        cache: Folder of the environments.
        random_seed: The tool's seed.
    """

    def __init__(
        self, name: str, *, ordered: dict[str, bool], cache: Path, random_seed: int
    ) -> None:
        self._name, self._ordered, self._random_seed = name, ordered, random_seed
        self._python = environment(PEERS[name].requirements, cache)
        self._log = (cache / f"{name}.log").open("a")
        self._process: subprocess.Popen[str] | None = None

    def settings(self) -> dict[str, Any]:
        """Return ``{"optuna-tpe": {"random_seed": 0}}``."""
        return {self._name: {"random_seed": self._random_seed}}

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._log.close()

    def _begin(self) -> None:
        self._values = {
            name: domain.values
            for name, domain in self.space.items()
            if isinstance(domain, Choice)
        }
        self._process = subprocess.Popen(
            [
                self._python,
                Path(__file__).with_name("peer_process.py"),
                *PEERS[self._name].arguments,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        parameters = [
            [name, len(values), self._ordered[name]] for name, values in self._values.items()
        ]
        self._call(parameters=parameters, mode=self.mode, random_seed=self._random_seed)

    def _propose(self) -> Config:
        answer = self._call(ask=len(self._suggestions))
        return {
            name: values[index]
            for (name, values), index in zip(self._values.items(), answer["config"], strict=True)
        }

    def _learn(self, observation: Observation) -> None:
        self._call(tell=observation.suggestion.number, score=observation.score)

    def _call(self, **message: Any) -> Any:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # there is no answer, either
        answer = self._process.stdout.readline()
        if not answer:
            raise PeerError(f"{self._name} ended by itself; {self._log.name} tells why.")
        return json.loads(answer)


class PeerError(RuntimeError):
    """A tool cannot be installed, or ended by itself."""


def environment(requirements: tuple[str, ...], cache: Path) -> Path:
    """Return the Python of an environment with these distributions, made on first use.

    PyTorch is held at one version whoever asks for it, for its newest build is for CUDA.
    """
    digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    folder = cache / f"{requirements[0].partition('==')[0]}-{digest}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        print(f"installing {', '.join(requirements)} in {folder}", file=sys.stderr)
        constraints = folder / "constraints.txt"
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        constraints.write_text(f"{TORCH}\n")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        ended = subprocess.run([*pip, "--constraint", constraints, *requirements], check=False)
        if ended.returncode:
            raise PeerError(f"{', '.join(requirements)} cannot be installed in {folder}.")
        done.touch()
    return python
