"""A population of five trials that take turns on one group: exploits, lineage, ensemble."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import rayfold as rf
from rayfold.jobs import FoldJob, fold_folder, lineage_folder
from rayfold.journal import Entry, read_journal
from rayfold.library import model_source
from rayfold.results import Config, Exploit
from rayfold.tracking.store import open_store
from rayfold.training import FoldRun, Settings, SingleProcess, StudySetup
from rayfold.training.checkpoint import load_checkpoint, save_checkpoint
from rayfold.tuning import exploits as exploits_module
from rayfold.tuning.states import take_over

NUM_FOLDS = 2
EPOCHS = 8
INTERVAL = 2
RATE = "optimizer.learning_rate"
PARAMETERS: Config = {"model.hidden": 16, "optimizer.name": "adam"}
CPU = torch.device("cpu")

pytestmark = pytest.mark.slow


@dataclass
class Copied:
    """A fold's state at the moment of an exploit, on both sides, in order of the folds."""

    receiver: str
    donor: str
    epoch: int
    given: list[dict[str, Any]]
    taken: list[dict[str, Any]]
    digests: list[str]


@dataclass
class Run:
    study: rf.Study
    result: rf.StudyResult
    entries: list[Entry]
    copies: list[Copied] = field(default_factory=list)

    @property
    def exploits(self) -> list[Exploit]:
        return [Exploit.from_dict(e.fields) for e in self.entries if e.event == "exploit"]


@pytest.fixture(scope="module")
def run(
    digits: Path, ray_session: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """Two rates that learn nothing in 8 epochs, two that do, and one that diverges in the first.

    Files are read as they are copied.
    """
    copies: list[Copied] = []

    def watch(folder: Path, **call: Any) -> tuple[str, ...]:
        states = take_over(folder, **call)
        name = f"milestone_{call['epoch']:05d}.pt"
        sides = [
            [
                folder / lineage_folder(fold_folder(call[who], fold), call[lineage]) / name
                for fold in range(NUM_FOLDS)
            ]
            for who, lineage in (("donor", "donor_lineage"), ("trial", "lineage"))
        ]
        given, taken = ([load_checkpoint(path, CPU) for path in side] for side in sides)
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sides[0]]
        copies.append(Copied(call["trial"], call["donor"], call["epoch"], given, taken, digests))
        return states

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(exploits_module, "take_over", watch)
        study = rf.Study(
            "population",
            model="mlp",
            data=rf.HDF5(digits),
            space=rf.SearchSpace({RATE: rf.Float(1e-6, 1e9, log=True)}),
            searcher=rf.search.Fixed([{RATE: rate} for rate in (1e-6, 2e-6, 3e-3, 1e-2, 1e9)]),
            scheduler=rf.schedulers.Population(
                interval=INTERVAL, quantile=0.5, resample_probability=0.0
            ),
            folds=rf.Folds(NUM_FOLDS, order="together"),
            epochs=EPOCHS,
            parameters=PARAMETERS,
            groups=rf.Groups(1, 1, cpus_per_worker=0.5),
            storage=tmp_path_factory.mktemp("a store"),
        )
        result = study.run(5, show_progress=False)
        yield Run(study, result, read_journal(study.folder / "journal.jsonl"), copies)


def test_the_useless_rates_give_way_to_good_ones(run: Run) -> None:
    """Between the first and the last milestone, at epochs 2, 4 and 6."""
    assert [trial.status for trial in run.result.trials] == ["completed"] * 5
    exploits = run.exploits
    assert exploits
    assert {exploit.trial for exploit in exploits} >= {"0000", "0001"}
    for exploit in exploits:
        assert exploit.trial != exploit.donor
        assert exploit.epoch in (2, 4, 6)
    assert all(1e-4 < float(trial.config[RATE]) < 1 for trial in run.result.trials)


def test_a_trial_that_diverges_goes_on_from_another(run: Run) -> None:
    """Its rate of 1e9 leads beyond numbers at once, and nothing that it did before counts."""
    first, *others = [exploit for exploit in run.exploits if exploit.diverged]
    assert (first.trial, others) == ("0004", [])
    assert first == next(exploit for exploit in run.exploits if exploit.trial == "0004")
    for fold in run.result.trials[-1].folds:
        assert len(fold.history) == EPOCHS


def test_a_trial_takes_turns_with_the_others(run: Run) -> None:
    """No trial is two milestones ahead of another: the one group goes round."""
    reached = dict.fromkeys(("0000", "0001", "0002", "0003", "0004"), 0)
    for entry in run.entries:
        if entry.event in ("epoch", "exploit"):
            reached[entry.fields["trial"]] = entry.fields["epoch"]
            assert max(reached.values()) - min(reached.values()) <= 2 * INTERVAL


