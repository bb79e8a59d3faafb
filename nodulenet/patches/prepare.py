"""Scans and findings in, a patch store out. The unit of work is a scan.

Patches are made by a MONAI ``Compose`` of :mod:`nodulenet.transforms`, the same that
classification uses on a new scan. Units are independent: whoever works on one reads the scan, cuts
the patches and writes shard and journal itself, and gives back only what became of it, so the same
store comes out bit for bit from one process, from several and from a cluster.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nodulenet import __version__
from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Config
from nodulenet.cpus import usable_cpus
from nodulenet.ct import CTVolume, open_ct
from nodulenet.ct.outside import PROBABLY_RAS
from nodulenet.ct.patch import prefetched
from nodulenet.errors import NoduleNetError, ScanError, UsageError
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.patches.archive import PatchArchive
from nodulenet.patches.check import check_config
from nodulenet.patches.disk_space import refuse_full_disk
from nodulenet.patches.one_scan import (
    finding_failure,
    scan_errors,
    scan_failure,
    source_state,
)
from nodulenet.patches.source import Irregular, LoadedSource, load_source
from nodulenet.patches.store import (
    HEAD,
    PatchStore,
    StoreWriter,
    UnitResult,
    content_hash,
    finished_unit,
    write_unit,
)
from nodulenet.patches.values import Values
from nodulenet.patches.workers import (
    InPlace,
    Outcome,
    Processes,
    SetupError,
    Workers,
    asked_workers,
)
from nodulenet.progress import Progress, Silent

if TYPE_CHECKING:
    from monai.transforms import Compose

# Rows of an archive that make one unit: small enough to lose, large enough for few files.
_ARCHIVE_ROWS = 256

# What a unit costs at least, by benchmarks/prepare.py; only to choose between one process and
# several.
_SECONDS_PER_SCAN = 0.02
_SECONDS_PER_PATCH = 0.0015
# Worker processes import MONAI for themselves (3 to 4 s, 400 MB): below this they do not pay.
_PROCESSES_PAY_S = 8.0
_WORKER_MODULES = (
    "nodulenet.patches.prepare",
    "nodulenet.transforms",
    # Imported by open_ct when a scan is there; a worker would spend 60 ms on each.
    *(f"nodulenet.ct.{name}" for name in ("dicom", "metaimage", "nifti", "nrrd")),
)


@dataclass(frozen=True)
class Prepared:
    """A finished preparation.

    Attributes:
        store: the store.
        failures: ``{"what", "error", "cause"}`` of every scan or finding without a patch;
            those of one ``cause`` may be told as one.
        warnings: what was tolerated, a line for all scans of which the same is said.
        made, reused: units made now, and units that were there.
    """

    store: PatchStore
    failures: list[dict[str, str]]
    warnings: list[str]
    made: int
    reused: int


@dataclass(frozen=True)
class Unit:
    """What a worker is told of one unit: a scan and its points, or a piece of an archive."""

    name: str
    finding_ids: tuple[str, ...]
    points_lps_mm: npt.NDArray[np.float64]
    path: Path | None
    archive: PatchArchive | None = None
    series_uid: str | None = None


@dataclass(frozen=True)
class Job:
    """What all units of a preparation have in common."""

    store: Path
    spec: PatchSpec
    values: Values
    irregular: Irregular = "refuse"
    version: str = __version__


def prepare(
    config: Config,
    *,
    progress: Progress | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
) -> Prepared:
    """Make the patch store of a configuration, or complete it.

    Scans that are finished are not read again. A scan that is absent or unreadable, and a point
    outside its scan, is listed in ``failures``; the others go on. So does a scan whose worker dies.
    What fails with a whole scan is tried once more before it is listed.

    Args:
        config: the configuration.
        progress: told of every scan. Defaults to nobody.
        jobs: number of processes; 1 works in this process. Defaults to one a usable CPU, or to
            this process where the whole work is shorter than the start of others: about 4 s, in
            which they import MONAI.
        scheduler: address of a Dask scheduler (or its scheduler file) whose workers are to do the
            work instead. They must see scans and store under the same absolute paths, and have
            the same version installed. Defaults to this machine.

    Raises:
        UsageError: an impossible ``jobs``, both ``jobs`` and ``scheduler``, no scheduler at that
            address, or workers that cannot see the store.
        MissingDependencyError: ``scheduler`` without Dask.
        DataError: the source cannot be read at all, or not one patch could be made.
        OSError: the disk is full.
    """
    progress = progress or Silent()
    check_config(config)
    workers = asked_workers("prepare", jobs, scheduler, preload=_WORKER_MODULES, note=progress.say)
    source = load_source(config)
    if scheduler is not None and source.archive is not None:
        raise UsageError(
            f"--scheduler {scheduler}: is for scans, but {source.where} holds patches that are cut "
            f"already; leave it out"
        )
    for note in source.findings.notes:
        progress.say(f"note: {note}")
    spec = config.patch
    folder = store_folder(config, source)
    units = units_of(source)
    results = finished_units(folder, units)
    todo = [u for u in units if u.name not in results]
    refuse_full_disk(config, sum(len(u.finding_ids) for u in todo), len(todo))
    writer = StoreWriter(folder, spec, source.values, source.description)
    failed: dict[str, dict[str, str]] = {}
    if todo:
        writer.reopen()
        work = partial(_make_unit, Job(folder, spec, source.values, source.irregular))
        if scheduler is not None:
            # Relative paths would be taken from wherever a worker was started.
            job = Job(folder.absolute(), spec, source.values, source.irregular)
            work = partial(_make_unit, job)
            todo = [replace(u, path=u.path.absolute()) if u.path else u for u in todo]
        present, absent = split_by_presence(todo, source)
        failed.update(absent)
        workers = workers or chosen_workers(present)
        rows = (with_rows(u, source.archive) for u in present)
        kind = "scans" if source.archive is None else "pieces"
        with (
            progress.task("prepare", len(present), kind) as task,
            # Closed at once when this process is interrupted: that is what ends the workers.
            closing(workers.map(work, rows)) as outcomes,
        ):
            for outcome in outcomes:
                if outcome.result is not None:
                    results[outcome.unit.name] = outcome.result
                else:
                    failed[outcome.unit.name] = _unit_failure(outcome)
                task.advance(note=outcome.unit.name[-12:])
    # In the order of the units, whichever finished first.
    ordered = [results[u.name] for u in units if u.name in results]
    failures = [
        *source.findings.failures,
        *(f for u in units for f in _failures_of(u.name, results, failed)),
    ]
    _say_probably_ras(failures, progress)
    store = writer.finish(source.stored, ordered, failures)
    return Prepared(
        store=store,
        failures=failures,
        warnings=_group_warnings(ordered),
        made=len(todo),
        reused=len(units) - len(todo),
    )


def store_folder(config: Config, source: LoadedSource | None = None) -> Path:
    """The folder of this configuration's store: another spec or source is another folder."""
    source = source or load_source(config)
    identity = json.dumps(
        [config.patch.preparation_hash(), source.description, source.values.to_dict()],
        sort_keys=True,
    )
    digest = hashlib.blake2b(identity.encode(), digest_size=4).hexdigest()
    size = "x".join(map(str, config.patch.size))
    return config.store_path / f"{config.patch.form}-{size}-{digest}"


