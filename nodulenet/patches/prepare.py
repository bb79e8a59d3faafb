"""Scans and findings in, a patch store out. The unit of work is a scan.

Patches are made by a MONAI ``Compose`` of :mod:`nodulenet.transforms`, the same that
classification uses on a new scan.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Config
from nodulenet.ct import CTVolume, open_ct
from nodulenet.ct.patch import PROBABLY_RAS
from nodulenet.errors import DataError, NoduleNetError, ScanError, StoreError
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.patches.check import check_config
from nodulenet.patches.source import LoadedSource, load_source
from nodulenet.patches.store import PatchStore, StoreWriter, UnitResult, content_hash
from nodulenet.patches.values import Values
from nodulenet.progress import Progress, Silent

if TYPE_CHECKING:
    from monai.transforms import Compose

# Rows of an archive that make one unit: small enough to lose, large enough for few files.
_ARCHIVE_ROWS = 256


@dataclass(frozen=True)
class Prepared:
    """A finished preparation.

    Attributes:
        store: the store.
        failures: ``{"what", "error"}`` of every scan or finding without a patch.
        warnings: what was tolerated, scan by scan.
        made, reused: units made now, and units that were there.
    """

    store: PatchStore
    failures: list[dict[str, str]]
    warnings: list[str]
    made: int
    reused: int


@dataclass(frozen=True)
class _Unit:
    name: str
    rows: pd.DataFrame
    path: Path | None


def prepare(config: Config, *, progress: Progress | None = None) -> Prepared:
    """Make the patch store of a configuration, or complete it.

    Scans that are finished are not read again. A scan that is absent or unreadable, and a point
    outside its scan, is listed in ``failures``; the others go on.

    Raises:
        DataError: the source cannot be read at all, or not one patch could be made.
    """
    progress = progress or Silent()
    check_config(config)
    source = load_source(config)
    for note in source.findings.notes:
        progress.say(f"note: {note}")
    spec = config.patch
    _refuse_full_disk(config, len(source.findings.table))
    writer = StoreWriter(store_folder(config, source), spec, source.values, source.description)
    units = list(_units(source))
    results: list[UnitResult] = []
    made = 0
    # Outside is filled in the values of the store.
    outside = float(source.values.to_stored(spec.outside_hu))
    transform = preparation(spec, outside=outside)
    with progress.task("prepare", len(units), "scans" if source.archive is None else "pieces") as t:
        for unit in units:
            state = _source_state(unit.path)
            result = writer.finished(unit.name, state)
            if result is None:
                result, patches = _prepare_unit(unit, source, spec, transform, state)
                # A unit without one patch leaves no journal, so it is tried again next time.
                if result.finding_ids:
                    writer.write(result, patches)
                made += 1
            results.append(result)
            t.advance(note=unit.name[-12:])
    failures = [*source.findings.failures, *(f for r in results for f in r.failures)]
    turned = sum(PROBABLY_RAS in f["error"] for f in failures)
    if turned:
        progress.say(
            f"warning: {turned} points lie in their scans only with x and y turned, so the whole "
            f"table is probably RAS and the patches of its other points are wrong, too; set "
            f"source.space=ras"
        )
    store = writer.finish(source.findings.table, results, failures)
    return Prepared(
        store=store,
        failures=failures,
        warnings=[f"{r.unit}: {w}" for r in results for w in r.warnings],
        made=made,
        reused=len(units) - made,
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


def _units(source: LoadedSource) -> Iterator[_Unit]:
    table = source.findings.table
    if source.archive is not None:
        for start in range(0, len(table), _ARCHIVE_ROWS):
            yield _Unit(f"rows-{start:07d}", table.iloc[start : start + _ARCHIVE_ROWS], None)
        return
    for scan_id, rows in table.groupby("scan_id", sort=True):
        yield _Unit(str(scan_id), rows, source.findings.scans.get(str(scan_id)))


def _prepare_unit(
    unit: _Unit,
    source: LoadedSource,
    spec: PatchSpec,
    transform: Compose,
    state: dict[str, Any],
) -> tuple[UnitResult, npt.NDArray[np.int16]]:
    patches: list[npt.NDArray[np.int16]] = []
    ids: list[str] = []
    failures: list[dict[str, str]] = []
    warnings: tuple[str, ...] = ()
    try:
        volume: CTVolume | None = None
        if source.archive is None:
            if unit.path is None:
                raise DataError(
                    f"no scan of that name in {source.where}; its findings are left out. Add the "
                    f"scan and prepare again, or remove its rows"
                )
            volume = open_ct(unit.path)
            warnings = tuple(volume.warnings)
        for position, row in zip(unit.rows.index, unit.rows.itertuples(), strict=True):
            try:
                if source.archive is not None:
                    cut, point = source.archive.volume(position)
                else:
                    assert volume is not None
                    cut, point = volume, np.array([getattr(row, c) for c in POINT_COLUMNS])
                patches.append(cut_patch(transform, cut, point, spec))
                ids.append(str(row.finding_id))
            except ScanError:
                raise  # voxels that cannot be decoded: no other finding will fare better
            except NoduleNetError as error:
                failures.append({"what": f"finding {row.finding_id}", "error": str(error)})
    except NoduleNetError as error:
        what = f"scan {unit.name} ({len(unit.rows)} findings)"
        return UnitResult(unit.name, failures=({"what": what, "error": str(error)},)), _empty(spec)
    result = UnitResult(
        unit=unit.name,
        finding_ids=tuple(ids),
        hashes=tuple(content_hash(p) for p in patches),
        failures=tuple(failures),
        warnings=warnings,
        source_state=state,
    )
    return result, np.stack(patches) if patches else _empty(spec)


def _refuse_full_disk(config: Config, findings: int) -> None:
    """Refuse beforehand what the disk cannot hold; a full disk midway helps nobody."""
    needed = findings * math.prod(config.patch.stored_shape) * np.dtype(np.int16).itemsize
    folder = config.store_path
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StoreError(
            f"{config.store_path}: {findings} patches need {needed / 2**30:.1f} GB, "
            f"{free / 2**30:.1f} GB are free; choose another disk (store=PATH), smaller patches, "
            f"or source.negatives_per_positive"
        )


def _empty(spec: PatchSpec) -> npt.NDArray[np.int16]:
    return np.empty((0, *spec.stored_shape), dtype=np.int16)


def _source_state(path: Path | None) -> dict[str, Any]:
    """What tells whether a scan has been replaced since: number, size and time of its files."""
    if path is None or not path.exists():
        return {}
    # The voxels of x.mhd lie in x.raw or x.zraw beside it.
    files = sorted(path.rglob("*")) if path.is_dir() else sorted(path.parent.glob(path.stem + ".*"))
    stats = [f.stat() for f in files if f.is_file()]
    return {
        "files": len(stats),
        "bytes": sum(s.st_size for s in stats),
        "modified_ns": max((s.st_mtime_ns for s in stats), default=0),
    }
