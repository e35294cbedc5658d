"""Live progress: a table in a terminal or a notebook, plain lines anywhere else."""

import dataclasses
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from html import escape
from typing import Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rayfold.groups.snapshot import GroupState, Snapshot
from rayfold.report.tables import best_first, best_trial
from rayfold.results import Mode, TrialResult
from rayfold.tracebacks import summary

SHOWN_TRIALS = 8
PLAIN_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """A study at one moment.

    Attributes:
        name: The study's name.
        metric: The metric that it optimises.
        mode: Whether a small or a large metric is good.
        num_trials: Largest number of trials.
        num_folds: Folds of each trial.
        results: Finished trials.
        num_folds_done: Folds trained, over all trials and earlier runs.
        num_folds_before: Number of these from earlier runs.
        maximum_groups: Largest number of groups.
        pool: The groups.
        num_studies: Number of studies; more than one for the parts of a study, whose scores cannot
            be compared.
        ended: Whether the groups are gone, because all work is done or the study was interrupted.
    """

    name: str
    metric: str
    mode: Mode
    num_trials: int
    num_folds: int
    results: tuple[TrialResult, ...] = ()
    num_folds_done: int = 0
    num_folds_before: int = 0
    maximum_groups: int = 1
    pool: Snapshot = field(default_factory=Snapshot)
    num_studies: int = 1
    ended: bool = False

    def with_pool(self, pool: Snapshot) -> Self:
        """Return the same state with the present groups."""
        return dataclasses.replace(self, pool=pool)

    @property
    def best(self) -> TrialResult | None:
        """The best completed trial so far."""
        return best_trial(self.results, self.mode)

    def time_left(self, now: float) -> timedelta | None:
        """Estimate the time left from the folds trained in this run; None before the first."""
        done = self.num_folds_done - self.num_folds_before
        began = self.pool.ready_at
        if done <= 0 or began is None or not self.pool.num_groups:
            return None
        open_folds = self.num_folds_done - sum(len(result.folds) for result in self.results)
        remaining = (self.num_trials - len(self.results)) * self._folds_per_trial - open_folds
        seconds = (now - began) / done * max(0, remaining)
        return timedelta(seconds=round(seconds))

    @property
    def _folds_per_trial(self) -> float:
        """Expected folds of a trial: all, or the mean of the others if some were stopped."""
        if not any(result.status == "stopped" for result in self.results):
            return self.num_folds
        return sum(len(result.folds) for result in self.results) / len(self.results)

    def summary(self, now: float) -> str:
        """Return one line: trials, best, groups busy, time left."""
        of_parts = f" of {self.num_studies} parts" if self.num_studies > 1 else ""
        parts = [f"{len(self.results)}/{self.num_trials} trials{of_parts}"]
        for status in ("stopped", "failed"):
            number = sum(result.status == status for result in self.results)
            if number:
                parts.append(f"{number} {status}")
        if self.best is not None and self.num_studies == 1:
            parts.append(f"best {format_score(self.best, self.metric)} (trial {self.best.id})")
        if self.pool.num_groups:
            parts.append(f"groups {self.pool.num_busy} of {self.pool.num_groups} busy")
        elif not self.ended:
            parts.append("starting groups")
        left = self.time_left(now)
        if left is not None:
            parts.append(f"about {left} left")
        return ", ".join(parts)


def format_score(result: TrialResult, metric: str) -> str:
    """Return ``val_loss 0.1234 ± 0.0056``."""
    if result.score is None:
        return f"no {metric}"
    error = "" if result.standard_error is None else f" ± {result.standard_error:.4f}"
    return f"{metric} {result.score:.4f}{error}"


