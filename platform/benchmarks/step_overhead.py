"""What the training loop costs beyond a plain PyTorch loop on the same model, rows and steps.

Both train in this process, on one thread, and take turns, an epoch each; each pair gives the ratio
of their CPU times. Prints the median ratio of each model (goal: at most 1.03) with its quartiles,
and the CPU time of an epoch divided by its steps. The plain loop indexes tensors, takes the mean
loss, steps the optimiser, and predicts the validation rows after each epoch.

Usage: ``python platform/benchmarks/step_overhead.py [--pairs 60]``
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rayfold.data import DataSet, Fold, FoldPlan
from rayfold.jobs import FoldJob
from rayfold.library import model_source, resolve_model
from rayfold.model_construction import build_model, model_arguments
from rayfold.results import Config
from rayfold.tasks import Classification
from rayfold.training import FoldRun, Settings, SingleProcess, StudySetup
from rayfold.training.metrics import load_metrics

NUM_TRAINING, NUM_VALIDATION = 4096, 1024
BATCH_SIZE = 64
MODELS: dict[str, tuple[str, Config]] = {
    "mlp of 64": ("mlp", {"model.hidden": 64, "model.depth": 2}),
    "mlp of 512": ("mlp", {"model.hidden": 512, "model.depth": 2}),
    "cnn of 8": ("cnn", {"model.channels": 8, "model.blocks": 1}),
}


def main() -> None:
    """Measure all models and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60)
    num_pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    load_metrics()
    data = make_data()
    print(f"{'model':<12}{'ratio':>8}{'quartiles':>16}{'ours':>12}{'plain':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, config) in MODELS.items():
            ours = own_loop(model, config, data, num_pairs, Path(folder) / name)
            report(name, ours, plain_loop(model, config, data), num_pairs)


def report(
    name: str, ours: Callable[[], object], plain: Callable[[], object], num_pairs: int
) -> None:
    """Let both train an epoch in turn, and print the ratio of their times."""
    seconds(ours), seconds(plain)
    pairs = []
    for number in range(num_pairs):
        if number % 2:
            second = seconds(plain)
            pairs.append((seconds(ours), second))
        else:
            pairs.append((seconds(ours), seconds(plain)))
    low, middle, high = statistics.quantiles([mine / other for mine, other in pairs], n=4)
    steps = NUM_TRAINING // BATCH_SIZE
    mine, other = (statistics.median(each) / steps * 1e6 for each in zip(*pairs, strict=True))
    print(
        f"{name:<12}{middle:8.3f}{f'{low:.3f} to {high:.3f}':>16}{mine:9.0f} us{other:9.0f} us",
        flush=True,
    )


def seconds(train: Callable[[], object]) -> float:
    """Return the CPU time of an epoch."""
    began = time.process_time()
    train()
    return time.process_time() - began


def own_loop(
    model: str, config: Config, data: DataSet, num_epochs: int, folder: Path
) -> Callable[[], object]:
    """Return what trains a fold for one more epoch."""
    rows = np.arange(data.num_rows)
    setup = StudySetup(
        model=model_source(model),
        settings=Settings(epochs=num_epochs + 2, checkpoint_seconds=3600.0),
        plan=FoldPlan((Fold(0, rows[:NUM_TRAINING], rows[NUM_TRAINING:]),), digest="f" * 64),
        folder=folder,
        parameters={"batch_size": BATCH_SIZE, "model.dropout": 0.0, **config},
    )
    job = FoldJob(trial="0000", config={}, fold=0, until_epoch=0)
    run = FoldRun(job, setup=setup, data=data, collective=SingleProcess())
    return lambda: run.advance(replace(job, until_epoch=run.epoch + 1))


def plain_loop(model: str, config: Config, data: DataSet) -> Callable[[], object]:
    """Return what trains a model for one more epoch, as a tutorial does."""
    model_class = resolve_model(model)
    arguments = model_arguments(
        model_class,
        {"model.dropout": 0.0, **config},
        input_shapes=data.input_shapes,
        num_outputs=data.num_outputs,
    )
    features, labels = torch.from_numpy(data.features[0]), torch.from_numpy(data.labels)
    validation = torch.arange(NUM_TRAINING, data.num_rows)
    net = build_model(model_class, arguments)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    loss = nn.CrossEntropyLoss()

    def train() -> tuple[float, float]:
        net.train()
        order = torch.randperm(NUM_TRAINING)
        total = torch.zeros(())
        for start in range(0, NUM_TRAINING, BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            optimizer.zero_grad()
            mean = loss(net(features[rows]), labels[rows])
            mean.backward()
            optimizer.step()
            total += mean.detach() * len(rows)
        net.eval()
        with torch.no_grad():
            validated = loss(net(features[validation]), labels[validation])
        return total.item() / NUM_TRAINING, validated.item()

    return train


def make_data() -> DataSet:
    """Return noisy images of 8 x 8 in 10 classes."""
    generator = np.random.default_rng(0)
    labels = np.arange(NUM_TRAINING + NUM_VALIDATION) % 10
    features = generator.normal(size=(len(labels), 8, 8)) + labels[:, None, None] / 5
    return DataSet(
        features=(features.astype(np.float32),),
        feature_names=("features",),
        labels=labels,
        row_groups=None,
        task=Classification(),
        classes=tuple(range(10)),
        digest="d" * 64,
        development_rows=np.arange(len(labels)),
        test_rows=np.arange(0),
    )


if __name__ == "__main__":
    main()
