"""What the units of a run take on the disk; refused beforehand where there is less."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nodulenet.amounts import bytes_text
from nodulenet.config.schema import Config
from nodulenet.errors import RunError
from nodulenet.models.registry import get_model
from nodulenet.patches.disk_space import free_bytes
from nodulenet.training.run import Unit
from nodulenet.training.targets import outputs_of

# In flight: weights, two moments of the optimizer, an average, the best weights; twice, because a
# new state is written beside the old one.
_CHECKPOINT_COPIES = 2 * 5
_FLOAT_BYTES = 4


def disk_bytes(config: Config, units: Sequence[Unit], jobs: int = 1) -> int:
    """What these units leave, and the largest states of ``jobs`` in flight."""
    if not units:
        return 0
    shape, outputs = config.patch.input_shape, outputs_of(config.target)
    parameters = {m.key: get_model(m.name).parameter_count(shape, outputs) for m in config.models}
    kept = sum(parameters[unit.model] for unit in units)
    in_flight = jobs * max(parameters[unit.model] for unit in units) * _CHECKPOINT_COPIES
    return (kept + in_flight) * _FLOAT_BYTES


def refuse_full_disk(run: Path, needed_bytes: int) -> None:
    """Refuse beforehand what the disk cannot hold.

    Raises:
        RunError: there is less free.
    """
    free = free_bytes(run)
    if needed_bytes > free:
        raise RunError(
            f"{run}: its models need {bytes_text(needed_bytes)}, {bytes_text(free)} are free; "
            f"choose another disk (run=PATH) or fewer train.seeds"
        )