class Progress:
    """Shows a study's state; a context manager. The base class shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, state: StudyState) -> None:
        """Show a new state; called about twice a second."""

    def close(self) -> None:
        """End the display."""


class PlainLines(Progress):
    """One line per finished trial, and a summary when it has changed; for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: set[str] | None = None
        self._summary, self._summary_at = "", 0.0

    def update(self, state: StudyState) -> None:
        """Print the changes."""
        if self._shown is None:
            self._shown = {result.id for result in state.results}
            if self._shown:
                self._print(f"{state.name}: resuming after {len(self._shown)} finished trials")
        for result in state.results:
            if result.id not in self._shown:
                self._shown.add(result.id)
                self._print(f"{state.name}: {_trial_line(result, state.metric)}")
        now = time.time()
        if now - self._summary_at >= PLAIN_SECONDS and self._summary != state.summary(now):
            self._summary, self._summary_at = state.summary(now), now
            self._print(f"{state.name}: {self._summary}")

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class LiveTable(Progress):
    """One table in the terminal, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)
        self._live.start()

    def update(self, state: StudyState) -> None:
        """Redraw the table."""
        self._live.update(_render(state), refresh=True)

    def close(self) -> None:
        """End the display and keep the last table."""
        self._live.stop()


class NotebookTable(Progress):
    """One HTML table below a notebook's cell, replaced in place."""

    def __init__(self) -> None:
        from IPython.display import display

        self._handle: Any = display(_Html("", ""), display_id=True)

    def update(self, state: StudyState) -> None:
        """Replace the table."""
        text = f"{state.name}: {state.summary(time.time())}"
        self._handle.update(_Html(state_html(state), text))


def create_progress(show: bool = True) -> Progress:
    """Return the progress display for the kind of output."""
    if not show:
        return Progress()
    if _in_notebook():
        return NotebookTable()
    if sys.stdout.isatty():
        return LiveTable(Console())
    return PlainLines(sys.stdout)


def state_html(state: StudyState) -> str:
    """Return the state as an HTML table: the summary, then the best trials."""
    now = time.time()
    rows = "".join(
        f"<tr><td>{escape(result.id)}</td><td>{result.status}</td>"
        f"<td>{_number(result.score)}</td><td>{_number(result.standard_error)}</td>"
        f"<td>{len(result.folds)}</td>"
        f'<td style="text-align: left">{escape(_config(result))}</td></tr>'
        for result in best_first(state.results, state.mode)[:SHOWN_TRIALS]
    )
    return (
        f"<table><caption><b>{escape(state.name)}</b>: {escape(state.summary(now))}</caption>"
        f"<tr><th>trial</th><th>status</th><th>{escape(state.metric)}</th><th>±</th>"
        f"<th>folds</th><th>configuration</th></tr>{rows}</table>"
    )


class _Html:
    """HTML, and text for outputs without HTML."""

    def __init__(self, html: str, text: str) -> None:
        self._html, self._text = html, text

    def _repr_html_(self) -> str:
        return self._html

    def __repr__(self) -> str:
        return self._text


def _render(state: StudyState) -> Group:
    table = Table(title=None, expand=False)
    for column in ("trial", "status", state.metric, "±", "folds", "configuration"):
        table.add_column(column, overflow="fold")
    for result in best_first(state.results, state.mode)[:SHOWN_TRIALS]:
        table.add_row(
            result.id,
            result.status,
            _number(result.score),
            _number(result.standard_error),
            str(len(result.folds)),
            Text(_config(result)),  # as it is: Rich would take brackets for markup
        )
    bar = ProgressBar(total=max(1, state.num_trials), completed=len(state.results), width=40)
    groups = [
        f"group {group.group}: trial {_trial_name(group, state)} fold {group.fold} "
        f"epoch {group.epoch}"
        if group.trial is not None
        else f"group {group.group}: idle"
        for group in state.pool.groups
    ]
    if state.pool.num_groups > len(groups):
        groups.append(f"and {state.pool.num_groups - len(groups)} more")
    busy = Text("  ".join(groups), style="dim")
    title = Text(f"{state.name}: {state.summary(time.time())}", style="bold")
    return Group(title, bar, busy, table)


def _trial_line(result: TrialResult, metric: str) -> str:
    if result.status == "failed":
        return f"trial {result.id} failed: {summary(result.error or 'unknown')}"
    return f"trial {result.id} {result.status}, {format_score(result, metric)}, {_config(result)}"


def _trial_name(group: GroupState, state: StudyState) -> str:
    """Return a trial's id, with the name of its study if it is another one."""
    return f"{group.trial}" if group.study == state.name else f"{group.study}/{group.trial}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _config(result: TrialResult) -> str:
    """Return ``channels=8 optimizer=adamw learning_rate=0.01``."""
    return " ".join(
        f"{name.removesuffix('.name').rpartition('.')[2]}="
        f"{f'{value:.3g}' if isinstance(value, float) else value}"
        for name, value in result.config.items()
    )


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
