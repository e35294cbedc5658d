"""The first 8,000 digits of MNIST's training set as the HDF5 file that other benchmarks read.

MNIST's own files, ``train-images-idx3-ubyte.gz`` and ``train-labels-idx1-ubyte.gz``, are what
``torchvision.datasets.MNIST`` downloads, too; they may be unpacked. The HDF5 file holds
``features``, shape (8000, 28, 28), uint8, and ``labels``, shape (8000,), uint8.

Usage: ``python platform/benchmarks/mnist.py train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz
mnist8k.h5 [--rows 8000]``
"""

import argparse
import gzip
import math
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTES = 8
"""How IDX names the type of MNIST's values, in the third byte of a file."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file, or end with one line that names what is wrong."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, help="train-images-idx3-ubyte, .gz or not")
    parser.add_argument("labels", type=Path, help="train-labels-idx1-ubyte, .gz or not")
    parser.add_argument("output", type=Path, help="the HDF5 file to write")
    parser.add_argument("--rows", type=int, default=8000, help="how many digits to take")
    asked = parser.parse_args(arguments)
    try:
        images, labels = read_idx(asked.images, 3), read_idx(asked.labels, 1)
        if len(images) != len(labels):
            raise ValueError(
                f"{asked.images} holds {len(images)} images and {asked.labels} {len(labels)} "
                "labels; both must be of the training set."
            )
        if not 1 <= asked.rows <= len(images):
            raise ValueError(f"--rows is {asked.rows}, expected 1 to {len(images)}.")
        write(asked.output, images[: asked.rows], labels[: asked.rows])
    except (OSError, ValueError) as error:
        parser.error(str(error))


def read_idx(path: Path, num_axes: int) -> NDArray[np.uint8]:
    """Return the array of an IDX file of bytes: a head of sizes, big-endian, then the values.

    Raises:
        ValueError: If the file is something else, or cut short.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except EOFError:
            raise ValueError(f"{path} is cut short; download it again.") from None
    start = 4 + 4 * num_axes
    if len(content) < start or content[:4] != bytes((0, 0, UNSIGNED_BYTES, num_axes)):
        raise ValueError(f"{path} is no IDX file of bytes with {num_axes} axes.")
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], ">u4"))
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} holds {len(content) - start} values, its head says {math.prod(shape)}; "
            "download it again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def write(path: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Write the HDF5 file; where there is one already it is replaced once the new one is whole."""
    part = path.with_name(f".{path.name}.part")
    with h5py.File(part, "w") as file:
        file.create_dataset("features", data=images, compression="gzip")
        file["labels"] = labels
    part.replace(path)


if __name__ == "__main__":
    main()
