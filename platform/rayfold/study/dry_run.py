"""The try of a model before anything starts: at the ends of the space, one step on two rows.

A model of the user's own may hang, exit or crash, so it is tried in a child process without Ray.
It trains an epoch of two rows, predicts them, and writes the files of a fold. A model of Rayfold's
library does none of this and checks all arguments in its constructor. So it is only built, in this
process, without memory for its weights.
"""

import dataclasses
import json
import os
import pickle
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from rayfold.child import child_process, end_session
from rayfold.data import DataSet, Fold, FoldPlan
from rayfold.errors import ModelError
from rayfold.results import Config
from rayfold.space.values import show
from rayfold.tracebacks import user_place
from rayfold.training import StudySetup
from rayfold.training.dry_run import WORDS, DryRunRequest, count_without_memory

SECONDS = 60.0
"""Seconds that a model may take for all its configurations."""

START_SECONDS = 120.0
"""Seconds that the imports of the child process may take on a busy machine."""

POLL_SECONDS = 0.1

END_SECONDS = 10.0
"""Seconds that the child process may take to end, or to reach its own limit of time."""

MEMORY_SHARE = 0.8
"""Share of the available memory that the model may take."""

MAX_TOLD = 3
"""Largest number of different errors that are reported."""

NUM_ROWS = 2

BYTES_PER_PARAMETER = 16
"""A weight, its gradient and two moments, of 4 bytes each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DryRun:
    """The result of a try.

    Attributes:
        num_configs: Number of configurations that were tried completely.
        num_parameters: Parameters of the smallest and the largest model; None if none was built.
        seconds: How long it took.
        warnings: What failed with some of the configurations, or did not end.
    """

    num_configs: int
    num_parameters: tuple[int, int] | None
    seconds: float
    warnings: tuple[str, ...] = ()

    def line(self, model: str) -> str:
        """Return it as text: ``Net, 5,130 to 210,442 parameters (4 configurations tried)``."""
        tried = f"({self.num_configs} configurations tried in {self.seconds:.0f} s)"
        if self.num_parameters is None:
            return f"{model} {tried}"
        low, high = self.num_parameters
        sizes = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        return f"{model}, {sizes} parameters {tried}"


def dry_run(
    setup: StudySetup,
    data: DataSet,
    configs: Sequence[Config],
    *,
    uses_gpu: bool = False,
) -> DryRun:
    """Try a model with each of a few configurations.

    Args:
        setup: The setup of the study.
        data: The data set.
        configs: Configurations of the space, without fixed values.
        uses_gpu: Whether the study trains on GPUs. If this machine has none, every failure is only
            a warning. The same holds if the time or the memory here is not enough.

    Raises:
        ModelError: If the model fails with every configuration: one line with the first of them,
            the error, and the file and line of the user's code. If only some fail, which can
            happen at the corners of a wide space, that is a warning.
    """
    began = time.monotonic()
    if all(source.is_ours for source in setup.code):
        return _try_here(setup, data, configs)
    for source in setup.code:
        source.check_travels()
    has_gpu = uses_gpu and torch.cuda.is_available()
    with tempfile.TemporaryDirectory(prefix="rayfold-") as place:
        request = DryRunRequest(
            setup=_rehearsed(setup, Path(place)),
            data=data.subset(setup.plan.folds[0].training_rows[:NUM_ROWS]),
            configs=configs,
            device="cuda" if has_gpu else "cpu",
            seconds=SECONDS,
        )
        watch = _Watch(request)
        file, errors, words = (
            Path(place, name) for name in ("request.pickle", "errors.txt", WORDS)
        )
        file.write_bytes(pickle.dumps(request))
        name, pipe = "rayfold.training.dry_run", subprocess.PIPE
        with child_process(name, str(file), output=pipe, errors=errors) as child:
            watch.follow(child)
            status = _end(child, now=watch.warning is not None)
        told = [text.read_text(errors="replace") for text in (errors, words) if text.exists()]
        watch.conclude(status, "\n".join(told))
    if watch.failures and not watch.num_done and (has_gpu or not uses_gpu):
        raise ModelError(watch.failures[0])
    counts = watch.counts
    return DryRun(
        num_configs=watch.num_done,
        num_parameters=(min(counts), max(counts)) if counts else None,
        seconds=time.monotonic() - began,
        warnings=(*watch.failures[:MAX_TOLD], *([watch.warning] if watch.warning else [])),
    )


def _try_here(setup: StudySetup, data: DataSet, configs: Sequence[Config]) -> DryRun:
    """Try a model of Rayfold's library in this process."""
    began = time.monotonic()
    counts, failures = [], []
    for config in configs:
        try:
            counts.append(
                count_without_memory(setup.model_class, data, {**setup.parameters, **config})
            )
        except ModelError as error:
            failures.append(str(error))
    if not counts:
        raise ModelError(failures[0])
    return DryRun(
        num_configs=len(counts),
        num_parameters=(min(counts), max(counts)),
        seconds=time.monotonic() - began,
        warnings=(*failures[:MAX_TOLD], *_too_large(max(counts))),
    )


