"""Two workers train what one process trains. Run as a script, this file is one of the two."""

import dataclasses
import errno
import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import rayfold.training.loop
from rayfold.data import DataSet, Fold, FoldPlan
from rayfold.jobs import FoldJob
from rayfold.library import model_source
from rayfold.tasks import Classification
from rayfold.training import (
    Batch,
    Collective,
    Distributed,
    FoldRun,
    Settings,
    SingleProcess,
    StudySetup,
)
from rayfold.training.learners import Supervised
from rayfold.training.strategies import AllReduce

WORLD_SIZE = 2
NUM_TRAINING, NUM_VALIDATION = 50, 25
CONFIGS: dict[str, dict[str, Any]] = {
    # 6 batches of 7 rows, 3 for one worker and 4 for the other, then one of 8: 7 and a lone one
    "mlp": {
        "batch_size": 7,
        "model.hidden": 16,
        "model.dropout": 0.0,
        "optimizer.name": "nesterov",
        "optimizer.learning_rate": 0.05,
    },
    # 3 batches of 16 rows, then one of 2
    "cnn": {
        "batch_size": 16,
        "model.channels": 4,
        "model.dropout": 0.0,
        "optimizer.name": "adamw",
        "optimizer.learning_rate": 0.01,
        "schedule.name": "cosine",
    },
}
DROPOUT = {**CONFIGS["mlp"], "model.dropout": 0.5}
CHOOSY = {"batch_size": 7, "optimizer.name": "adamw", "optimizer.weight_decay": 0.1}
BATCHES = (1, 2, 7, 50)


