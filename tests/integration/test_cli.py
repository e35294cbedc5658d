"""The command line: what it says, refuses and checks, in this process or in one of its own.

Runs of whole studies, ensembles and predictions are tested beside the study's own tests.
"""

import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest

from rayfold.cli import main
from rayfold.journal import Journal
from rayfold.recipe import load_recipe
from rayfold.results import FoldResult
from rayfold.study import Study
from rayfold.tracking import Uploader, tracking_uri
from tests.descriptions import described
from tests.study_here import open_here

RAYFOLD = Path(sys.executable).with_name("rayfold")
COMMANDS = ("run", "plan", "simulate", "trials", "ensemble", "predict", "serve", "metrics", "ui")
START_SECONDS = 120
RECIPE = """\
study: digits
fixed:
  model: cnn
  data: {hdf5: digits.h5}
  holdout: 0.2
  folds: {count: 3, random_seed: 7}
  epochs: 2
search:
  space: cnn
  searcher: {genetic: {population: 4, generations: 2, elite_fraction: 0.25}}
  num_trials: 20
resources:
  groups: {minimum: 1, maximum: 4, workers: 2, per_trial: 2}
"""


@pytest.fixture
def folder(tmp_path: Path, digits: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder of the commands: a recipe, its data, and all that they would leave."""
    for name in ("MLFLOW_TRACKING_URI", "RAYFOLD_STORAGE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "temporary"))
    shutil.copy(digits, tmp_path / "digits.h5")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rayfold(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which spares its imports; no file is new."""
    before = sorted(folder.rglob("*"))
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["rayfold", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main()
    assert sorted(folder.rglob("*")) == before
    status = end.value.code
    assert isinstance(status, int)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def installed_rayfold(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as installed; nothing that it starts outlives it, and no file is new."""
    before = sorted(folder.rglob("*"))
    process = subprocess.Popen(
        [RAYFOLD, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    out, err = process.communicate()
    assert session_of(process.pid) == []
    assert sorted(folder.rglob("*")) == before
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line on standard error."""
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("rayfold: ")
    return line.removeprefix("rayfold: ")


def session_of(session: int) -> list[psutil.Process]:
    """Return the processes that a command started, and itself."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return members


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_names_every_command(folder: Path, arguments: tuple[str, ...]) -> None:
    done = installed_rayfold(folder, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert tuple(re.findall(r"^  (\w+)  +[A-Z].*\.$", done.stdout, re.MULTILINE)) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(folder: Path, command: str) -> None:
    done = rayfold(folder, command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: rayfold {command} ")
    undocumented = re.findall(r"^  --?[\w-]+(?: <[^>]+>)?$", done.stdout, re.MULTILINE)
    assert undocumented == []


def test_plan_says_what_would_run_and_starts_nothing(folder: Path) -> None:
    """4 groups, of which a trial takes 2, of 2 workers each.

    Of the 20 trials, the search makes 4, and in its second generation all but an elite one.
    """
    settings = ("--set", "fixed.epochs=3", "--set", "search.max_time=60")
    done = installed_rayfold(folder, "plan", "recipe.yaml", *settings)
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert lines["study"] == f"digits in {folder / 'rayfold-store' / 'digits'}"
    assert lines["searcher"].startswith("genetic (")
    assert lines["time"] == "60 s for the study"
    assert lines["trainings"] == "7 trials x 3 folds = 21 of 3 epochs each"
    assert lines["N_nodes"] == "1 + N_G 2 x N_F 2 x (N_W 2 x N_GPU 1 (a CPU)) = 9"
    assert lines["groups"] == "1 to 4, each 2 worker(s) of 1 CPU and 0 GPU"
    assert lines["memory"].startswith("about ")


TABLE = """\
layers,name,score_0,score_1,score_2,seconds
1,sgd,0.5,0.6,0.7,10
2,sgd,0.2,0.3,0.4,20
1,adamw,0.9,0.9,0.9,30
2,adamw,,,,40
"""
SIMULATED = (
    "simulate",
    "recipe.yaml",
    "--table",
    "table.csv",
    "--set",
    "search.space={layers: {int: [1, 2]}, name: {choice: [sgd, adamw]}}",
    "--set",
    "search.searcher=random",
)


def test_simulate_tells_times_and_scores_of_a_study_that_needs_no_data(folder: Path) -> None:
    """Of two groups for each of 500 trials at once; the best row is the best 0.1 %, too."""
    (folder / "table.csv").write_text(TABLE)
    (folder / "digits.h5").unlink()
    done = rayfold(folder, *SIMULATED, "--groups", "1000", "--charge", "none")
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(line.split(None, 1) for line in done.stdout.splitlines())
    names = ["score", "trials", "time", "utilisation", "driver", "threshold", "best"]
    assert list(lines) == names
    assert lines["time"].endswith(" s on 1,000 groups")
    assert lines["threshold"].startswith("0.3 reached after 40.0 s, ")
    assert lines["best"].endswith(": layers 2, name sgd")
    assert re.fullmatch(r"20 of \d+ folds in all, \d failed", lines["trials"])


def test_simulate_trains_all_folds_of_all_repeats_until_the_recipes_time_is_up(
    folder: Path,
) -> None:
    """One configuration of 10 s in 6 folds takes 60 s: a second trial begins then, no third."""
    (folder / "table.csv").write_text("layers,score,seconds\n1,0.5,10\n")
    changes = {
        "fixed.folds.repeats": "2",
        "resources.groups.per_trial": "1",
        "search.space": "{layers: {int: [1, 2]}}",
        "search.searcher": "random",
    }
    settings = [word for field in changes.items() for word in ("--set", "=".join(field))]
    command = ("simulate", "recipe.yaml", "--table", "table.csv", "--charge", "none", *settings)
    for limits, trials in (
        (["--set", "search.max_time=61"], 2),
        (["--set", "search.max_time=61", "--max-seconds", "121"], 3),
    ):
        done = rayfold(folder, *command, "--groups", "1", *limits)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("score        val_loss, low is good\n")
        assert f"\ntrials       {trials} of {6 * trials} folds in all\n" in done.stdout


def test_simulate_writes_the_best_score_over_time_and_replaces_no_file(folder: Path) -> None:
    (folder / "table.csv").write_text(TABLE)
    with (
        mock.patch.object(sys, "argv", ["rayfold", *SIMULATED, "--output", "best.csv"]),
        redirect_stdout(io.StringIO()),
        pytest.raises(SystemExit) as end,
    ):
        main()
    assert end.value.code == 0
    header, *rows = (folder / "best.csv").read_text().splitlines()
    assert header == "seconds,trials,trial,score,layers,name"
    assert rows[-1].endswith(",2,sgd")
    done = rayfold(folder, *SIMULATED, "--output", "best.csv")
    assert refusal(done).startswith("best.csv exists; choose another file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "none.csv"], r"none\.csv: the table cannot be read"),
        (["--groups", "0"], "'--groups': .* or equal to 1"),
        (["--groups", "3"], "num_groups is 3, but each trial takes 2"),
        (["--charge", "all"], "'--charge': .* 'measured', 'none'"),
        (["--set", "fixed.folds.count=4"], r"table\.csv: it holds 3 folds' scores"),
        (
            ["--set", "search.searcher=radom"],
            "searcher 'radom' is unknown .*did you mean 'random'",
        ),
        (["--set", "search.metric=val_f2"], "search.metric 'val_f2' is unknown; .*search.mode"),
        (
            ["--set", "fixed.folds.repeats=2"],
            r"3 folds' scores, but a trial has 6 folds; .*repeats",
        ),
        (
            ["--set", "search.max_time_per_trial=5"],
            "search.max_time_per_trial ends .*: --set search.max_time_per_trial=null",
        ),
        (["--max-seconds", "0"], r"^--max-seconds must be above 0 and finite, got 0\.0"),
        (["--threshold", "nan"], "^--threshold must be a finite number, got nan"),
        (
            ["--output", "none/x.csv", "--table", "none.csv"],
            "^none/x.csv cannot be written: there is no folder none; make it first",
        ),
        (
            ["--set", "search.space={layer: {int: [1, 2]}}"],
            r"there is no column 'layer' \(did you mean 'layers'\?\)",
        ),
    ],
)
def test_a_simulation_that_cannot_be_is_one_line(
    folder: Path, arguments: list[str], message: str
) -> None:
    (folder / "table.csv").write_text(TABLE)
    assert re.search(message, refusal(rayfold(folder, *SIMULATED, *arguments)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pln"], r"No such command 'pln'. Did you mean 'plan'\?"),
        (["--nonsense"], "No such option: --nonsense"),
        (["plan"], "Missing argument 'recipe'"),
        (["plan", "recipe.yaml", "--st", "a=b"], r"No such option: --st .*--set"),
        (["run", "recipe.yaml", "--set"], "Option '--set' requires an argument"),
        (["run", "recipe.yaml", "more"], "unexpected extra argument.*more"),
        (["ensemble", "digits", "--num-members", "0"], "'--num-members': .* or equal to 1"),
        (["ensemble", "digits", "--export", "."], "exists already; export to a new folder"),
        (["ensemble", "digits", "--report", "."], "exists already; write the report to a new"),
        (["ensemble", "digits", "--register", "x"], "--register and --licence are of a bundle"),
        (
            ["ensemble", "digits", "--export", "bundle", "--register", "a/b"],
            "'a/b' is no name of a registered model",
        ),
        (
            ["ensemble", "digits", "--builder", "bset"],
            r"builder 'bset' is unknown \(did you mean 'best'\?\); choose from best, greedy",
        ),
        (
            ["ensemble", "digits", "--builder", "best", "--num-members", "3"],
            "--num-members does not go with --builder best; leave it out",
        ),
        (
            ["ensemble", "digits", "--num-members", "3"],
            "--num-members does not go with --builder greedy; leave it out, or name a builder "
            "that takes it: uniform, by-score, stacked",
        ),
        (
            ["ensemble", "digits", "--max-latency", "256"],
            "--max-latency must be ROWS=SECONDS such as 256=0.1, got '256'",
        ),
        (
            ["ensemble", "digits", "--max-latency", "16=1"],
            "budget must have max_latency of 1 or 256 rows, got 16",
        ),
        (["ensemble", "digits", "--max-members", "0"], "'--max-members': .* or equal to 1"),
        (["ensemble", "digits", "--shuffles", "1"], "--shuffles is of the report .*--data"),
        (["ui", "--port", "http"], "'--port': .* a valid integer"),
        (["ui"], r"rayfold-store/mlflow\.db does not exist; run a study first"),
    ],
)
def test_a_wrong_call_is_one_line(folder: Path, arguments: list[str], message: str) -> None:
    assert re.search(message, refusal(rayfold(folder, *arguments)))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.num_trial=3", r"search\.num_trial is unknown \(did you mean 'num_trials'\?\)"),
        ("search.num_trials", r"'search\.num_trials': write a field and its value"),
        ("fixed.epochs=0", r"fixed\.epochs .*at least 1"),
        ("fixed.epochs=[", "this is not YAML"),
        ("fixed.data.hdf5=digit.h5", r"digit\.h5: there is no such file.*"),
    ],
)
def test_a_wrong_recipe_is_one_line(folder: Path, override: str, message: str) -> None:
    done = rayfold(folder, "run", "recipe.yaml", "--set", override)
    assert re.search(message, refusal(done))


def test_a_field_that_a_recipe_does_not_have_is_named_with_its_place(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(RECIPE.replace("epochs:", "epoch:"))
    done = rayfold(folder, "plan", "recipe.yaml")
    assert re.search(r"recipe\.yaml.*fixed\.epoch is unknown.*'epochs'", refusal(done))


def test_a_recipe_that_is_not_there_is_told_with_the_one_that_is(folder: Path) -> None:
    line = refusal(rayfold(folder, "plan", "recipes.yaml"))
    assert line == "recipes.yaml: there is no such recipe (did you mean 'recipe.yaml'?)."


def test_a_storage_that_is_no_folder_is_one_line(folder: Path) -> None:
    done = rayfold(folder, "run", "recipe.yaml", "--set", "resources.storage=digits.h5")
    assert "digits.h5/digits: the study's folder cannot be made" in refusal(done)


def test_a_cluster_that_is_not_there_is_one_line_and_no_study_begins(folder: Path) -> None:
    done = installed_rayfold(folder, "run", "recipe.yaml", "--address", "127.0.0.1:1")
    assert refusal(done) == (
        "no Ray cluster answers at '127.0.0.1:1' (Connection refused); "
        "check RAY_ADDRESS or address."
    )


@pytest.mark.parametrize("command", ["trials", "ensemble"])
def test_a_store_that_is_not_there_is_one_line(folder: Path, command: str) -> None:
    line = refusal(rayfold(folder, command, "digits", "--storage", "elsewhere"))
    assert line.startswith(f"no MLflow store at {folder}/elsewhere/mlflow.db; run a study first")


def test_a_bundle_that_is_not_there_is_one_line(folder: Path) -> None:
    line = refusal(rayfold(folder, "predict", "bundle", "digits.h5"))
    assert line == "bundle is no folder; name the folder of an exported bundle."


def test_predictions_replace_no_file(folder: Path) -> None:
    """Told before anything is loaded: the bundle is not even there."""
    done = rayfold(folder, "predict", "bundle", "digits.h5", "--output", "digits.h5")
    assert refusal(done) == "digits.h5 exists; choose another file for the predictions."


def test_a_study_whose_trials_have_all_failed_ends_with_1(folder: Path) -> None:
    study = Study.from_recipe(load_recipe(folder / "recipe.yaml", ["search.num_trials=1"]))
    with Journal.open(study.folder / "journal.jsonl") as journal:
        ledger = open_here(study, journal, 1).ledger
        trial = ledger.next_trial()
        assert trial is not None
        ledger.trial_finished(trial.id, "failed", error="ValueError: no")
    with (
        mock.patch.object(
            sys, "argv", ["rayfold", "run", "recipe.yaml", "--set", "search.num_trials=1"]
        ),
        redirect_stdout(io.StringIO()) as out,
        pytest.raises(SystemExit) as end,
    ):
        main()
    assert end.value.code == 1
    assert "1 of 1 trials failed; 'rayfold trials digits --failed' lists" in out.getvalue()


@pytest.fixture
def storage(folder: Path, empty_store: Path) -> Path:
    """A store with one study of two trials, one of which failed."""
    storage = folder / "rayfold-store"
    study = storage / "digits"
    study.mkdir(parents=True)
    shutil.copy(empty_store, storage)
    (study / "weights").touch()
    (study / "predictions").touch()
    description = described(num_folds=1)
    result = FoldResult(
        fold=0,
        score=0.5,
        history=({"val_loss": 0.5, "finished_at": 1e9},),
        started_at=1e9,
        finished_at=1e9,
        busy_seconds=0.0,
        weights="weights",
        predictions="predictions",
    )
    with Journal.open(study / "journal.jsonl") as journal:
        journal.append("study", name="digits", id="a" * 32, description=description)
        journal.append("suggestion", trial="0000", config={"model.channels": 8})
        journal.append("fold", trial="0000", result=result.to_dict())
        journal.append("trial", trial="0000", status="completed", score=0.5)
        journal.append("suggestion", trial="0001", config={"model.channels": 9})
        journal.append("trial", trial="0001", status="failed", error="ValueError: no")
        journal.append("run", state="finished")
    assert Uploader(study, tracking_uri(storage), storage / "artifacts").start().finish(60)
    return storage


@pytest.fixture
def ui(storage: Path, free_port: int) -> Iterator[subprocess.Popen[bytes]]:
    """``rayfold ui``, ended with its process id as a user's service manager would."""
    process = subprocess.Popen(
        [RAYFOLD, "ui", "--storage", storage, "--port", str(free_port)],
        cwd=storage.parent,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    yield process
    process.send_signal(signal.SIGTERM)
    process.wait(START_SECONDS)
    _, alive = psutil.wait_procs(session_of(process.pid), timeout=START_SECONDS)
    for left in alive:
        left.kill()
    assert alive == []


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, **body: Any) -> Any:
    """Return the JSON that MLflow answers to a request of its UI."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, "the UI ended by itself"
        assert time.monotonic() < deadline, "the UI does not answer"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.1)
        else:
            return


@pytest.mark.slow
def test_the_ui_shows_the_study_and_its_trials_on_this_machine_alone(
    ui: subprocess.Popen[bytes], free_port: int
) -> None:
    wait_until_it_answers(free_port, ui)
    found = ask(free_port, "experiments/search", max_results=10)["experiments"]
    [experiment] = [entry for entry in found if entry["name"] == "rayfold"]
    ids = [experiment["experiment_id"]]
    runs = {
        run["info"]["run_name"]: {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
        | {"run_id": run["info"]["run_id"], "status": run["info"]["status"]}
        for run in ask(free_port, "runs/search", experiment_ids=ids)["runs"]
    }
    assert {name: run["status"] for name, run in runs.items()} == {
        "digits": "FINISHED",
        "0000": "FINISHED",
        "0001": "FAILED",
    }
    for trial in ("0000", "0001"):
        assert runs[trial]["mlflow.parentRunId"] == runs["digits"]["run_id"]
    with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/", timeout=30) as page:
        assert b"<title>MLflow</title>" in page.read()
    listening = [
        connection.laddr.ip
        for process in session_of(ui.pid)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


def test_a_port_that_is_taken_is_one_line(storage: Path, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        line = refusal(installed_rayfold(folder, "ui", "--port", str(port)))
    assert line == (
        f"port {port} on 127.0.0.1 cannot be used (Address already in use); give another port."
    )
