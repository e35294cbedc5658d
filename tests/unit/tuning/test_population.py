"""Ray Tune's own schedulers over states on disk, with a controller that only takes notes."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import TrialScheduler

from rayfold.jobs import fold_folder, lineage_folder
from rayfold.journal import Journal, read_journal
from rayfold.results import Config
from rayfold.schedulers import Population, Replay, Scheduler
from rayfold.search import Fixed
from rayfold.space import Choice, Float, Int, SearchSpace
from rayfold.training.checkpoint import checkpoint_path
from rayfold.tuning.exploits import Exploiter
from rayfold.tuning.ledger import Ledger
from rayfold.tuning.population import PopulationScheduler, population_scheduler
from rayfold.tuning.replay import ReplayScheduler

RATE = "optimizer.learning_rate"
SPACE = SearchSpace(
    {
        "model.depth": Int(1, 3),
        "optimizer.name": Choice("sgd", "adam"),
        RATE: Float(1e-4, 1e-1, log=True),
        "optimizer.momentum": Float(0.0, 0.9, when={"optimizer.name": "sgd"}),
        "optimizer.weight_decay": Float(0.0, 0.5),
        "batch_size": Choice(16, 32, 64),
    }
)
WEAK: Config = {
    "model.depth": 1,
    "optimizer.name": "sgd",
    RATE: 1e-4,
    "optimizer.momentum": 0.5,
    "optimizer.weight_decay": 0.0,
    "batch_size": 16,
}
STRONG: Config = {
    "model.depth": 3,
    "optimizer.name": "adam",
    RATE: 9e-2,
    "optimizer.weight_decay": 0.45,
    "batch_size": 64,
}
NUM_FOLDS = 2


class StubTrial(SimpleNamespace):
    """Tune's trial as far as schedulers see it; they keep trials as keys."""

    def __hash__(self) -> int:  # type: ignore[override]  # its base class has none
        return id(self)

    def __str__(self) -> str:
        return str(self.trial_id)

    def is_finished(self) -> bool:
        return bool(self.status == TuneTrial.TERMINATED)

    def set_experiment_tag(self, tag: str) -> None:
        self.experiment_tag = tag

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config


class Controller:
    """Tune's controller as far as schedulers see it: it saves and pauses at once."""

    search_alg = object()

    def __init__(self) -> None:
        self.trials: list[Any] = []

    def get_trials(self) -> list[Any]:
        return self.trials

    def pause_trial(self, trial: Any, should_checkpoint: bool = True) -> None:
        assert not should_checkpoint
        trial.status = TuneTrial.PAUSED

    def _schedule_trial_save(self, trial: Any, result: dict[str, Any]) -> Any:
        return SimpleNamespace(path="folds.json")


