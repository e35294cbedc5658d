"""One study through its whole life: killed, taken up, interrupted, finished, used.

``rayfold run`` is called three times, each as a process of its own with a Ray of its own; the last
time with a second group. What the tests look at is what it leaves.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import mlflow
import numpy as np
import pandas as pd
import psutil
import pytest

import rayfold as rf
from rayfold.bundle import export_bundle
from rayfold.errors import RecipeError
from rayfold.jobs import FoldJob
from rayfold.journal import Entry, read_journal
from rayfold.library import model_source
from rayfold.recipe import load_recipe
from rayfold.tracking import read_study, tracking_uri
from rayfold.training import FoldRun, Settings, SingleProcess, StudySetup

RAYFOLD = Path(sys.executable).with_name("rayfold")
DEADLINE_SECONDS = 300.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Two processes of Ray that try for a minute to tell a killed Ray of its own death, then end."""

RECIPE = """
study: digits
fixed:
  model: ./net.py:Net
  data: {hdf5: digits.h5}
  holdout: {fraction: 0.2}
  folds: {count: 3, random_seed: 1, order: together}
  epochs: 40
search:
  space:
    model.width: {choice: [16, 32, 33]}
    optimizer.learning_rate: {float: [1e-3, 3e-2], log: true}
    batch_size: {choice: [16, 32]}
  searcher: {genetic: {population: 3, generations: 3, random_seed: 5}}
  num_trials: 7
accept:
  - {metric: val_accuracy, at_least: 0.999}
resources:
  groups: {minimum: 1, maximum: 1, cpus_per_worker: 0.5}
"""
TWO_GROUPS = "resources.groups={minimum: 2, maximum: 2, per_trial: 2, cpus_per_worker: 0.5}"

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, *, input_shape, num_outputs, width=8):
        super().__init__()
        if width % 2:
            raise RuntimeError(f"an odd width of {width}")
        size = int(torch.Size(input_shape).numel())
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(size, width), nn.ReLU(), nn.Linear(width, num_outputs)
        )

    def forward(self, features):
        return self.layers(features)
"""


class Run:
    """``rayfold run digits.yaml`` as a process of its own, with all that it has started."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._log = folder / "log.txt"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [RAYFOLD, "run", "digits.yaml", *options],
                cwd=folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._family: set[psutil.Process] = set()

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Look again and again until ``reached``; fail with the log when that cannot be."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not reached():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)  # leaves the cores to it between two looks
            with suppress(psutil.NoSuchProcess):
                self._family |= set(psutil.Process(self.process.pid).children(recursive=True))

    def end(self) -> set[psutil.Process]:
        """Wait for the process and all that it has started to be gone; return the agents left."""
        agents = {process for process in self._family if _name(process) in AGENTS}
        self.process.wait(DEADLINE_SECONDS)
        assert not psutil.wait_procs(self._family - agents, timeout=DEADLINE_SECONDS)[1]
        self._family.clear()
        return agents

    def close(self) -> None:
        """Kill whatever is left."""
        left: list[subprocess.Popen[bytes] | psutil.Process] = [self.process, *self._family]
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return process.name()
    return "gone"


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Run]:
    run = Run(folder, *options)
    try:
        yield run
    finally:
        run.close()


def journal(folder: Path) -> list[Entry]:
    path = folder / "rayfold-store" / "digits" / "journal.jsonl"
    return read_journal(path) if path.exists() else []


def count(folder: Path, event: str) -> int:
    return sum(entry.event == event for entry in journal(folder))


def results(folder: Path) -> dict[Path, int]:
    """Return every fold's result file with the time of its last change."""
    trials = folder / "rayfold-store" / "digits" / "trials"
    return {path: path.stat().st_mtime_ns for path in trials.rglob("result.json")}


def write_recipe(folder: Path, digits: Path) -> None:
    (folder / "digits.h5").write_bytes(digits.read_bytes())
    (folder / "digits.yaml").write_text(RECIPE)
    (folder / "net.py").write_text(NET)


@dataclass(frozen=True, kw_only=True)
class Life:
    """What three runs have left, and what the first two had left before."""

    folder: Path
    after_kill: dict[Path, int]
    after_interruption: dict[Path, int]
    interrupted_output: str
    last: subprocess.CompletedProcess[str]
    last_entries: list[Entry]

    @property
    def storage(self) -> Path:
        return self.folder / "rayfold-store"


