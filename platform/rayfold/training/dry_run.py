"""Tries a model on two rows in a process of its own, which may hang, exit or crash.

``python -m rayfold.training.dry_run FILE`` reads a pickled ``DryRunRequest``, which its parent has
just written. It prints a line of JSON for each event: ``ready``; for each configuration ``begun``
and ``parameters``, ``error`` or ``fault`` (of the machine); and ``done`` at the end. The model's
output goes to standard error, where a crash also writes the lines of code.
"""

import faulthandler
import json
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rayfold.child import die_with_parent
from rayfold.data import DataSet
from rayfold.jobs import FoldJob
from rayfold.last_words import keep_last_words
from rayfold.machine import machine_fault
from rayfold.model_construction import build_model, model_arguments
from rayfold.results import Config
from rayfold.tracebacks import summary, user_place
from rayfold.training.collective import SingleProcess
from rayfold.training.loop import FoldRun
from rayfold.training.metrics import load_metrics
from rayfold.training.settings import StudySetup

WORDS = "words.txt"
"""File beside the request that says what ended the process too early."""


@dataclass(frozen=True, kw_only=True)
class DryRunRequest:
    """The configurations to try.

    Attributes:
        setup: The study's setup, with one epoch, one fold of these rows and a folder of its own.
        data: Some rows of the data set.
        configs: Configurations of the space; fixed values are in ``setup``.
        device: The device.
        seconds: Limit of time for all configurations.
    """

    setup: StudySetup
    data: DataSet
    configs: Sequence[Config]
    device: str
    seconds: float


def main(file: Path) -> None:
    """Carry out the request in a file, and print the events."""
    die_with_parent()
    tell = _private_output()
    _import_the_rest()
    tell({"ready": True})
    request: DryRunRequest = pickle.loads(file.read_bytes())  # noqa: S301  our parent's own file
    keep_last_words(file.with_name(WORDS))
    faulthandler.dump_traceback_later(request.seconds, exit=True)
    for number, config in enumerate(request.configs):
        tell({"begun": number})
        try:
            tell({"parameters": _train(request, number, config)})
        except FloatingPointError:  # two rows say nothing about convergence
            tell({"parameters": None})
        except BaseException as error:  # noqa: BLE001  whatever a model raises is told
            fault = machine_fault(error, request.setup.folder)
            tell({"error": _told(error, request.setup)} if fault is None else {"fault": fault})
    tell({"done": True})
    os._exit(0)  # processes and threads that the model has left behind are not waited for


def count_without_memory(model_class: type[nn.Module], data: DataSet, config: Config) -> int:
    """Build a model without memory for any value.

    Args:
        model_class: A model whose constructor only checks its arguments and builds layers.
        data: The data set, for the shapes.
        config: A configuration, searched and fixed hyperparameters together.

    Returns:
        Its number of parameters.

    Raises:
        ModelError: If it cannot be built.
    """
    arguments = model_arguments(
        model_class, config, input_shapes=data.input_shapes, num_outputs=data.num_outputs
    )
    with torch.device("meta"):
        return _count(build_model(model_class, arguments))


def _import_the_rest() -> None:
    """Import modules that PyTorch and Rayfold import on first use, outside the model's time."""
    load_metrics()
    torch.optim.SGD(nn.Linear(1, 1).parameters()).zero_grad()


def _train(request: DryRunRequest, number: int, config: Config) -> int:
    """Train an epoch, validate, and write the files of a fold."""
    job = FoldJob(trial=f"{number:04}", config=config, fold=0, until_epoch=1)
    run = FoldRun(
        job, setup=request.setup, data=request.data, collective=SingleProcess(request.device)
    )
    run.advance(job)
    return _count(run.model)


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _told(error: BaseException, setup: StudySetup) -> str:
    text = setup.told("".join(traceback.format_exception(error)))
    if isinstance(error, SystemExit):
        place = user_place(text)
        return f"it calls sys.exit({error.code!r}){'' if place is None else f' ({place})'}"
    return summary(text)


def _private_output() -> Callable[[dict[str, Any]], None]:
    """Keep standard output for the events; other output goes to standard error."""
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def tell(event: dict[str, Any]) -> None:
        lines.write(json.dumps(event) + "\n")

    return tell


if __name__ == "__main__":
    main(Path(sys.argv[1]))
