"""What the units of a run take on the disk; refused beforehand where there is less."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from nodulenet.config.schema import Config
from nodulenet.errors import RunError
from nodulenet.models.registry import get_model
from nodulenet.training.run import Unit
from nodulenet.training.targets import outputs_of

# In flight: weights, two moments of the optimizer, an average, the best weights.
_CHECKPOINT_COPIES = 5
_FLOAT_BYTES = 4


def disk_bytes(config: Config, units: Sequence[Unit]) -> int:
    """What these units leave, and the largest state of one in flight."""
    if not units:
        return 0
    shape, outputs = config.patch.input_shape, outputs_of(config.target)
    parameters = {m.key: get_model(m.name).parameter_count(shape, outputs) for m in config.models}
    kept = sum(parameters[unit.model] for unit in units)
    in_flight = max(parameters[unit.model] for unit in units) * _CHECKPOINT_COPIES
    return (kept + in_flight) * _FLOAT_BYTES


def free_bytes(folder: Path) -> int:
    """Free space where ``folder`` is or will be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def refuse_full_disk(run: Path, needed_bytes: int) -> None:
    """Refuse beforehand what the disk cannot hold.

    Raises:
        RunError: there is less free.
    """
    free = free_bytes(run)
    if needed_bytes > free:
        raise RunError(
            f"{run}: its models need {gigabytes(needed_bytes)}, {gigabytes(free)} are free; "
            f"choose another disk (run=PATH) or fewer train.seeds"
        )


def gigabytes(count: int) -> str:
    """A number of bytes for a reader."""
    return f"{count / 2**30:.2f} GB"
