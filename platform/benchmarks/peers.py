"""Other tools as searchers: each in a virtual environment and a process of its own."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayfold.results import Config
from rayfold.search import Observation, Searcher
from rayfold.space import Choice, Domain, Int

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

    The tool sees a whole number from 0 for whole numbers and choices of numbers, a category for
    other choices, and [0, 1] for real numbers, all without conditions. It is asked and told by
    lines of JSON over pipes, and ended by ``close``.

    Args:
        name: One of ``PEERS``.
        cache: Folder of the environments.
        random_seed: The tool's seed.
    """

    def __init__(self, name: str, *, cache: Path, random_seed: int) -> None:
        self._name, self._random_seed = name, random_seed
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
        self._values = {name: values_of(domain) for name, domain in self.space.items()}
        parameters = [
            [name, len(values), not any(isinstance(value, str) for value in values)]
            for name, values in self._values.items()
        ]
        self._call(parameters=parameters, mode=self.mode, random_seed=self._random_seed)

    def _propose(self) -> Config:
        answer = self._call(ask=len(self._suggestions))
        return {
            name: values[number] if values else self.space[name].from_unit(number)
            for (name, values), number in zip(self._values.items(), answer["config"], strict=True)
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


def values_of(domain: Domain) -> Sequence[Any]:
    """Return the values of a parameter, none for real numbers."""
    if isinstance(domain, Choice):
        return domain.values
    return range(domain.low, domain.high + 1) if isinstance(domain, Int) else ()


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
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pip += ["--constraint", str(constraints)]
        ended = subprocess.run([*pip, *requirements], check=False)
        if ended.returncode:
            raise PeerError(f"{', '.join(requirements)} cannot be installed in {folder}.")
        done.touch()
    return python
