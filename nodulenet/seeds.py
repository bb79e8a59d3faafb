"""One seed in the config feeds every random choice, through children that are found by name.

A child depends on the root seed and on its names alone: not on how many other children were
asked for, nor in which order. So folds, initial weights, shuffling, augmentation and bootstraps
stay the same when another stage is added or units run in another order.
"""

from __future__ import annotations

import zlib

import numpy as np


def seed_sequence(root: int, *names: str | int) -> np.random.SeedSequence:
    """The :class:`numpy.random.SeedSequence` of a named child, e.g. ``(0, "train", "v2", 3)``."""
    key = tuple(n if isinstance(n, int) else zlib.crc32(n.encode()) for n in names)
    return np.random.SeedSequence(root, spawn_key=key)


def child_seed(root: int, *names: str | int) -> int:
    """A 32-bit integer seed of a named child, for libraries that take an integer."""
    return int(seed_sequence(root, *names).generate_state(1, dtype=np.uint32)[0])


def generator(root: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator of a named child."""
    return np.random.default_rng(seed_sequence(root, *names))