class Normalised(nn.Module):
    """A linear model of normalised features, whose running statistics are buffers."""

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        size = math.prod(input_shape)
        self.layers = nn.Sequential(
            nn.Flatten(), nn.BatchNorm1d(size), nn.Linear(size, num_outputs)
        )

    def forward(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.layers(features)
        return outputs


class Choosy(nn.Module):
    """Never uses one layer, and another in every second step."""

    steps: Tensor

    def __init__(self, *, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__()
        size = math.prod(input_shape)
        self.used, self.never = nn.Linear(size, num_outputs), nn.Linear(size, num_outputs)
        self.sometimes = nn.Linear(num_outputs, num_outputs)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.used(features.flatten(1))
        self.steps += self.training
        if self.steps % 2:
            outputs = outputs + self.sometimes(outputs)
        return outputs


MODELS = {"normalised": Normalised, "choosy": Choosy}


def make_data() -> DataSet:
    generator = np.random.default_rng(0)
    labels = np.arange(NUM_TRAINING + NUM_VALIDATION) % 3
    features = generator.normal(size=(len(labels), 8, 8)) + labels[:, None, None] / 2
    return DataSet(
        features=(features.astype(np.float32),),
        feature_names=("features",),
        labels=labels,
        row_groups=None,
        task=Classification(),
        classes=(0, 1, 2),
        digest="d" * 64,
        development_rows=np.arange(len(labels)),
        test_rows=np.arange(0),
    )


def make_setup(model: str, folder: Path) -> StudySetup:
    rows = np.arange(NUM_TRAINING + NUM_VALIDATION)
    fold = Fold(0, rows[:NUM_TRAINING], rows[NUM_TRAINING:])
    return StudySetup(
        model=model_source(MODELS.get(model, model)),
        settings=Settings(epochs=3, metrics=("accuracy",)),
        plan=FoldPlan((fold,), digest="f" * 64),
        folder=folder,
    )


def start(model: str, collective: Collective, folder: Path, config: dict[str, Any]) -> FoldRun:
    # a small number, so that the last of the validation batches has a single row, too
    rayfold.training.loop.EVALUATION_ROWS = 8
    job = FoldJob(trial="0000", config=config, fold=0, until_epoch=3)
    return FoldRun(job, setup=make_setup(model, folder), data=make_data(), collective=collective)


def train(
    model: str,
    collective: Collective,
    folder: Path,
    config: dict[str, Any],
    *,
    pause: bool = False,
) -> list[dict[str, float]]:
    """Train a fold, all at once or taken up after its second epoch; return its history."""
    job = FoldJob(trial="0000", config=config, fold=0, until_epoch=3)
    run = start(model, collective, folder, config)
    if pause:
        assert run.advance(dataclasses.replace(job, until_epoch=2, save=True)) is None
        run = start(model, collective, folder, config)
        assert run.epoch == 2
    assert run.advance(job) is not None
    names = ("train_loss", "val_loss", "val_accuracy", "learning_rate")
    return [{name: epoch[name] for name in names} for epoch in run.history]


def gradients(model: str, collective: Collective, num_rows: int) -> dict[str, Tensor]:
    """Return the gradients that a step on a batch of ``num_rows`` rows leaves behind."""
    data = make_data()
    torch.manual_seed(0)
    strategy = AllReduce(collective)
    learner = Supervised(
        CONFIGS[model],
        setup=make_setup(model, Path()),
        data=data,
        strategy=strategy,
        steps_per_epoch=1,
    )
    share = strategy.training_share(num_rows)
    features = tuple(torch.from_numpy(array[share.rows]) for array in data.features)
    labels = torch.from_numpy(data.labels[share.rows])
    learner.train_batch(Batch(features, labels, total_rows=num_rows, weight=share.weight))
    found = {}
    for name, parameter in learner.model.named_parameters():
        assert parameter.grad is not None
        found[name] = parameter.grad.clone()
    return found


def work(rank: int, folder: Path) -> None:
    """Be one of the two workers: train everything, and leave what this worker knows."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=WORLD_SIZE
    )
    collective = Distributed()
    known: dict[str, Any] = {"histories": {}}
    for model, config in CONFIGS.items():
        known["histories"][model] = train(model, collective, folder / model, config)
        for num_rows in BATCHES:
            found = gradients(model, collective, num_rows)
            save_file(found, folder / f"gradients_{model}_{num_rows}_{rank}.safetensors")
    for name, pause in (("whole", False), ("paused", True)):
        known["histories"][name] = train("mlp", collective, folder / name, DROPOUT, pause=pause)
    train("normalised", collective, folder / "normalised", {"batch_size": 10})
    train("normalised", collective, folder / "lone", {"batch_size": 7})
    known["histories"]["choosy"] = train("choosy", collective, folder / "choosy", CHOOSY)
    gathered = collective.gather_rows(torch.arange(5)[:2] if rank == 0 else torch.arange(2, 5))
    known["gathered"] = None if gathered is None else gathered.tolist()
    known["summed"] = collective.sum(torch.tensor([1.0, float(rank)])).tolist()
    known["broadcast"] = collective.broadcast({"from": rank})
    known["written"] = collective.on_rank_0(lambda: rank)
    try:
        collective.on_rank_0(lambda: Path("/dev/full").write_text("x"))
    except OSError as error:
        known["fault"] = error.errno
    (folder / f"known_{rank}.json").write_text(json.dumps(known))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two workers, real processes connected by gloo, have left in a folder."""
    folder = tmp_path_factory.mktemp("workers")
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD_SIZE)
    ]
    try:
        errors = [worker.communicate(timeout=300)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(errors)
    return folder


@pytest.fixture(scope="module")
def known(folder: Path) -> list[dict[str, Any]]:
    """What each of the two workers knows."""
    return [json.loads((folder / f"known_{rank}.json").read_text()) for rank in range(WORLD_SIZE)]


@pytest.mark.parametrize("model", CONFIGS)
def test_two_workers_have_the_losses_of_one_process(
    model: str, known: list[dict[str, Any]], tmp_path: Path
) -> None:
    alone = train(model, SingleProcess(), tmp_path, CONFIGS[model])
    together = known[0]["histories"][model]
    for name in ("train_loss", "val_loss", "val_accuracy", "learning_rate"):
        assert [epoch[name] for epoch in together] == pytest.approx(
            [epoch[name] for epoch in alone], abs=1e-5
        )


@pytest.mark.parametrize("model", CONFIGS)
def test_two_workers_arrive_at_the_weights_and_predictions_of_one_process(
    model: str, folder: Path, known: list[dict[str, Any]], tmp_path: Path
) -> None:
    train(model, SingleProcess(), tmp_path, CONFIGS[model])
    for name in ("weights.safetensors", "predictions.safetensors"):
        place = Path("trials/0000/fold_0") / name
        alone, together = load_file(tmp_path / place), load_file(folder / model / place)
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [*CONFIGS, "whole"])
def test_both_workers_know_the_same_history(model: str, known: list[dict[str, Any]]) -> None:
    first, second = (worker["histories"][model] for worker in known)
    assert len(first) == 3
    assert first == second


