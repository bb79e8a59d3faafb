"""What a training will cost, from a few timed steps; told by ``--dry-run`` beforehand."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nodulenet.amounts import bytes_text, count_text, duration_text
from nodulenet.config.schema import Config, ModelConfig
from nodulenet.patches.check import check_config
from nodulenet.patches.disk_space import free_bytes
from nodulenet.patches.prepare import store_folder
from nodulenet.patches.source import load_source
from nodulenet.patches.store import PatchStore
from nodulenet.training.data import training_data
from nodulenet.training.disk import disk_bytes, refuse_full_disk
from nodulenet.training.run import Run, Unit
from nodulenet.training.selection import units_of

TIMED_STEPS = 20
# The first steps trace and allocate.
_UNTIMED_STEPS = 3


@dataclass(frozen=True)
class ModelEstimate:
    """What one model costs.

    Attributes:
        model: its name in tables.
        units: folds x seeds.
        parameters: of one network.
        patches_per_s: of training, measured.
        seconds: of all its units, one after the other.
        disk_bytes: of its finished units.
    """

    model: str
    units: int
    parameters: int
    patches_per_s: float
    seconds: float
    disk_bytes: int


@dataclass(frozen=True)
class TrainingEstimate:
    """What a training costs on this machine, units one after the other.

    Attributes:
        patches: of one epoch of the first fold.
        models: one each.
        disk_bytes: what all units leave, and the largest state of one in flight.
        free_bytes: where the run goes.
        memory_bytes: the most that this process has had so far, steps included.
        streamed: candidates that are read from their scans when they are scored; not in the time.
    """

    patches: int
    models: Sequence[ModelEstimate]
    disk_bytes: int
    free_bytes: int
    memory_bytes: int
    streamed: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """For people: what, and how much."""
        result = [
            (
                m.model,
                f"{count_text(m.units, 'unit')} of {m.parameters:,} parameters, "
                f"{m.patches_per_s:.0f} patches/s, {duration_text(m.seconds)}",
            )
            for m in self.models
        ]
        result += [
            ("patches", f"{self.patches:,} an epoch of the first fold"),
            ("disk", f"{bytes_text(self.disk_bytes)} to write, {bytes_text(self.free_bytes)} free"),
            ("memory", f"about {bytes_text(self.memory_bytes)} a process"),
            (
                "time",
                f"{duration_text(sum(m.seconds for m in self.models))}, units one after the other "
                f"on this machine (measured on {TIMED_STEPS} steps a model)",
            ),
        ]
        if self.streamed:
            result.append(
                ("streamed", f"{self.streamed:,}, read when scored; not in the time of training")
            )
        return result


def estimate_training(
    config: Config, *, folds: Sequence[int] | None = None, jobs: int = 1
) -> TrainingEstimate:
    """Time :data:`TIMED_STEPS` steps of every model on batches of the first fold; nothing is kept.

    Args:
        config: the configuration.
        folds: these alone. Defaults to all.
        jobs: units at a time, for the disk. Defaults to 1.

    Raises:
        NoduleNetError: what training would fail on, too; RunError where the disk is too small.
    """
    check_config(config)
    source = load_source(config)
    store = PatchStore(store_folder(config, source))
    data = training_data(config, source, store, Run(config.run, config))
    parts = data.folds.parts(data.folds.folds[0])
    from nodulenet.training.fitting import trainable_rows, unit_batches

    rows = trainable_rows(data, parts)
    batches = unit_batches(store, data, rows, config, seed=config.seed)
    patches = sum(batches.counts)
    every = units_of(config, data.folds, folds)
    models = [
        _estimate(config, m, batches, patches, [u for u in every if u.model == m.key])
        for m in config.models
    ]
    disk = disk_bytes(config, every, jobs)
    refuse_full_disk(config.run, disk)
    return TrainingEstimate(
        patches=patches,
        models=models,
        disk_bytes=disk,
        free_bytes=free_bytes(config.run),
        memory_bytes=_peak_memory(),
        streamed=int((~data.stored).sum()),
    )


def _estimate(
    config: Config, model_config: ModelConfig, batches: Any, patches: int, units: Sequence[Unit]
) -> ModelEstimate:
    from nodulenet.training.backend import keras
    from nodulenet.training.fitting import compile_model, rounds_of
    from nodulenet.training.unit import build_classifier, set_threads

    set_threads(config.train.threads)
    keras.backend.clear_session()
    model = build_classifier(model_config, config.patch, config)
    epochs = sum(rounds_of(config.train))
    compile_model(model, batches, config, epochs)
    count = min(len(batches), _UNTIMED_STEPS + TIMED_STEPS)
    made = [batches[i] for i in range(count)]
    seen, started = 0, time.perf_counter()
    for step in range(_UNTIMED_STEPS + TIMED_STEPS):
        if step == _UNTIMED_STEPS:
            seen, started = 0, time.perf_counter()
        batch = made[step % count]
        model.train_on_batch(*batch)
        seen += len(batch[0])
    speed = seen / (time.perf_counter() - started)
    return ModelEstimate(
        model=model_config.key,
        units=len(units),
        parameters=int(model.count_params()),
        patches_per_s=speed,
        seconds=len(units) * epochs * patches / speed,
        disk_bytes=disk_bytes(config, units),
    )


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
