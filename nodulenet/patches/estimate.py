"""What a preparation will take, from a timed sample of its scans, before anything is written."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nodulenet.amounts import bytes_text, count_text, duration_text
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Config
from nodulenet.errors import NoduleNetError
from nodulenet.patches.check import check_config
from nodulenet.patches.disk_space import free_bytes, patch_bytes, refuse_full_disk, store_bytes
from nodulenet.patches.one_scan import scan_errors
from nodulenet.patches.prepare import (
    Job,
    Unit,
    chosen_workers,
    cut_unit,
    finished_units,
    split_by_presence,
    store_folder,
    units_of,
    with_rows,
)
from nodulenet.patches.source import LoadedSource, load_source
from nodulenet.patches.workers import Processes
from nodulenet.progress import Progress, Silent

# The sample: so many scans, evenly spread, so many patches of each, within so many seconds.
_SAMPLED_SCANS = 4
_SAMPLED_PATCHES = 100
_SAMPLE_S = 20.0


@dataclass(frozen=True)
class PreparationEstimate:
    """What a preparation will take.

    Attributes:
        store: the folder that it fills.
        unit: what preparation goes through: scans, or pieces of an archive.
        units: how many there are with findings to store.
        absent: those of them that are not there.
        patches: patches that the store will hold.
        patches_left: those of them that are still to be made.
        streamed: findings without a patch in the store, read from their scans when scored.
        disk_bytes: still to be written.
        free_bytes: on that disk.
        memory_bytes: of all processes at most, about.
        processes: how many.
        prepare_s: wall-clock seconds; None where no scan of the sample could be read.
        stream_s: seconds to read and cut all streamed findings once, in one thread beside the
            model that scores them.
        sampled_units, sampled_patches: what the times rest on.
        notes: of the source.
    """

    store: Path
    unit: Literal["scans", "pieces"]
    units: int
    absent: int
    patches: int
    patches_left: int
    streamed: int
    disk_bytes: int
    free_bytes: int
    memory_bytes: int
    processes: int
    prepare_s: float | None
    stream_s: float | None
    sampled_units: int
    sampled_patches: int
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the disk has room for what is still to be written."""
        return self.disk_bytes <= self.free_bytes

    def lines(self) -> list[tuple[str, str]]:
        """For people: what, and how much."""
        absent = f", {self.absent:,} absent" if self.absent else ""
        there = self.patches - self.patches_left
        processes = count_text(self.processes, "process", "processes")
        sample = (
            f"measured on {count_text(self.sampled_patches, 'patch', 'patches')} of "
            f"{self.sampled_units} {self.unit}"
        )
        result = [
            ("store", str(self.store)),
            (self.unit, f"{self.units:,}{absent}"),
            ("patches", f"{self.patches:,}" + (f", {there:,} are there" if there else "")),
        ]
        if self.streamed:
            result.append(("streamed", f"{self.streamed:,}, read from their scans when scored"))
        result += [
            ("disk", f"{bytes_text(self.disk_bytes)} to write, {bytes_text(self.free_bytes)} free"),
            ("memory", f"about {bytes_text(self.memory_bytes)} in {processes}"),
        ]
        if self.prepare_s is None:
            return [*result, ("time", "unknown: not one scan of the sample could be read")]
        time_text = f"{duration_text(self.prepare_s)} ({sample})" if self.patches_left else "none"
        result.append(("time", time_text))
        if self.stream_s is not None and self.streamed:
            result.append(
                ("streaming", f"{duration_text(self.stream_s)} of reading for each scoring of all")
            )
        return result

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "store": str(self.store)}

    def refuse_if_too_large(self, config: Config) -> None:
        """As the preparation itself does.

        Raises:
            StoreError: the disk has no room for it.
        """
        refuse_full_disk(config, self.patches_left, self.units - self.absent)


