"""What a fold costs beyond its training: a job for a living group against a group per fold.

Prints, from one run, the median time of a job that trains nothing on a living group (goal: at
most 15 ms), the median time of one ``TorchTrainer.fit()`` whose function returns at once, and
their ratio.

Usage: ``python platform/benchmarks/fold_overhead.py [--jobs 200] [--fits 3]``
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import h5py
import ray
import ray.train
from ray.train.torch import TorchTrainer
from sklearn.datasets import load_digits

from rayfold.data import HDF5, Folds, load
from rayfold.data.staging import stage
from rayfold.groups.cluster import cluster
from rayfold.groups.plan import Groups
from rayfold.groups.pool import Pool
from rayfold.jobs import FoldJob
from rayfold.library import model_source
from rayfold.training import Settings, StudySetup


def main() -> None:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--fits", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, cluster():
        jobs = measure_jobs(Path(folder), arguments.jobs)
        fits = measure_fits(Path(folder), arguments.fits)
    job, fit = statistics.median(jobs), statistics.median(fits)
    print(f"job for a living group   {job * 1e3:8.1f} ms  (median of {len(jobs)}, goal 15)")
    print(f"TorchTrainer.fit()        {fit:8.1f} s   (median of {len(fits)})")
    print(f"ratio                     {fit / job:8.0f}")


def measure_jobs(folder: Path, number: int) -> list[float]:
    """Return the seconds from sending a job that trains nothing to holding its outcome."""
    digits = load_digits()
    with h5py.File(folder / "digits.h5", "w") as file:
        file["features"], file["labels"] = digits.images.astype("float32"), digits.target
    data = load(HDF5(folder / "digits.h5"))
    setup = StudySetup(
        model=model_source("cnn"),
        settings=Settings(epochs=1),
        plan=Folds(3).split(data),
        folder=folder,
    )
    pool = Pool(
        Groups(),
        setups={"digits": setup},
        data=stage(data),
        folder=folder / "ray",
    )
    pool.start()
    try:
        call = pool.dispatcher
        call.acquire("digits", "0000", 1)
        job = FoldJob(study="digits", trial="0000", config={}, fold=0, until_epoch=0)
        seconds = []
        for _ in range(number + 1):
            began = time.perf_counter()
            call.submit("digits", "0000", [job])
            (outcome,) = call.wait("digits", "0000")
            seconds.append(time.perf_counter() - began)
            assert outcome.error is None, outcome.error
        return seconds[1:]  # the first builds the model
    finally:
        pool.stop()


def measure_fits(folder: Path, number: int) -> list[float]:
    """Return the seconds of one ``TorchTrainer.fit()`` each, with one worker that returns."""
    seconds = []
    for index in range(number):
        began = time.perf_counter()
        TorchTrainer(
            do_nothing,
            scaling_config=ray.train.ScalingConfig(num_workers=1),
            run_config=ray.train.RunConfig(name=f"nothing-{index}", storage_path=str(folder)),
        ).fit()
        seconds.append(time.perf_counter() - began)
    return seconds


def do_nothing() -> None:
    """Train nothing."""


if __name__ == "__main__":
    main()