def open_store(config: Config) -> PatchStore:
    """The finished store of a configuration.

    Raises:
        StoreError: it has not been prepared.
    """
    return PatchStore(store_folder(config))


def preparation(spec: PatchSpec, *, outside: float | None = None) -> Compose:
    """The MONAI transform that cuts one patch: keys ``ct`` (CTVolume), ``point_lps_mm`` (3,).

    ``outside`` is the value outside the scan, default ``spec.outside_hu``. The result's ``ct`` is
    a channel-first MetaTensor of ``spec.stored_size``, float32.
    """
    from nodulenet.transforms import ExtractNodulePatchd, import_monai

    return import_monai().transforms.Compose(
        [
            ExtractNodulePatchd(
                keys="ct",
                point_key="point_lps_mm",
                size=spec.stored_size,
                spacing_mm=spec.spacing_xyz_mm,
                form=spec.form,
                interpolation=spec.interpolation,
                outside_hu=spec.outside_hu if outside is None else outside,
            )
        ],
        # On an error MONAI would print the data of the scan, which may be a patient's.
        log_stats=False,
    )


def cut_patch(
    transform: Compose,
    volume: CTVolume,
    point_lps_mm: npt.NDArray[np.float64],
    spec: PatchSpec,
) -> npt.NDArray[np.int16]:
    """One patch as it is stored: int16 of ``spec.stored_shape``.

    Raises:
        PointOutsideScanError: the point lies outside the scan.
    """
    try:
        patch = transform({"ct": volume, "point_lps_mm": point_lps_mm})["ct"]
    except RuntimeError as error:
        # MONAI wraps whatever a transform raises; the reader needs what was raised.
        if isinstance(error.__cause__, NoduleNetError):
            raise error.__cause__ from None
        raise
    return Values().to_stored(np.asarray(patch)).reshape(spec.stored_shape)


