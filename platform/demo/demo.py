"""The demonstration: a study of real digits, from nothing to an exported ensemble.

Usage: ``python demo.py FOLDER``; the folder is made anew.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
from sklearn.datasets import load_digits

RAYFOLD = Path(sys.executable).with_name("rayfold")


def main(folder: Path) -> None:
    """Run the demonstration's commands, each in a process of its own."""
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_digits(folder / "digits.h5")
    shutil.copy(Path(__file__).with_name("digits.yaml"), folder)
    os.chdir(folder)
    os.environ["RAYFOLD_STORAGE"] = str(Path("rayfold-store").absolute())
    print("\n$ rayfold run digits.yaml", flush=True)
    subprocess.run([RAYFOLD, "run", "digits.yaml"], check=True)  # its progress needs the terminal
    rayfold(
        "ensemble digits --export digits-ensemble",
        "ensemble digits --builder single-best --export digits-best-trial",
    )
    ensemble, single = rayfold(
        "predict digits-ensemble digits.h5 --held-out",
        "predict digits-best-trial digits.h5 --held-out",
    )
    print(f"\nheld-out test rows, ensemble          {ensemble}")
    print(f"held-out test rows, best single trial {single}")
    print(f"done in {time.monotonic() - began:.0f} s; everything is in {folder}")
    print("\nTo compare the trials in the MLflow UI:")
    print(f"    {shown(RAYFOLD)} ui --storage {shown(folder / 'rayfold-store')}")


def write_digits(path: Path) -> None:
    """Write scikit-learn's digits: ``features`` (1797, 8, 8) in [0, 1], ``labels`` 0 to 9."""
    digits = load_digits()
    with h5py.File(path, "w") as file:
        file["features"] = (digits.images / 16).astype(np.float32)
        file["labels"] = digits.target


def rayfold(*commands: str) -> list[str]:
    """Run commands beside each other, and return the last line that each prints."""
    running = [
        subprocess.Popen([RAYFOLD, *command.split()], stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    last_lines = []
    for command, process in zip(commands, running, strict=True):
        output, _ = process.communicate()
        print(f"\n$ rayfold {command}\n{output}", end="", flush=True)
        if process.returncode:
            sys.exit(process.returncode)
        last_lines.append(output.strip().splitlines()[-1])
    return last_lines


def shown(path: Path) -> str:
    """Return a path as a user in the repository's folder would type it."""
    return os.path.relpath(path, os.environ.get("PWD", "."))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