class Study:
    """A population or a replay on disk: ``step`` is what a trial's step reports at a milestone."""

    def __init__(
        self, folder: Path, scheduler: Scheduler, configs: list[Config], at_once: int
    ) -> None:
        self.folder = folder
        self.journal = Journal.open(folder / "journal.jsonl")
        searcher = Fixed(configs)
        searcher.start(SPACE, mode="min")
        scheduler.start(mode="min", num_folds=NUM_FOLDS, epochs=20)
        self.ledger = Ledger(searcher, self.journal, num_trials=9, scheduler=scheduler)
        exploiter = Exploiter(self.ledger, folder, NUM_FOLDS)
        self.scheduler: Any
        if isinstance(scheduler, Population):
            self.scheduler = population_scheduler(
                scheduler, exploiter, space=SPACE, at_once=at_once
            )
        else:
            assert isinstance(scheduler, Replay)
            self.scheduler = ReplayScheduler(scheduler, exploiter)
        self.controller = Controller()

    def add(self) -> Any:
        trial = self.ledger.next_trial()
        assert trial is not None
        tune_trial: Any = StubTrial(
            trial_id=trial.id,
            experiment_tag=trial.id,
            config={
                "trial": trial.id,
                "lineage": trial.lineage,
                "hyperparameters": dict(trial.config),
            },
            status=TuneTrial.RUNNING,
            evaluated_params={},
            run_metadata=SimpleNamespace(
                checkpoint_manager=SimpleNamespace(
                    checkpoint_config=SimpleNamespace(num_to_keep=None),
                    _latest_checkpoint_result=None,
                )
            ),
        )
        self.controller.trials.append(tune_trial)
        self.scheduler.on_trial_add(self.controller, tune_trial)
        return tune_trial

    def step(self, trial: Any, epoch: int, score: float) -> str:
        id_, lineage = trial.config["trial"], trial.config["lineage"]
        for fold in range(NUM_FOLDS):
            folder = self.folder / lineage_folder(fold_folder(id_, fold), lineage)
            folder.mkdir(parents=True, exist_ok=True)
            text = f"trial {id_} fold {fold} epoch {epoch}"
            checkpoint_path(folder, epoch, milestone=True).write_text(text)
        scores = [(fold, score) for fold in range(NUM_FOLDS)]
        self.ledger.epoch_finished(id_, epoch, scores)
        result = {"epoch": epoch, "score": score, "epoch_scores": scores}
        return str(self.scheduler.on_trial_result(self.controller, trial, result))

    def diverge(self, trial: Any) -> str:
        result = {"score": None, "error": "fold 1 diverged.", "diverged": True}
        return str(self.scheduler.on_trial_result(self.controller, trial, result))

    def state(self, trial: str, lineage: int) -> list[str]:
        return [
            path.read_text()
            for fold in range(NUM_FOLDS)
            for path in sorted(
                (self.folder / lineage_folder(fold_folder(trial, fold), lineage)).iterdir(),
                key=lambda path: path.suffix,
            )
        ]


MakeStudy = Callable[..., Study]