@pytest.mark.parametrize("num_rows", BATCHES)
@pytest.mark.parametrize("model", CONFIGS)
def test_each_workers_gradient_is_that_of_the_whole_batch(
    model: str, num_rows: int, folder: Path, known: list[dict[str, Any]]
) -> None:
    """Of one or two rows the second worker has none, of seven it has four."""
    whole = gradients(model, SingleProcess(), num_rows)
    for rank in range(WORLD_SIZE):
        found = load_file(folder / f"gradients_{model}_{num_rows}_{rank}.safetensors")
        torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-6)


def test_two_workers_go_on_from_their_checkpoint_with_the_dropout_of_each(
    folder: Path, known: list[dict[str, Any]]
) -> None:
    assert known[0]["histories"]["paused"] == known[0]["histories"]["whole"]
    place = Path("trials/0000/fold_0/weights.safetensors")
    paused, whole = load_file(folder / "paused" / place), load_file(folder / "whole" / place)
    assert all(torch.equal(paused[name], whole[name]) for name in whole)


def test_what_two_workers_predict_is_what_the_saved_model_predicts(folder: Path) -> None:
    """Their running statistics differ, and only the first worker's are saved."""
    place = folder / "normalised" / "trials" / "0000" / "fold_0"
    model = Normalised(input_shape=(8, 8), num_outputs=3)
    model.load_state_dict(load_file(place / "weights.safetensors"))
    saved = load_file(place / "predictions.safetensors")
    features = torch.from_numpy(make_data().features[0])[saved["rows"]]
    with torch.no_grad():
        expected = model.eval()(features).softmax(1)
    torch.testing.assert_close(saved["predictions"], expected, rtol=1e-4, atol=1e-5)


def test_layers_that_no_step_or_not_every_step_uses_train_as_in_one_process(
    folder: Path, known: list[dict[str, Any]], tmp_path: Path
) -> None:
    alone = train("choosy", SingleProcess(), tmp_path, CHOOSY)
    together = known[0]["histories"]["choosy"]
    for name in ("train_loss", "val_loss"):
        assert [epoch[name] for epoch in together] == pytest.approx(
            [epoch[name] for epoch in alone], abs=1e-5
        )
    place = Path("trials/0000/fold_0/weights.safetensors")
    torch.testing.assert_close(
        load_file(folder / "choosy" / place), load_file(tmp_path / place), rtol=1e-4, atol=1e-5
    )


def test_batch_normalisation_trains_though_parts_would_be_single_rows(folder: Path) -> None:
    """Of 50 rows in batches of 7, one is left over; it joins the batch before."""
    assert (folder / "lone" / "trials" / "0000" / "fold_0" / "result.json").exists()


def test_rows_are_joined_in_order_on_the_first_worker_alone(known: list[dict[str, Any]]) -> None:
    assert known[0]["gathered"] == [0, 1, 2, 3, 4]
    assert known[1]["gathered"] is None


def test_sums_and_the_first_workers_word_reach_both(known: list[dict[str, Any]]) -> None:
    for worker in known:
        assert worker["summed"] == [2.0, 1.0]
        assert worker["broadcast"] == {"from": 0}


def test_what_the_first_worker_cannot_write_fails_both(known: list[dict[str, Any]]) -> None:
    """They stay together, so that the group need not be rebuilt when a disk is full."""
    for worker in known:
        assert (worker["written"], worker["fault"]) == (0, errno.ENOSPC)


if __name__ == "__main__":
    work(int(sys.argv[1]), Path(sys.argv[2]))