def chosen_workers(todo: Sequence[Unit]) -> Workers:
    """This process, or processes where the work is long enough for them to pay."""
    seconds = sum(_SECONDS_PER_SCAN + _SECONDS_PER_PATCH * len(u.finding_ids) for u in todo)
    jobs = min(usable_cpus(), len(todo))
    if jobs < 2 or seconds < _PROCESSES_PAY_S:
        return InPlace()
    return Processes(jobs, preload=_WORKER_MODULES)


def units_of(source: LoadedSource) -> list[Unit]:
    """The units of a source, in order: its scans, or the pieces of its archive."""
    return list(_units(source))


def finished_units(folder: Path, units: Sequence[Unit]) -> dict[str, UnitResult]:
    """By name those units that a store folder already has and whose files are as they were."""
    found = {u.name: finished_unit(folder, u.name, partial(source_state, u.path)) for u in units}
    return {name: result for name, result in found.items() if result is not None}


def _units(source: LoadedSource) -> Iterator[Unit]:
    table = source.stored
    columns = list(POINT_COLUMNS)
    if source.archive is not None:
        for start in range(0, len(table), _ARCHIVE_ROWS):
            rows = table.iloc[start : start + _ARCHIVE_ROWS]
            ids = tuple(rows["finding_id"].astype(str))
            yield Unit(f"rows-{start:07d}", ids, rows[columns].to_numpy(dtype=float), None)
        return
    for scan_id, rows in table.groupby("scan_id", sort=True):
        ids = tuple(rows["finding_id"].astype(str))
        path = source.findings.scans.get(str(scan_id))
        series = source.findings.series.get(str(scan_id))
        points = rows[columns].to_numpy(dtype=float)
        yield Unit(str(scan_id), ids, points, path, series_uid=series)


def with_rows(unit: Unit, archive: PatchArchive | None) -> Unit:
    """The unit with its own rows of the archive, and no others: they go to another process."""
    if archive is None:
        return unit
    start = int(unit.name.removeprefix("rows-"))
    return replace(unit, archive=archive.rows(start, start + len(unit.finding_ids)))


def split_by_presence(
    units: Sequence[Unit], source: LoadedSource
) -> tuple[list[Unit], dict[str, dict[str, str]]]:
    """Units that can be tried, and the failures of those whose scan is not there at all."""
    if source.archive is not None:
        return list(units), {}
    error = (
        f"no scan of that name in {source.where}; its findings are left out. Add the scan and "
        f"prepare again, or remove its rows"
    )
    absent = {
        u.name: scan_failure(u.name, len(u.finding_ids), error) for u in units if u.path is None
    }
    return [u for u in units if u.path is not None], absent


def _make_unit(job: Job, unit: Unit) -> UnitResult:
    """Cut and store the patches of a unit; runs wherever the worker is.

    Raises:
        SetupError: this worker is no use for any unit.
        NoduleNetError: this unit cannot be done.
        OSError: the store cannot be written to.
    """
    _refuse_foreign_worker(job)
    with scan_errors(unit.path or unit.name, out_of_memory="prepare again with fewer --jobs"):
        state = source_state(unit.path)
        # Finished, but the worker died before it was heard of.
        done = finished_unit(job.store, unit.name, lambda: state)
        if done is not None:
            return done
        result, patches = cut_unit(unit, job, state)
    # A unit without one patch leaves no journal, so it is tried again next time.
    if result.finding_ids:
        write_unit(job.store, result, patches)
    return result