def test_every_fold_gets_the_donors_state_of_the_same_fold(run: Run) -> None:
    """Its weights, its moments and its history; and the journal has the digest of each file."""
    assert len(run.copies) == len(run.exploits)
    for copied, exploit in zip(run.copies, run.exploits, strict=True):
        assert (copied.receiver, copied.donor) == (exploit.trial, exploit.donor)
        assert tuple(copied.digests) == exploit.states
        assert len(copied.given) == NUM_FOLDS
        for given, taken in zip(copied.given, copied.taken, strict=True):
            assert len(given["history"]) == copied.epoch
            assert taken["history"] == given["history"]
            assert taken["learner"]["model"].keys() == given["learner"]["model"].keys()
            for name, weights in given["learner"]["model"].items():
                assert torch.equal(taken["learner"]["model"][name], weights)
            for parameter, moments in given["learner"]["optimizer"]["state"].items():
                other = taken["learner"]["optimizer"]["state"][parameter]
                assert torch.equal(other["exp_avg"], moments["exp_avg"])
        first, second = (given["learner"]["model"]["layers.0.weight"] for given in copied.given)
        assert not torch.equal(first, second)  # folds differ: they could be mixed up


def test_each_fold_has_trained_on_from_the_donors_state(run: Run, tmp_path: Path) -> None:
    """Trained here from the donor's file, as it was at the exploit, it ends with these weights."""
    setup = StudySetup(
        model=model_source("mlp"),
        settings=Settings(epochs=EPOCHS),
        plan=run.study.specification.folds.split(run.study.dataset),
        folder=tmp_path,
        parameters=PARAMETERS,
    )
    last = {exploit.trial: number for number, exploit in enumerate(run.exploits)}
    for trial, number in last.items():
        result = next(result for result in run.result.trials if result.id == trial)
        for fold, given in enumerate(run.copies[number].given):
            job = FoldJob(
                trial=trial,
                config=result.config,
                fold=fold,
                until_epoch=EPOCHS,
                lineage=len(result.exploits),
            )
            save_checkpoint(
                tmp_path / job.checkpoints, run.exploits[number].epoch, given, milestone=True
            )
            alone = FoldRun(job, setup=setup, data=run.study.dataset, collective=SingleProcess())
            assert alone.advance(job) is not None
            torch.testing.assert_close(
                load_file(run.study.folder / result.folds[fold].weights),
                load_file(tmp_path / result.folds[fold].weights),
                rtol=1e-4,
                atol=1e-5,
            )


def test_no_fold_sees_the_rows_that_it_is_validated_with(run: Run) -> None:
    """The history of each fold goes back to a fold of the same number, and so do its rows."""
    plan = run.study.specification.folds.split(run.study.dataset)
    last = {exploit.trial: exploit for exploit in run.exploits}
    for trial in run.result.trials:
        for fold in trial.folds:
            rows = plan.folds[fold.fold]
            predictions = torch.from_numpy(rows.validation_rows)
            file = run.study.folder / str(fold.predictions)
            assert torch.equal(load_file(file)["rows"], predictions)
            assert not set(rows.validation_rows) & set(rows.training_rows)
            if trial.id in last:
                exploit = last[trial.id]
                copied = run.copies[run.exploits.index(exploit)]
                given = copied.given[fold.fold]["history"]
                assert list(fold.history[: exploit.epoch]) == given
                assert dict(exploit.scores)[fold.fold] == given[-1]["val_loss"]


def test_the_new_learning_rate_is_what_trains_on(run: Run) -> None:
    """Up to the exploit it is the donor's, from the next epoch on the trial's own."""
    for trial in run.result.trials:
        schedule = run.result.schedule(trial.id)
        for fold in trial.folds:
            assert len(fold.history) == EPOCHS
            for epoch, metrics in enumerate(fold.history):
                rate = [config[RATE] for start, config in schedule if start <= epoch][-1]
                assert metrics["learning_rate"] == pytest.approx(rate, rel=1e-12)


def test_table_and_mlflow_hold_the_lineage(run: Run) -> None:
    table = run.result.table().set_index("trial")
    client = open_store(run.result.tracking_uri)
    experiment = client.get_experiment_by_name("rayfold")
    assert experiment is not None
    logged = {
        child.data.tags["rayfold.trial"]: child
        for child in client.search_runs(
            [experiment.experiment_id],
            "tags.`rayfold.kind` = 'trial'",
        )
    }
    for trial in run.result.trials:
        own = [exploit for exploit in run.exploits if exploit.trial == trial.id]
        assert trial.exploits == tuple(own)
        assert table.loc[trial.id, "exploits"] == len(own)
        tags = logged[trial.id].data.tags
        assert json.loads(tags["rayfold.config"]) == trial.config
        if own:
            assert trial.config == own[-1].config
            assert table.loc[trial.id, "donor"] == own[-1].donor == tags["rayfold.donor"]
            assert json.loads(tags["rayfold.exploits"]) == [
                {
                    "epoch": e.epoch,
                    "donor": e.donor,
                    "changed": dict(e.changed),
                    "restart": False,
                }
                for e in own
            ]
            points = client.get_metric_history(logged[trial.id].info.run_id, f"population/{RATE}")
            assert [(point.step, point.value) for point in points] == [
                (e.epoch, e.config[RATE]) for e in own
            ]


def test_an_ensemble_is_built_from_the_population(run: Run) -> None:
    ensemble = rf.Ensemble.greedy("population", num_rounds=3, storage=run.study.storage)
    assert ensemble.out_of_fold_loss <= ensemble.single_best_loss + 1e-9  # but for rounding


def test_a_finished_population_leaves_no_states_and_comes_back_from_the_journal(run: Run) -> None:
    assert not list(run.study.folder.rglob("*.pt"))
    assert not list(run.study.folder.rglob("lineage_*"))
    assert run.study.run(5, show_progress=False).trials == run.result.trials
