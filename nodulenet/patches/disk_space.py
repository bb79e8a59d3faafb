"""What a store takes on disk, told before it is written: a disk that fills midway helps nobody."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np

from nodulenet.amounts import bytes_text, count_text
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Config
from nodulenet.errors import StoreError

# Lines of a journal and of the index.
_BYTES_BESIDE_A_PATCH = 250
# Shard and journal of a unit, each with the rest of its last block.
_BYTES_A_UNIT = 2 * 4096


def patch_bytes(spec: PatchSpec) -> int:
    """Of one stored patch's voxels."""
    return math.prod(spec.stored_shape) * np.dtype(np.int16).itemsize


def store_bytes(spec: PatchSpec, patches: int, units: int) -> int:
    """Of a store of so many patches in so many units."""
    return patches * (patch_bytes(spec) + _BYTES_BESIDE_A_PATCH) + units * _BYTES_A_UNIT


def free_bytes(folder: Path) -> int:
    """On the disk on which ``folder`` is or will be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def refuse_full_disk(config: Config, patches: int, units: int) -> None:
    """Refuse beforehand what the disk cannot hold.

    Args:
        config: the configuration.
        patches, units: those still to be written.

    Raises:
        StoreError: there is not enough space.
    """
    needed, free = store_bytes(config.patch, patches, units), free_bytes(config.store_path)
    if needed > free:
        raise StoreError(
            f"{config.store_path}: {count_text(patches, 'patch', 'patches')} need "
            f"{bytes_text(needed)}, {bytes_text(free)} are free; choose another disk (store=PATH), "
            f"smaller patches, or source.negatives_per_positive (with source.stream_rest=true "
            f"LUNA16's other candidates are scored all the same)"
        )
