"""Which rows make a batch, and the seed that everything random in a fold follows from."""

import hashlib
from itertools import pairwise


def batches_of(num_rows: int, batch_size: int) -> list[slice]:
    """Cut an epoch's rows into batches.

    A last batch of a single row joins the batch before: batch normalisation cannot train on one
    row, and for no model is one row a good estimate of the gradient.
    """
    starts = [*range(0, num_rows, batch_size)]
    if batch_size > 1 and len(starts) > 1 and num_rows - starts[-1] == 1:
        starts.pop()
    return [slice(*bounds) for bounds in pairwise([*starts, num_rows])]


def fold_seed(random_seed: int, trial: str, fold: int) -> int:
    """Return the seed of one fold, in [0, 2**31), from the study's seed, trial id and fold."""
    digest = hashlib.sha256(f"{random_seed}/{trial}/{fold}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
