"""Two processes that train folds together, for the contract of strategies.

``python -m rayfold.testing.workers FOLDER RANK`` is one of them; it reads a pickled source of a
strategy from the folder.
"""

import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed

import rayfold.training.loop
from rayfold.jobs import FoldJob
from rayfold.library import model_source
from rayfold.results import Config
from rayfold.testing.fold_data import EPOCHS, make_data, make_setup
from rayfold.training import Collective, Distributed, FoldRun
from rayfold.user_code import SourceCode

WORLD_SIZE = 2
SECONDS = 300


@dataclass(frozen=True)
class Case:
    """One fold to train: a model and its configuration."""

    model: str
    config: Config


CASES: Mapping[str, Case] = {
    # 6 batches of 7 rows, 3 for one worker and 4 for the other, then one of 8
    "plain": Case(
        "mlp",
        {
            "batch_size": 7,
            "model.hidden": 16,
            "model.dropout": 0.0,
            "optimizer.name": "adamw",
            "optimizer.learning_rate": 0.01,
            "schedule.name": "cosine",
        },
    ),
    "normalised": Case(
        "rayfold.testing.fold_data:Normalised",
        {"batch_size": 10, "optimizer.name": "momentum", "optimizer.learning_rate": 0.01},
    ),
}


def train(
    strategy: SourceCode, collective: Collective, case: Case, folder: Path, *, pause: bool = False
) -> list[dict[str, float]]:
    """Train a fold and return its losses, epoch by epoch.

    Args:
        strategy: How the workers train together.
        collective: The workers.
        case: What is trained.
        folder: Where it leaves its files.
        pause: Whether to take the fold up again after its second epoch, from its checkpoint.
    """
    setup = make_setup(model_source(case.model), folder, strategy=strategy)
    job = FoldJob(trial="0000", config=case.config, fold=0, until_epoch=EPOCHS)

    def start() -> FoldRun:
        return FoldRun(job, setup=setup, data=make_data(), collective=collective)

    run = start()
    if pause:
        assert run.advance(replace(job, until_epoch=2, save=True)) is None
        run = start()
        assert run.epoch == 2
    assert run.advance(job) is not None
    names = ("train_loss", "val_loss", "learning_rate")
    return [{name: epoch[name] for name in names} for epoch in run.history]


def run_workers(strategy: SourceCode, folder: Path) -> list[dict[str, Any]]:
    """Train all cases in two processes, whole and paused; return what each of them knows.

    Raises:
        AssertionError: If a process fails, with what it has written.
    """
    (folder / "strategy.pickle").write_bytes(pickle.dumps(strategy))
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    environment = {
        **os.environ,
        "GLOO_SOCKET_IFNAME": loopback,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
    }
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "rayfold.testing.workers", str(folder), str(rank)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(WORLD_SIZE)
    ]
    try:
        errors = [worker.communicate(timeout=SECONDS)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(errors)
    return [json.loads((folder / f"known_{rank}.json").read_text()) for rank in range(WORLD_SIZE)]


def main(folder: Path, rank: int) -> None:
    """Be one of the workers."""
    source = pickle.loads((folder / "strategy.pickle").read_bytes())  # noqa: S301  our own file
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=WORLD_SIZE
    )
    rayfold.training.loop.EVALUATION_ROWS = 8  # the last batch has a single row
    collective = Distributed()
    known = {}
    for name, case in CASES.items():
        for pause in (False, True):
            place = f"{name}_paused" if pause else name
            known[place] = train(source, collective, case, folder / place, pause=pause)
    (folder / f"known_{rank}.json").write_text(json.dumps(known))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