def estimate_preparation(
    config: Config, *, jobs: int | None = None, progress: Progress | None = None
) -> PreparationEstimate:
    """Count patches and disk, and time a sample of scans; nothing is written.

    Args:
        config: the configuration.
        jobs: number of processes. Defaults to what ``prepare`` would choose.
        progress: told of the sample. Defaults to nobody.

    Raises:
        DataError: the source cannot be read.
    """
    progress = progress or Silent()
    check_config(config)
    _import_monai()
    libraries = _peak_bytes()
    source = load_source(config)
    with_tables = _peak_bytes()
    spec = config.patch
    units = units_of(source)
    folder = store_folder(config, source)
    there = finished_units(folder, units)
    todo = [u for u in units if u.name not in there]
    present, absent = split_by_presence(todo, source)
    left = sum(len(u.finding_ids) for u in present)
    if jobs is None:
        workers = chosen_workers(present) if present else None
        jobs = workers.jobs if isinstance(workers, Processes) else 1
    job = Job(folder, spec, source.values, source.irregular)
    readable = present or [u for u in units if u.path or source.archive]
    sample = _timed_sample(readable, job, source, progress)
    largest = max((len(u.finding_ids) for u in present), default=0) * patch_bytes(spec)
    # Patches of a unit are in memory twice when they are joined to a shard.
    work = max(0, _peak_bytes() - with_tables) + 2 * largest
    memory = with_tables + work if jobs == 1 else with_tables + jobs * (libraries + work)
    streamed = source.streamed
    prepare_s = stream_s = None
    if sample is not None:
        prepare_s = sample.seconds(len(present), left) / jobs
        inner = len(streamed) * _inner_share(spec)
        stream_s = sample.seconds(streamed["scan_id"].nunique(), inner)
    return PreparationEstimate(
        store=folder,
        unit="scans" if source.archive is None else "pieces",
        units=len(units),
        absent=len(absent),
        patches=left + sum(len(r.finding_ids) for r in there.values()),
        patches_left=left,
        streamed=len(streamed),
        disk_bytes=store_bytes(spec, left, len(present)),
        free_bytes=free_bytes(config.store_path),
        memory_bytes=memory,
        processes=jobs,
        prepare_s=prepare_s,
        stream_s=stream_s,
        sampled_units=sample.scans if sample else 0,
        sampled_patches=sample.patches if sample else 0,
        notes=source.findings.notes,
    )


@dataclass(frozen=True)
class _Sample:
    """What was timed: the cost of opening a scan, and of a patch of it."""

    scans: int
    patches: int
    scan_s: float
    patch_s: float

    def seconds(self, scans: int, patches: float) -> float:
        return scans * self.scan_s + patches * self.patch_s


def _timed_sample(
    units: Sequence[Unit], job: Job, source: LoadedSource, progress: Progress
) -> _Sample | None:
    """Some units, evenly spread: each cut at one point and at many; None where none can be read."""
    places = np.unique(np.linspace(0, len(units) - 1, min(_SAMPLED_SCANS, len(units))).astype(int))
    chosen = [units[i] for i in places]
    singles: list[float] = []
    patch_s: list[float] = []
    patches = 0
    begin = time.perf_counter()
    with progress.task("timing", len(chosen), "scans") as task:
        for number, unit in enumerate(chosen):
            if time.perf_counter() - begin > _SAMPLE_S:
                break
            count = min(len(unit.finding_ids), _SAMPLED_PATCHES)
            one, many = (with_rows(_first(unit, n), source.archive) for n in (1, count))
            try:
                if number == 0:
                    _seconds(one, job)  # imports the reader of this format
                single = _seconds(one, job)
                several = _seconds(many, job) if count > 1 else single
            except NoduleNetError:
                continue  # the preparation lists it
            finally:
                task.advance(note=unit.name[-12:])
            if count > 1:
                patch_s.append(max(0.0, several - single) / (count - 1))
            singles.append(single)
            patches += count
    if not singles:
        return None
    each = float(np.mean(patch_s or [0.0]))
    return _Sample(len(singles), patches, max(0.0, float(np.mean(singles)) - each), each)


def _first(unit: Unit, count: int) -> Unit:
    return replace(
        unit, finding_ids=unit.finding_ids[:count], points_lps_mm=unit.points_lps_mm[:count]
    )


def _seconds(unit: Unit, job: Job) -> float:
    begin = time.perf_counter()
    with scan_errors(unit.path or unit.name, out_of_memory="take more memory"):
        cut_unit(unit, job, {})
    return time.perf_counter() - begin


def _inner_share(spec: PatchSpec) -> float:
    """Voxels that the model sees, of those that a store would hold."""
    return math.prod(spec.size) / math.prod(spec.stored_size)


def _import_monai() -> None:
    from nodulenet.transforms import import_monai

    import_monai()


def _peak_bytes() -> int:
    """The most memory that this process has held so far; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