@pytest.fixture
def make_study(tmp_path: Path) -> Iterator[MakeStudy]:
    """``make_study(Population(interval=2), [WEAK, STRONG])``."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(0)
    np.random.seed(0)  # Ray Tune draws from these
    studies: list[Study] = []

    def make(scheduler: Scheduler, configs: list[Config] | None = None, at_once: int = 9) -> Study:
        configs = configs or [WEAK, STRONG]
        studies.append(Study(tmp_path / f"study {len(studies)}", scheduler, configs, at_once))
        return studies[-1]

    yield make
    for study in studies:
        study.journal.close()
    random.setstate(python)
    np.random.set_state(numpy)


@pytest.fixture(params=["pbt", "pb2"])
def exploited(request: pytest.FixtureRequest, make_study: MakeStudy) -> tuple[Study, Any, Any]:
    """The strong trial has reported epochs 2 and 4; the weak one is at 6 when it exploits."""
    population = Population(interval=2, quantile=0.5, method=request.param)
    study = make_study(population)
    weak, strong = study.add(), study.add()
    assert study.step(strong, 2, 0.5) == TrialScheduler.CONTINUE
    assert study.step(strong, 4, 0.25) == TrialScheduler.CONTINUE
    assert study.step(weak, 6, 2.0) == TrialScheduler.NOOP
    return study, weak, strong


def test_the_weaker_trial_is_paused_with_the_states_of_the_stronger(
    exploited: tuple[Study, Any, Any],
) -> None:
    study, weak, strong = exploited
    assert (weak.status, strong.status) == (TuneTrial.PAUSED, TuneTrial.RUNNING)
    assert study.state("0000", 1) == [
        "trial 0001 fold 0 epoch 4",
        "trial 0001 fold 1 epoch 4",
    ]
    assert not list((study.folder / fold_folder("0000", 0)).glob("*.pt"))  # its own are gone


def test_the_receiver_keeps_its_id_and_gets_the_donors_structure(
    exploited: tuple[Study, Any, Any],
) -> None:
    """What it may change lies within the domains, however near to their ends the donor was."""
    _, weak, strong = exploited
    assert (weak.config["trial"], weak.config["lineage"]) == ("0000", 1)
    assert (strong.config["trial"], strong.config["lineage"]) == ("0001", 0)
    assert strong.config["hyperparameters"] == STRONG
    values = weak.config["hyperparameters"]
    SPACE.check(values)
    assert values["model.depth"] == 3
    assert values["optimizer.name"] == "adam"
    assert "optimizer.momentum" not in values
    assert {type(value) for value in values.values()} <= {int, float, str}


def test_the_journal_has_the_exploit_and_a_new_ledger_goes_on_from_it(
    exploited: tuple[Study, Any, Any],
) -> None:
    study, weak, _ = exploited
    entries = read_journal(study.folder / "journal.jsonl")
    [event] = [entry for entry in entries if entry.event == "exploit"]
    values = weak.config["hyperparameters"]
    assert event.fields["trial"] == "0000"
    assert event.fields["donor"] == "0001"
    assert event.fields["epoch"] == 4
    assert event.fields["config"] == values
    assert event.fields["scores"] == [[0, 0.25], [1, 0.25]]
    assert event.fields["changed"] == {
        name: value for name, value in values.items() if STRONG[name] != value
    }
    assert len(set(event.fields["states"])) == NUM_FOLDS
    study.journal.close()
    searcher = Fixed([WEAK, STRONG])
    searcher.start(SPACE, mode="min")
    with Journal.open(study.folder / "journal.jsonl") as journal:
        ledger = Ledger(searcher, journal, num_trials=2)
        ledger.replay(entries)
        first, second = ledger.next_trial(), ledger.next_trial()
    assert first is not None
    assert second is not None
    assert (first.id, first.lineage, first.config) == ("0000", 1, values)
    assert (second.id, second.lineage, second.config) == ("0001", 0, STRONG)


def test_bandits_leave_the_values_until_they_have_seen_an_improvement(
    make_study: MakeStudy,
) -> None:
    study = make_study(Population(interval=2, quantile=0.5, method="pb2"))
    weak, strong = study.add(), study.add()
    study.step(strong, 2, 0.5)
    study.step(weak, 2, 2.0)
    assert weak.config["hyperparameters"] == STRONG
    study.step(strong, 4, 0.25)
    weak.status = TuneTrial.RUNNING
    study.step(weak, 4, 1.0)
    assert weak.config["lineage"] == 2
    assert weak.config["hyperparameters"][RATE] != STRONG[RATE]
    SPACE.check(weak.config["hyperparameters"])


def test_a_trial_that_has_just_copied_is_no_donor(make_study: MakeStudy) -> None:
    """Until it has trained: it is next to its donor, whose end makes it the best."""
    study = make_study(Population(interval=2, quantile=0.3), [WEAK, STRONG, STRONG, STRONG])
    first, second, third, fourth = (study.add() for _ in range(4))
    study.step(second, 2, 0.1)
    study.step(first, 2, 2.0)
    assert first.config["lineage"] == 1
    second.status = TuneTrial.TERMINATED
    study.step(third, 2, 3.0)
    study.step(fourth, 2, 4.0)
    assert (third.config["lineage"], fourth.config["lineage"]) == (0, 0)
    first.status = TuneTrial.RUNNING
    study.step(first, 4, 0.2)
    study.step(fourth, 4, 4.0)
    assert fourth.config["lineage"] == 1


def test_a_population_that_stalls_restarts_all_but_its_best(make_study: MakeStudy) -> None:
    """Four reports without a better score are two intervals of two trials; 20 epochs in all."""
    population = Population(interval=2, quantile=0.01, restart=True, patience=2, shrink=0.25)
    study = make_study(population, [WEAK, {**STRONG, RATE: 1e-3}])
    study.scheduler._quantile_fraction = 0.0  # no exploits: only restarts
    weak, strong = study.add(), study.add()
    study.scheduler._quantiles = lambda: ([], [strong])
    for epoch in (2, 4):
        study.step(strong, epoch, 0.5)
        study.step(weak, epoch, 2.0)
    assert weak.config["lineage"] == 0
    study.step(strong, 6, 0.5)
    assert study.step(weak, 6, 2.0) == TrialScheduler.NOOP
    assert (weak.config["lineage"], strong.config["lineage"]) == (1, 0)
    values = weak.config["hyperparameters"]
    SPACE.check(values)
    assert (values["model.depth"], values["optimizer.name"]) == (3, "adam")
    assert values[RATE] != 1e-3
    assert study.state("0000", 1)[0] == '{"epoch": 6, "shrink": 0.25, "noise": 0.1}'
    [event] = [e for e in read_journal(study.folder / "journal.jsonl") if e.event == "exploit"]
    assert event.fields["restart"] is True
    assert study.step(strong, 8, 0.5) == TrialScheduler.CONTINUE
    assert strong.config["lineage"] == 0


def test_the_next_weakest_trial_is_next_to_copy(make_study: MakeStudy) -> None:
    """A quarter of four is one, and the weakest has copied the best already."""
    study = make_study(Population(interval=2), [WEAK, WEAK, STRONG, STRONG])
    first, second, third, fourth = (study.add() for _ in range(4))
    for trial, score in ((third, 0.5), (fourth, 0.25), (first, 3.0), (second, 2.0)):
        study.step(trial, 2, score)
    assert (first.config["lineage"], second.config["lineage"]) == (1, 1)
    assert study.state("0000", 1) == study.state("0001", 1)


@pytest.mark.parametrize("method", ["pbt", "pb2"])
def test_a_trial_that_diverges_goes_on_from_the_best(
    make_study: MakeStudy, caplog: pytest.LogCaptureFixture, method: Literal["pbt", "pb2"]
) -> None:
    """Even one that was the best at its last milestone, and one that has never come to any."""
    study = make_study(Population(interval=2, method=method), [STRONG, WEAK, STRONG, STRONG])
    first, second, third, new = (study.add() for _ in range(4))
    for trial, score in ((third, 0.5), (first, 0.25), (second, 2.0)):
        study.step(trial, 2, score)
    assert second.config["lineage"] == 1  # it has copied the first, and has not trained since
    for trial in (first, new):
        assert study.diverge(trial) == TrialScheduler.NOOP
        assert (trial.status, trial.config["lineage"]) == (TuneTrial.PAUSED, 1)
        id_ = trial.config["trial"]
        assert study.state(id_, 1) == ["trial 0002 fold 0 epoch 2", "trial 0002 fold 1 epoch 2"]
        assert f"Trial {id_} continues from trial 0002: fold 1 diverged." in caplog.text
    events = [e for e in read_journal(study.folder / "journal.jsonl") if e.event == "exploit"]
    assert [event.fields["diverged"] for event in events] == [False, True, True]


def test_a_trial_that_diverges_ends_where_there_is_nobody_to_copy(make_study: MakeStudy) -> None:
    study = make_study(Population(interval=2, quantile=0.5))
    first, second = study.add(), study.add()
    assert study.diverge(first) == TrialScheduler.STOP
    first.status = TuneTrial.TERMINATED
    study.step(second, 2, 0.5)
    assert study.diverge(second) == TrialScheduler.STOP
    assert not [e for e in read_journal(study.folder / "journal.jsonl") if e.event == "exploit"]


def test_a_trial_that_diverges_ends_when_the_best_ones_files_are_gone(
    make_study: MakeStudy,
) -> None:
    study = make_study(Population(interval=2, quantile=0.5))
    first, second = study.add(), study.add()
    study.step(second, 2, 0.5)
    next((study.folder / fold_folder("0001", 1)).glob("*.pt")).unlink()
    assert study.diverge(first) == TrialScheduler.STOP
    assert first.config["lineage"] == 0


def test_a_replay_that_diverges_ends(make_study: MakeStudy) -> None:
    study = make_study(Replay([(0, STRONG), (4, STRONG)]), [STRONG])
    trial = study.add()
    study.step(trial, 2, 0.5)
    assert study.diverge(trial) == TrialScheduler.STOP


def test_epochs_between_two_milestones_change_nothing(make_study: MakeStudy) -> None:
    study = make_study(Population(interval=4, quantile=0.5))
    weak, strong = study.add(), study.add()
    study.step(strong, 4, 0.5)
    for epoch in (3, 5, 7):
        assert study.step(weak, epoch, 2.0) == TrialScheduler.CONTINUE
    assert weak.config["lineage"] == 0


def test_a_donor_whose_files_are_gone_is_not_copied(
    make_study: MakeStudy, caplog: pytest.LogCaptureFixture
) -> None:
    study = make_study(Population(interval=2, quantile=0.5))
    weak, strong = study.add(), study.add()
    study.step(strong, 2, 0.5)
    next((study.folder / fold_folder("0001", 1)).glob("*.pt")).unlink()
    assert study.step(weak, 2, 2.0) == TrialScheduler.CONTINUE
    assert "Trial 0000 does not copy trial 0001: its state after epoch 2 is gone" in caplog.text
    assert (weak.config["lineage"], weak.config["hyperparameters"]) == (0, WEAK)


def test_as_many_trials_are_live_as_there_is_room_for(make_study: MakeStudy) -> None:
    """Of three trials two may be live; the third has not been suggested yet."""
    study = make_study(Population(interval=2), [WEAK, STRONG, WEAK], at_once=2)
    scheduler: PopulationScheduler = study.scheduler
    assert scheduler.has_room()
    first, second = study.add(), study.add()
    assert not scheduler.has_room()
    assert study.step(second, 2, 0.5) == TrialScheduler.PAUSE
    second.status = TuneTrial.PAUSED
    assert scheduler.has_room()
    third = study.add()
    assert scheduler.choose_trial_to_run(study.controller) is None
    study.step(first, 2, 0.6)
    first.status = TuneTrial.TERMINATED
    assert scheduler.choose_trial_to_run(study.controller) is second
    assert third.status == TuneTrial.RUNNING


def test_the_paused_trial_that_is_furthest_behind_comes_next(make_study: MakeStudy) -> None:
    study = make_study(Population(interval=2), [STRONG] * 3)
    trials = [study.add() for _ in range(3)]
    for trial, epoch in zip(trials, (4, 2, 6), strict=True):
        study.step(trial, epoch, 0.5)
        trial.status = TuneTrial.PAUSED
    assert study.scheduler.choose_trial_to_run(study.controller) is trials[1]


def test_a_complete_trial_leaves_no_states(make_study: MakeStudy) -> None:
    study = make_study(Population(interval=2))
    trial = study.add()
    study.step(trial, 2, 0.5)
    study.scheduler.on_trial_complete(study.controller, trial, {"complete": True, "score": 0.5})
    assert not list(study.folder.rglob("*.pt"))


def test_a_replay_changes_the_values_at_its_epochs(make_study: MakeStudy) -> None:
    changed = {**STRONG, RATE: 1e-3}
    study = make_study(Replay([(0, STRONG), (4, changed)]), [STRONG])
    trial = study.add()
    assert study.step(trial, 3, 0.5) == TrialScheduler.CONTINUE
    assert study.step(trial, 4, 0.5) == TrialScheduler.NOOP
    assert trial.status == TuneTrial.PAUSED
    assert trial.config["hyperparameters"] == changed
    assert study.state("0000", 1) == ["trial 0000 fold 0 epoch 4", "trial 0000 fold 1 epoch 4"]
    assert study.step(trial, 4, 0.5) == TrialScheduler.CONTINUE  # taken up there, it goes on
    study.ledger.trial_finished("0000", "completed")
    [result] = study.ledger.results
    assert result.schedule == ((0, STRONG), (4, changed))
    assert [exploit.changed for exploit in result.exploits] == [{RATE: 1e-3}]