def cut_unit(
    unit: Unit, job: Job, state: dict[str, Any]
) -> tuple[UnitResult, npt.NDArray[np.int16]]:
    """The patches of a unit, and what became of its findings; nothing is written.

    Raises:
        NoduleNetError: the scan cannot be read.
    """
    volume = None
    if unit.path is not None:
        volume = prefetched(
            open_ct(unit.path, series_uid=unit.series_uid, irregular=job.irregular),
            unit.points_lps_mm,
            job.spec.stored_size,
            job.spec.spacing_xyz_mm,
            form=job.spec.form,
        )
    # Outside is filled in the values of the store.
    transform = _cached_preparation(job.spec, float(job.values.to_stored(job.spec.outside_hu)))
    patches: list[npt.NDArray[np.int16]] = []
    ids: list[str] = []
    failures: list[dict[str, str]] = []
    for row, (finding_id, point) in enumerate(
        zip(unit.finding_ids, unit.points_lps_mm, strict=True)
    ):
        try:
            if unit.archive is not None:
                cut, point = unit.archive.volume(row, job.spec)
            else:
                assert volume is not None
                cut = volume
            patches.append(cut_patch(transform, cut, point, job.spec))
            ids.append(finding_id)
        except ScanError:
            raise  # voxels that cannot be decoded: no other finding will fare better
        except NoduleNetError as error:
            failures.append(finding_failure(finding_id, error))
    result = UnitResult(
        unit=unit.name,
        finding_ids=tuple(ids),
        hashes=tuple(content_hash(p) for p in patches),
        failures=tuple(failures),
        # After the cuts: of compressed scans some are known only then.
        warnings=() if volume is None else tuple(volume.warnings),
        source_state=state,
    )
    return result, np.stack(patches) if patches else _empty(job.spec)


def _refuse_foreign_worker(job: Job) -> None:
    if job.version != __version__:
        raise SetupError(
            f"worker {socket.gethostname()}: has nodulenet {__version__}, but {job.version} asks "
            f"for the work; install the same version"
        )
    if not (job.store / HEAD).is_file():
        raise SetupError(
            f"worker {socket.gethostname()}: does not see the store {job.store}; it must be on a "
            f"file system that all workers share under the same path (store=PATH)"
        )


_ONE_PREPARATION = Lock()


def _cached_preparation(spec: PatchSpec, outside: float) -> Compose:
    # A cluster's worker may run units in several threads; MONAI's first import is for one.
    with _ONE_PREPARATION:
        return _preparation_of(spec, outside)


@lru_cache(maxsize=1)
def _preparation_of(spec: PatchSpec, outside: float) -> Compose:
    return preparation(spec, outside=outside)


def _unit_failure(outcome: Outcome[Unit, UnitResult]) -> dict[str, str]:
    return scan_failure(outcome.unit.name, len(outcome.unit.finding_ids), outcome.error)


def _failures_of(
    name: str, results: dict[str, UnitResult], failed: dict[str, dict[str, str]]
) -> Sequence[dict[str, str]]:
    return results[name].failures if name in results else [failed[name]]


def _say_probably_ras(failures: Sequence[dict[str, str]], progress: Progress) -> None:
    turned = sum(PROBABLY_RAS in f["error"] for f in failures)
    if turned:
        progress.say(
            f"warning: {turned} points lie in their scans only with x and y turned, so the whole "
            f"table is probably RAS and the patches of its other points are wrong, too; set "
            f"source.space=ras"
        )


def _group_warnings(results: Sequence[UnitResult]) -> list[str]:
    units: dict[str, list[str]] = {}
    for result in results:
        for warning in result.warnings:
            units.setdefault(warning, []).append(result.unit)
    return [
        f"{names[0]}: {text}" if len(names) == 1 else f"{len(names)} scans ({names[0]} ..): {text}"
        for text, names in units.items()
    ]


def _empty(spec: PatchSpec) -> npt.NDArray[np.int16]:
    return np.empty((0, *spec.stored_shape), dtype=np.int16)