class _Watch:
    """Follows a child process line by line, and its memory.

    Attributes:
        counts: Parameters of the models that were built.
        num_done: Number of configurations that were tried completely.
        failures: Errors of the model, one line for each different one.
        warning: What did not end here.
    """

    def __init__(self, request: DryRunRequest) -> None:
        self._request = request
        self._config: Config | None = None
        self._is_done = False
        self._deadline = time.monotonic() + START_SECONDS
        self._memory = MEMORY_SHARE * psutil.virtual_memory().available
        self.counts: list[int] = []
        self.num_done = 0
        self.failures: list[str] = []
        self._errors: set[str] = set()
        self.warning: str | None = None

    def follow(self, child: subprocess.Popen[bytes]) -> None:
        """Read the child's output until it is done or ends, or exceeds its time or memory."""
        assert child.stdout is not None
        process = psutil.Process(child.pid)
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            pending = b""
            while True:
                if selector.select(POLL_SECONDS):
                    received = os.read(child.stdout.fileno(), 65536)
                    if not received:
                        return
                    *lines, pending = (pending + received).split(b"\n")
                    for line in lines:
                        self._hear(json.loads(line))
                elif child.poll() is not None:
                    return  # a process that the model has started holds the other end
                self._check_limits(process)
                if self._is_done or self.warning is not None:
                    return

    def conclude(self, status: int, errors: str) -> None:
        """Say what ended the child, unless that is already known.

        Args:
            status: Its exit status.
            errors: Its standard error, and its last words.
        """
        if self._is_done or self.warning is not None:
            return
        place = user_place(self._request.setup.told(errors))
        where = "" if place is None else f" ({place})"
        if "Timeout (" in errors:
            self.warning = self._told(f"no end within {self._request.seconds:g} s{where}")
        elif status < 0:
            name = signal.Signals(-status).name
            self._fail(f"its process was ended by {name}{where}")
        elif self._config is None:
            lines = errors.strip().splitlines() or ["nothing"]
            self._fail(f"no process of its own can do that: {lines[-1]}")
        else:
            self._fail(f"its process ended with status {status}{where}")

    def _hear(self, event: dict[str, Any]) -> None:
        if "ready" in event:
            self._deadline = time.monotonic() + self._request.seconds + END_SECONDS
        elif "begun" in event:
            self._config = self._request.configs[event["begun"]]
        elif "parameters" in event:
            self.num_done += 1
            if event["parameters"] is not None:
                self.counts.append(event["parameters"])
        elif "fault" in event:
            self.warning = self._told(event["fault"])
        elif "error" in event:
            self._fail(event["error"])
        self._is_done = self._is_done or "done" in event

    def _check_limits(self, process: psutil.Process) -> None:
        try:
            used = process.memory_info().rss
        except psutil.NoSuchProcess:
            return
        if used > self._memory:
            self.warning = self._told(f"it needs more than {used / 1e9:.1f} GB of memory")
        elif time.monotonic() > self._deadline:
            self.warning = self._told(f"no end within {self._request.seconds:g} s")

    def _fail(self, error: str) -> None:
        if error not in self._errors:
            self._errors.add(error)
            self.failures.append(self._told(error))

    def _told(self, what: str) -> str:
        name = self._request.setup.model.reference
        values = {key: value for key, value in (self._config or {}).items() if "model." in key}
        given = ", ".join(
            [
                *(
                    repr(code.reference)
                    for code in self._request.setup.code[1:]
                    if not code.is_ours
                ),
                *(f"{key}={show(value)}" for key, value in values.items()),
            ]
        )
        return f"model {name!r} tried{f' with {given}' if given else ''}: {what.rstrip('.')}."


def _end(child: subprocess.Popen[bytes], *, now: bool) -> int:
    """Return the child's exit status; end it first if it still runs."""
    if now:
        end_session(child)
    try:
        return child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        end_session(child)
        return child.wait()


def _too_large(num_parameters: int) -> tuple[str, ...]:
    needed, available = num_parameters * BYTES_PER_PARAMETER, psutil.virtual_memory().available
    if needed <= MEMORY_SHARE * available:
        return ()
    return (
        f"the largest model needs about {needed / 1e9:,.0f} GB, but this machine has "
        f"{available / 1e9:,.0f} GB free; lower the upper ends of model. in the space.",
    )


def _rehearsed(setup: StudySetup, folder: Path) -> StudySetup:
    """Return the setup of one epoch on the two rows, in a folder of its own."""
    rows = np.arange(NUM_ROWS)
    settings = dataclasses.replace(
        setup.settings, epochs=1, metrics=(), metric="val_loss", mode="min"
    )
    return dataclasses.replace(
        setup,
        settings=settings,
        plan=FoldPlan((Fold(0, rows, rows),), setup.plan.digest),
        folder=folder,
        warm_start=None,
    )