@pytest.fixture(scope="module")
def life(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Killed after a trial and more, interrupted after another fold, then run to its end."""
    folder = tmp_path_factory.mktemp("a study")
    write_recipe(folder, digits)
    with running(folder) as run:
        run.wait_until(lambda: count(folder, "fold") >= 4)
        run.process.send_signal(signal.SIGKILL)
        agents = run.end()
    after_kill = results(folder)
    with running(folder) as run:
        run.wait_until(lambda: len(results(folder)) > len(after_kill))
        run.process.send_signal(signal.SIGINT)
        assert not {process for process in run.end() if process.is_running()}
        assert run.process.returncode == 130, run.output
        interrupted_output = run.output
    assert journal(folder)[-1].fields["state"] == "interrupted"
    after_interruption = results(folder)
    num_entries = len(journal(folder))
    last = subprocess.run(
        [RAYFOLD, "run", "digits.yaml", "--set", TWO_GROUPS],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    yield Life(
        folder=folder,
        after_kill=after_kill,
        after_interruption=after_interruption,
        interrupted_output=interrupted_output,
        last=last,
        last_entries=journal(folder)[num_entries:],
    )
    _, alive = psutil.wait_procs(agents, timeout=DEADLINE_SECONDS)
    for process in alive:
        process.kill()
    assert not alive


@pytest.fixture
def study(life: Life, monkeypatch: pytest.MonkeyPatch) -> rf.Study:
    """The same study in Python, in the folder of its recipe."""
    monkeypatch.chdir(life.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAYFOLD_STORAGE", raising=False)
    return rf.Study.from_recipe(load_recipe("digits.yaml", ()))


@pytest.fixture
def result(study: rf.Study) -> rf.StudyResult:
    """What another run returns; see the first test of it."""
    return study.run(show_progress=False)


def test_an_interrupted_run_says_how_to_go_on(life: Life) -> None:
    assert "Run 'rayfold run digits.yaml' again to resume." in life.interrupted_output
    assert "Traceback" not in life.interrupted_output


@pytest.mark.slow
def test_a_run_that_was_terminated_with_ray_says_how_to_go_on(
    digits: Path, tmp_path: Path
) -> None:
    """As batch systems do. It ends as soon as Ray is gone: Ray's calls would wait for a minute,
    and then abort the process.
    """
    write_recipe(tmp_path, digits)
    with running(tmp_path) as run:
        run.wait_until(lambda: count(tmp_path, "group") > 0)
        os.killpg(run.process.pid, signal.SIGTERM)
        agents = run.end()
        assert run.process.returncode == 130, run.output
    assert "Ray was ended by the same signal" in run.output
    assert "Failed to connect to GCS" not in run.output
    assert not psutil.wait_procs(agents, timeout=DEADLINE_SECONDS)[1]


def test_the_last_run_says_what_was_not_accepted(life: Life) -> None:
    assert life.last.returncode == 1, life.last.stderr
    assert re.search(
        r"accept     not met: val_accuracy 0\.\d+ ± 0\.\d+, asked for at least 0\.999",
        life.last.stdout,
    )
    assert "Traceback" not in life.last.stdout + life.last.stderr


def test_no_fold_that_was_finished_is_trained_again(life: Life) -> None:
    at_the_end = results(life.folder)
    assert 4 <= len(life.after_kill) < len(life.after_interruption) <= len(at_the_end)
    assert life.after_kill.items() <= life.after_interruption.items() <= at_the_end.items()


def test_the_journal_holds_every_event_once(life: Life, result: rf.StudyResult) -> None:
    trials = [f"{number:04d}" for number in range(7)]
    by_event = {
        event: [entry.fields for entry in journal(life.folder) if entry.event == event]
        for event in ("suggestion", "trial", "fold")
    }
    folds = Counter((fields["trial"], fields["result"]["fold"]) for fields in by_event["fold"])
    assert [fields["trial"] for fields in by_event["suggestion"]] == trials
    assert sorted(fields["trial"] for fields in by_event["trial"]) == trials
    assert folds == {
        (trial.id, fold): 1
        for trial in result.trials
        for fold in range(3)
        if trial.status == "completed"
    }


def test_the_groups_of_the_last_run_are_journalled(life: Life) -> None:
    """The second one as well, unless the first has done everything by the time it is ready."""
    groups = [entry.fields["group"] for entry in life.last_entries if entry.event == "group"]
    assert sorted(groups) in ([0], [1], [0, 1])


def test_a_failing_trial_keeps_its_traceback_and_the_others_go_on(
    life: Life, result: rf.StudyResult
) -> None:
    statuses = {trial.config["model.width"]: trial.status for trial in result.trials}
    assert statuses[33] == "failed"
    assert {status for width, status in statuses.items() if width != 33} == {"completed"}
    failed = next(trial for trial in result.trials if trial.status == "failed")
    assert "Traceback" in (failed.error or "")
    assert "RuntimeError: an odd width of 33" in (failed.error or "")
    logged = read_study("digits", storage=life.storage, completed_only=False)
    assert {trial.id: trial.status for trial in logged.trials} == {
        trial.id: trial.status for trial in result.trials
    }


def test_another_run_trains_nothing_and_returns_the_same_trials(
    life: Life, study: rf.Study, result: rf.StudyResult
) -> None:
    before = journal(life.folder)
    again = study.run(show_progress=False)
    assert again.trials == result.trials
    assert again.uploaded
    assert not again.interrupted
    assert [entry.event for entry in journal(life.folder)[len(before) :]] == ["run", "run"]


def test_the_score_is_the_mean_over_the_folds_with_its_standard_error(
    result: rf.StudyResult,
) -> None:
    for trial in result.trials:
        if trial.status == "completed":
            scores = np.array([fold.score for fold in trial.folds])
            assert trial.score == pytest.approx(scores.mean())
            assert trial.standard_error == pytest.approx(scores.std(ddof=1) / np.sqrt(3))
            assert [fold.history[-1]["val_loss"] for fold in trial.folds] == scores.tolist()


def test_mlflow_holds_the_completed_trials(life: Life, result: rf.StudyResult) -> None:
    logged = read_study("digits", storage=life.storage)
    completed = [trial for trial in result.trials if trial.status == "completed"]
    assert [trial.id for trial in logged.trials] == [trial.id for trial in completed]
    assert [trial.config for trial in logged.trials] == [trial.config for trial in completed]
    assert [trial.score for trial in logged.trials] == pytest.approx(
        [trial.score for trial in completed]
    )
    assert logged.description.metric == "val_loss"
    assert all(trial.folds == (0, 1, 2) for trial in logged.trials)


def test_nothing_of_tune_or_train_is_left_in_the_study_folder(life: Life) -> None:
    folder = life.storage / "digits"
    assert sorted(path.name for path in folder.iterdir()) == [
        "code",
        "journal.jsonl",
        "journal.lock",
        "seen_rows.safetensors",
        "trials",
    ]
    assert not list(folder.rglob("*.pt"))
    assert not list(folder.rglob("*.tmp"))


def test_the_ensemble_from_mlflow_predicts_as_its_bundle_does(
    life: Life, study: rf.Study, tmp_path: Path
) -> None:
    ensemble = rf.Ensemble.greedy("digits", num_rounds=5, storage=life.storage)
    single = rf.Ensemble.single_best("digits", storage=life.storage)
    assert ensemble.out_of_fold_loss <= single.out_of_fold_loss
    folder = export_bundle(ensemble, tmp_path / "bundle")
    bundle = rf.load_bundle(folder, allow_code=True)
    with h5py.File(life.folder / "digits.h5") as file:
        features, labels = file["features"][:], file["labels"][:]
    np.testing.assert_allclose(
        bundle.predict_proba(features), ensemble.predict_proba(features), atol=1e-12
    )
    assert (bundle.predict(features) == labels).mean() > 0.6  # by chance: 0.1
    assert not [path for path in folder.rglob("*") if path.suffix in {".pt", ".pkl"}]


def test_a_study_that_has_changed_is_refused_and_nothing_is_written(
    life: Life, study: rf.Study
) -> None:
    path = life.storage / "digits" / "journal.jsonl"
    before = path.read_bytes()
    changed = load_recipe("digits.yaml", ["fixed.epochs=4"])
    with pytest.raises(
        RecipeError, match=r"'digits' has changed since it began: epochs: 40 -> 4;"
    ):
        rf.Study.from_recipe(changed).run(show_progress=False)
    assert path.read_bytes() == before


def test_a_trial_gives_what_each_of_its_folds_gives_alone(
    study: rf.Study, result: rf.StudyResult, tmp_path: Path
) -> None:
    """The first trial, whose folds advanced together; the others may have been interrupted."""
    trial = next(trial for trial in result.trials if trial.status == "completed")
    setup = StudySetup(
        model=model_source("./net.py:Net", base=Path.cwd()),
        settings=Settings(epochs=40, metrics=("accuracy",)),
        plan=study.specification.folds.split(study.dataset),
        folder=tmp_path / "alone",
    )
    for fold in trial.folds:
        job = FoldJob(trial=trial.id, config=trial.config, fold=fold.fold, until_epoch=40)
        run = FoldRun(job, setup=setup, data=study.dataset, collective=SingleProcess())
        alone = run.advance(job)
        assert alone is not None
        assert fold.score == pytest.approx(alone.score, abs=1e-5)


def test_the_commands_show_and_use_what_was_run(life: Life, result: rf.StudyResult) -> None:
    head, *rows = output_of(life.folder, "trials", "digits", "--csv").splitlines()
    assert head.startswith("trial,status,val_loss,")
    assert len(rows) == sum(trial.status == "completed" for trial in result.trials)
    failed = output_of(life.folder, "trials", "digits", "--failed")
    assert re.search(r"RuntimeError: an odd width of \d+ \(net.py line \d+, in __init__\)", failed)
    built = output_of(
        life.folder, "ensemble", "digits", "--num-rounds", "3", "--export", "bundle",
        "--register", "digits-champion", status=1,
    )  # fmt: skip
    assert re.search(r"By loss the ensemble, .* on rows that it was not chosen on, is ", built)
    assert re.search(r"accept     not met: val_accuracy 0\.\d+ ± ", built)
    assert " accuracy " in built
    assert built.endswith("registered as 'digits-champion', version 1, alias champion\n")
    predicted = output_of(
        life.folder, "predict", "bundle", str(life.folder / "digits.h5"), "--held-out",
        "--output", "predictions.h5",
    )  # fmt: skip
    assert predicted.startswith("72 rows, accuracy ")
    with h5py.File(life.folder / "predictions.h5") as file:
        assert file["predictions"].shape == (72,)
        assert file["probabilities"].shape == (72, 10)
    client = mlflow.MlflowClient(tracking_uri=tracking_uri(life.storage))
    champion = client.get_model_version_by_alias("digits-champion", "champion")
    assert champion.tags["rayfold.studies"] == journal(life.folder)[0].fields["id"]


def test_the_best_builder_within_limits_is_reported_with_what_matters(
    life: Life, result: rf.StudyResult
) -> None:
    completed = [trial.id for trial in result.trials if trial.status == "completed"]
    built = output_of(
        life.folder, "ensemble", "digits", "--builder", "best", "--max-members", "1",
        "--max-latency", "1=10", "--data", "digits.h5", "--report", "report", "--shuffles", "1",
        status=1,
    )  # fmt: skip
    table, why, scores, told = built.split("\n\n")
    assert len(table.splitlines()) == 2  # a head and one member
    assert table.splitlines()[1].split()[0] in completed
    assert "has a nested out-of-fold log loss of" in why
    assert "the lowest of 7 builders; the next one" in why
    assert "one of its models, held out" in scores
    assert told.startswith("By loss the ensemble, ")
    assert told.endswith("report written to report\n")
    written = pd.read_csv(life.folder / "report" / "scores.csv").set_index("predictions")
    assert written["rows"].to_dict() == {
        "nested out-of-fold": 288,
        "best trial, out-of-fold": 288,
        "held out": 72,
        "best trial's average, held out": 72,
        "one of its models, held out": 72,
    }
    pixels = pd.read_csv(life.folder / "report" / "features.csv")
    assert len(pixels) == 64
    assert pixels["importance"][0] > 0  # the corners' pixels are always 0
    assert pixels.set_index("place")["importance"]["(0, 0)"] == 0
    text = (life.folder / "report" / "README.md").read_text()
    assert "What matters for the score, in digits" in text


def output_of(folder: Path, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [RAYFOLD, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout
