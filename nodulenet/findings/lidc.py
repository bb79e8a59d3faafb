"""LIDC-IDRI: the readers' XML to one row a physical nodule.

Armato et al., "The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative
(IDRI)", Medical Physics 38:915-931, 2011; doi:10.7937/K9/TCIA.2015.LO9QL9SX (CC BY 3.0).
Marks are read and joined as pylidc 0.2.3 does (see :mod:`nodulenet.findings.lidc_xml` and
:mod:`nodulenet.findings.lidc_contours`). Ratings are the readers' opinion, not pathology.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nodulenet.errors import DataError, FindingsError, ScanError, UsageError
from nodulenet.findings.lidc_contours import (
    Clusters,
    cluster_marks,
    max_diameter_mm,
    sphere_diameter_mm,
    volume_mm3,
)
from nodulenet.findings.lidc_geometry import DicomFolder, GeometryTable, ScanGeometry
from nodulenet.findings.lidc_xml import RATINGS, Reading, ReadNodule, ReadPoint, read_reader_xml
from nodulenet.findings.table import Findings, validate_findings

Metric = Literal["pylidc", "mm"]

NODULE_COLUMNS = (
    "finding_id",
    "scan_id",
    "patient_id",
    "x_lps_mm",
    "y_lps_mm",
    "z_lps_mm",
    "diameter_mm",
    "volume_mm3",
    "max_diameter_mm",
    "malignancy_median",
    "malignancy_mean",
    "malignancy_sd",
    "malignancy_range",
    "readers",
    "annotations",
    "reading_sessions",
    *(f"{name}_median" for name in RATINGS if name != "malignancy"),
    *(f"{name}_readers" for name in RATINGS),
    "max_diameter_mm_readers",
    "volume_mm3_readers",
    "sessions",
    "xml_nodule_ids",
    "xml_file",
    "center_i",
    "center_j",
    "center_k",
    "cluster_tolerance",
    "cluster_warning",
)
"""Columns of :attr:`LidcNodules.table`."""

POINT_COLUMNS = (
    "mark_id",
    "scan_id",
    "patient_id",
    "session",
    "x_lps_mm",
    "y_lps_mm",
    "z_lps_mm",
    "center_i",
    "center_j",
    "center_k",
    "points",
    "reason",
    "xml_file",
)
"""Columns of :attr:`LidcNodules.small` and :attr:`LidcNodules.non_nodules`."""

SCAN_COLUMNS = (
    "scan_id",
    "patient_id",
    "xml_file",
    "reading_sessions",
    "nodules",
    "annotations",
    "small_marks",
    "non_nodule_marks",
    "stray_points",
    "cluster_tolerance",
    "cluster_warning",
)
"""Columns of :attr:`LidcNodules.scans`."""

# A corrected file carries this in its name (161-resubmitted-correction-3-9-12.xml).
_CORRECTION = re.compile(r"resubmitted|correct", re.IGNORECASE)
_NAMED = 3


@dataclass(frozen=True)
class LidcNodules:
    """What the readers of LIDC-IDRI marked.

    Attributes:
        table: one row a physical nodule of 3 mm or more, scan by scan, within a scan by rising
            ``center_k`` (pylidc's order):

            * ``finding_id`` = ``scan_id:n``, n counting the scan's nodules from 0, those that
              ``minimum_readers`` leaves out included; ``scan_id`` = SeriesInstanceUID.
            * ``x_lps_mm, y_lps_mm, z_lps_mm``: the centre in LPS mm; x and y are NaN where the
              in-plane origin is unknown. ``center_i, center_j, center_k``: the same as an index
              (row, column, slice by rising z; from 0). The centre is the mean over marks of the
              mean contour vertex.
            * ``volume_mm3``: mean over marks of the volume inside the contours;
              ``diameter_mm``: diameter of the sphere of that volume (NaN where it is 0);
              ``max_diameter_mm``: mean over marks of the largest distance between two vertices
              of one contour (pylidc's ``Annotation.diameter``).
            * ``malignancy_mean``, ``malignancy_median`` over marks; agreement of the marks as
              ``malignancy_sd`` (of the population, 0 for one mark) and ``malignancy_range``
              (highest minus lowest); ``texture_median`` and so on.
            * ``annotations``: marks joined; ``readers``: reading sessions they come from, which
              are fewer where a reader drew a nodule in parts; ``reading_sessions``: sessions of
              the file, so ``reading_sessions - readers`` did not mark it as 3 mm or more.
            * ``malignancy_readers`` and so on: one value a mark, joined by ``;``, in the order of
              ``sessions`` (from 0) and ``xml_nodule_ids``.
            * ``cluster_tolerance``: distance at which the scan's marks were joined (voxels for
              metric "pylidc", else mm); ``cluster_warning`` 1: a nodule of the scan has more
              than four marks at the least tolerance.
        small: marks of nodules below 3 mm (not joined): one row a mark.
        non_nodules: marks of other things of 3 mm or more: one row a mark.
        scans: one row a scan that was read, those without nodules included.
        scan_paths: the DICOM path of each scan, where ``dicom`` was given.
        notes: what was left out or assumed.
        failures: ``{"what", "error"}`` of files and scans that could not be taken over.
    """

    table: pd.DataFrame
    small: pd.DataFrame
    non_nodules: pd.DataFrame
    scans: pd.DataFrame
    scan_paths: dict[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failures: tuple[dict[str, str], ...] = ()


def lidc_nodules(
    xml: str | Path,
    *,
    scans: str | Path | None = None,
    dicom: str | Path | None = None,
    metric: Metric = "pylidc",
    minimum_readers: int = 1,
    strict: bool = False,
) -> LidcNodules:
    """The nodules in LIDC-IDRI's reader files, with the geometry of their scans.

    Args:
        xml: a folder, searched with its subfolders for ``*.xml``, or one file.
        scans: geometry table, one row a scan: ``scan_id, slice_thickness, slice_spacing,
            pixel_spacing, n_slices, z_first`` in mm; used where there: ``patient_id``,
            ``z_last``, ``uniform_z``, ``z_positions`` (every slice's z joined by ``;``) and
            ``x_origin_lps_mm, y_origin_lps_mm`` (without them x and y are unknown).
        dicom: folder with the DICOM series. With both, the table gives patient and slice
            thickness, DICOM places the points; a series that DICOM lacks or that cannot be opened
            falls back to the table. At least one of the two is needed.
        metric: "pylidc" measures distances of contours in voxel indices along all axes and
            compares them with the slice thickness in mm, as pylidc does; "mm" measures in mm.
        minimum_readers: nodules marked in fewer reading sessions are left out.
        strict: raise at the first failure instead of listing it.

    Raises:
        UsageError: neither ``scans`` nor ``dicom``, or an unknown metric.
        FindingsError: nothing could be read; with ``strict`` any failure.
        ScanError: with ``strict``, a scan that cannot be opened.

    Example:
        >>> nodules = lidc_nodules("tcia-lidc-xml", scans="scans.csv")       # doctest: +SKIP
        >>> nodules.table[["scan_id", "malignancy_median", "diameter_mm"]]   # doctest: +SKIP
    """
    if scans is None and dicom is None:
        raise UsageError(
            "lidc: found neither scans nor dicom, expected the scans' geometry; give the geometry "
            "table (scans) or the folder of the DICOM series (dicom)"
        )
    if metric not in ("pylidc", "mm"):
        raise UsageError(f"lidc: metric is {metric!r}, expected 'pylidc' or 'mm'")
    if minimum_readers < 1:
        raise UsageError(f"lidc: minimum_readers is {minimum_readers}, expected 1 or more")
    collected = _Collected(strict=strict)
    places = _Places(
        table=None if scans is None else GeometryTable(scans),
        folder=None if dicom is None else DicomFolder(dicom),
        collected=collected,
    )
    root = Path(xml)
    for reading in _readings(root, collected):
        geometry = places.find(reading)
        if geometry is not None:
            try:
                _take(reading, geometry, metric, _name(root, reading.path), collected)
            except FindingsError as error:
                collected.fail(f"series {reading.series_uid}", error)
    if not collected.scans:
        raise _nothing_left(root, collected)
    places.note_unread()
    return _result(collected, minimum_readers, places.scan_paths())


def read_lidc(
    xml: str | Path,
    *,
    dicom: str | Path,
    scans: str | Path | None = None,
    metric: Metric = "pylidc",
    minimum_readers: int = 1,
    strict: bool = False,
) -> Findings:
    """LIDC-IDRI's nodules as findings with their scans; arguments as in :func:`lidc_nodules`.

    ``label`` is unknown: a label rule makes it, for instance on ``malignancy_median``. Findings of
    scans that could not be opened have no place in mm; they are left out and listed.

    Raises:
        UsageError: an argument is wrong.
        FindingsError: nothing could be read, or no nodule has a place in mm.
    """
    nodules = lidc_nodules(
        xml,
        scans=scans,
        dicom=dicom,
        metric=metric,
        minimum_readers=minimum_readers,
        strict=strict,
    )
    lost = nodules.table["x_lps_mm"].isna()
    failures = list(nodules.failures)
    for scan_id, count in nodules.table["scan_id"][lost].value_counts(sort=False).items():
        error = (
            f"its DICOM slices are not in {dicom} or cannot be opened, and the geometry table has "
            f"no x_origin_lps_mm and y_origin_lps_mm, so the nodules have no place in LPS mm; add "
            f"the series"
        )
        failures.append({"what": f"scan {scan_id} ({count} findings)", "error": error})
    table = nodules.table[~lost]
    if table.empty and failures:
        raise FindingsError(f"{xml}: {failures[0]['what']}: {failures[0]['error']}")
    return Findings(
        table=validate_findings(table, str(xml)),
        scans=nodules.scan_paths,
        notes=nodules.notes,
        failures=tuple(failures),
    )


@dataclass
class _Collected:
    """What grows while files are read."""

    strict: bool
    nodules: list[dict[str, Any]] = field(default_factory=list)
    small: list[dict[str, Any]] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    scans: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    without_patient: list[str] = field(default_factory=list)

    def fail(self, what: str, error: DataError) -> None:
        if self.strict:
            raise error
        self.failures.append({"what": what, "error": " ".join(str(error).split())})


@dataclass
class _Places:
    """The geometry of each scan from whatever was given."""

    table: GeometryTable | None
    folder: DicomFolder | None
    collected: _Collected
    found: set[str] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)

    def find(self, reading: Reading) -> ScanGeometry | None:
        """The geometry of a reading's scan; None where it is listed as a failure."""
        uid = reading.series_uid
        in_table = self.table is not None and uid in self.table
        in_folder = self.folder is not None and uid in self.folder
        if not in_table and not in_folder:
            given = [str(p.path) for p in (self.table, self.folder) if p is not None]
            error = FindingsError(
                f"{reading.path}: line {reading.line}: series {uid} is not in "
                f"{' or '.join(given)}; expected every series that was read; add the scan, or move "
                f"the file elsewhere"
            )
            self.collected.fail(f"series {uid}", error)
            return None
        self.found.add(uid)
        opened = self._open(uid) if in_folder else None
        if self.table is None or not in_table:
            return opened
        try:
            listed = self.table.geometry(uid)
        except FindingsError as error:
            self.collected.fail(f"series {uid}", error)
            return opened
        return listed if opened is None else _both(listed, opened)

    def _open(self, uid: str) -> ScanGeometry | None:
        assert self.folder is not None
        try:
            geometry, notes = self.folder.geometry(uid)
        except ScanError as error:
            self.collected.fail(f"series {uid}", error)
            return None
        self.collected.notes.extend(notes)
        self.opened.add(uid)
        return geometry

    def note_unread(self) -> None:
        for place in (self.table, self.folder):
            unread = [] if place is None else [u for u in place.scan_ids if u not in self.found]
            if place is not None and unread:
                self.collected.notes.append(
                    f"{place.path}: {len(unread)} of {len(place.scan_ids)} series have no reader "
                    f"file: {_some(unread)}"
                )

    def scan_paths(self) -> dict[str, Path]:
        if self.folder is None:
            return {}
        return {uid: self.folder.scan_path(uid) for uid in sorted(self.opened)}


def _both(listed: ScanGeometry, opened: ScanGeometry) -> ScanGeometry:
    return ScanGeometry(
        scan_id=opened.scan_id,
        patient_id=listed.patient_id or opened.patient_id,
        slice_thickness_mm=listed.slice_thickness_mm,
        spacing_ij_mm=opened.spacing_ij_mm,
        z_mm=opened.z_mm,
        volume=opened.volume,
    )


def _readings(root: Path, collected: _Collected) -> list[Reading]:
    """One reading a series, in the order of their files."""
    files = _files(root)
    by_series: dict[str, list[Reading]] = {}
    xrays = []
    for file in files:
        try:
            reading = read_reader_xml(file)
        except FindingsError as error:
            collected.fail(f"file {_name(root, file)}", error)
            continue
        if reading is None:
            xrays.append(_name(root, file))
        else:
            by_series.setdefault(reading.series_uid, []).append(reading)
    if xrays:
        collected.notes.append(
            f"{len(xrays)} chest X-ray reads (IdriReadMessage) were left out, because their "
            f"coordinates are pixels of an X-ray: {_some(xrays)}"
        )
    return [_chosen(root, readings, collected) for readings in by_series.values()]


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise FindingsError(
            f"{root}: there is no such file or folder; expected LIDC-IDRI's reader XML"
        )
    files = sorted(
        Path(folder) / name
        for folder, _, names in os.walk(root)
        for name in names
        if name.lower().endswith(".xml")
    )
    if not files:
        raise FindingsError(
            f"{root}: holds no .xml files; expected LIDC-IDRI's reader XML (tcia-lidc-xml)"
        )
    return files


def _chosen(root: Path, readings: Sequence[Reading], collected: _Collected) -> Reading:
    """The corrected file of a series where there is one, else the first by path."""
    chosen = next((r for r in readings if _CORRECTION.search(r.path.name)), readings[0])
    others = [r for r in readings if r is not chosen]
    if others:
        same = all(_marks(other) == _marks(chosen) for other in others)
        collected.notes.append(
            f"series {chosen.series_uid} has {len(readings)} reader files with "
            f"{'the same' if same else 'different'} nodules; {_name(root, chosen.path)} was taken, "
            f"not {', '.join(_name(root, other.path) for other in others)}"
        )
    return chosen


def _marks(reading: Reading) -> list[Any]:
    """What two files must share to mean the same nodules, whatever the ids and their order."""
    return sorted(
        (
            tuple(nodule.ratings.values()),
            sorted((c.z_mm, c.inclusion, c.ij.tobytes()) for c in nodule.contours),
        )
        for nodule in reading.nodules
    )


def _take(
    reading: Reading, geometry: ScanGeometry, metric: Metric, file: str, collected: _Collected
) -> None:
    """One scan's rows."""
    indices = [_indices(reading.path, nodule, geometry) for nodule in reading.nodules]
    clusters = cluster_marks(_in_metric(indices, geometry, metric), geometry.slice_thickness_mm)
    if not clusters.resolved:
        collected.notes.append(
            f"series {geometry.scan_id}: nodules lie so close that "
            f"{max(map(len, clusters.members))} marks stay joined as one; look at it by hand "
            f"(cluster_warning)"
        )
    if not geometry.patient_id:
        collected.without_patient.append(geometry.scan_id)
    shared = {
        "scan_id": geometry.scan_id,
        "patient_id": geometry.patient_id or geometry.scan_id,
        "reading_sessions": reading.sessions,
        "xml_file": file,
        "cluster_tolerance": clusters.tolerance,
        "cluster_warning": int(not clusters.resolved),
    }
    for number, marks in enumerate(_by_rising_k(clusters, indices)):
        row = _nodule_row(
            [reading.nodules[m] for m in marks], [indices[m] for m in marks], geometry
        )
        collected.nodules.append({"finding_id": f"{geometry.scan_id}:{number}", **shared, **row})
    for points, rows in ((reading.small, collected.small), (reading.non_nodules, collected.others)):
        rows.extend({**shared, **_point_row(point, geometry)} for point in points)
    if reading.placeless:
        collected.notes.append(
            f"{file}: {reading.placeless} marks of small nodules or non-nodules name no point"
        )
    collected.scans.append(
        {
            **shared,
            "nodules": len(clusters.members),
            "annotations": len(reading.nodules),
            "small_marks": len(reading.small),
            "non_nodule_marks": len(reading.non_nodules),
            "stray_points": sum(nodule.stray_points for nodule in reading.nodules),
        }
    )


def _indices(file: Path, nodule: ReadNodule, geometry: ScanGeometry) -> NDArray[np.float64]:
    """(n, 3) vertices of one mark as index (row, column, slice).

    Raises:
        FindingsError: a contour lies between or beyond the scan's slices.
    """
    parts = []
    for contour in nodule.contours:
        k, offset = geometry.slice_index(contour.z_mm)
        if offset > geometry.slice_spacing_mm / 2:
            raise FindingsError(
                f"{file}: line {contour.line}: nodule {nodule.nodule_id!r} has a contour at "
                f"imageZposition {contour.z_mm:g}, {offset:g} mm from the nearest of the scan's "
                f"slices (z {geometry.z_mm[0]:g} to {geometry.z_mm[-1]:g}); expected at most half "
                f"their distance, {geometry.slice_spacing_mm / 2:g} mm; the geometry is that of "
                f"another scan, or slices are missing"
            )
        parts.append(np.column_stack([contour.ij, np.full(len(contour.ij), float(k))]))
    return np.concatenate(parts)


def _in_metric(
    indices: Sequence[NDArray[np.float64]], geometry: ScanGeometry, metric: Metric
) -> list[NDArray[np.float64]]:
    if metric == "pylidc":
        return list(indices)
    return [
        np.column_stack([ijk[:, :2] * geometry.spacing_ij_mm, geometry.z_mm[ijk[:, 2].astype(int)]])
        for ijk in indices
    ]


def _by_rising_k(
    clusters: Clusters, indices: Sequence[NDArray[np.float64]]
) -> list[tuple[int, ...]]:
    return sorted(
        clusters.members,
        key=lambda marks: float(np.mean([indices[mark][:, 2].mean() for mark in marks])),
    )


def _nodule_row(
    marks: Sequence[ReadNodule], indices: Sequence[NDArray[np.float64]], geometry: ScanGeometry
) -> dict[str, Any]:
    spacing = geometry.spacing_ij_mm
    volumes = [volume_mm3(m.contours, spacing, geometry.slice_thickness_mm) for m in marks]
    diameters = [max_diameter_mm(m.contours, spacing) for m in marks]
    centre = np.mean([ijk.mean(axis=0) for ijk in indices], axis=0)
    z_mm = float(np.mean([_mean_z_mm(mark) for mark in marks]))
    ratings = {name: [mark.ratings[name] for mark in marks] for name in RATINGS}
    malignancy = ratings["malignancy"]
    volume = float(np.mean(volumes))
    return {
        **_place(geometry, centre, z_mm),
        "diameter_mm": sphere_diameter_mm(volume),
        "volume_mm3": volume,
        "max_diameter_mm": float(np.mean(diameters)),
        "malignancy_mean": float(np.mean(malignancy)),
        "malignancy_sd": float(np.std(malignancy)),
        "malignancy_range": max(malignancy) - min(malignancy),
        "readers": len({mark.session for mark in marks}),
        "annotations": len(marks),
        **{f"{name}_median": float(np.median(values)) for name, values in ratings.items()},
        **{f"{name}_readers": _listed(values) for name, values in ratings.items()},
        "max_diameter_mm_readers": _listed([f"{value:.3f}" for value in diameters]),
        "volume_mm3_readers": _listed([f"{value:.2f}" for value in volumes]),
        "sessions": _listed([mark.session for mark in marks]),
        "xml_nodule_ids": _listed([mark.nodule_id for mark in marks]),
    }


def _mean_z_mm(mark: ReadNodule) -> float:
    vertices = [len(contour.ij) for contour in mark.contours]
    return float(np.average([contour.z_mm for contour in mark.contours], weights=vertices))


def _place(geometry: ScanGeometry, ijk: NDArray[np.float64], z_mm: float) -> dict[str, float]:
    x_lps, y_lps, z_lps = geometry.to_lps_mm(ijk, z_mm)
    i, j, k = ijk.tolist()
    return {
        "x_lps_mm": x_lps,
        "y_lps_mm": y_lps,
        "z_lps_mm": z_lps,
        "center_i": i,
        "center_j": j,
        "center_k": k,
    }


def _point_row(point: ReadPoint, geometry: ScanGeometry) -> dict[str, Any]:
    """A small nodule or a non-nodule; ``center_k`` is NaN where the scan has no slice there."""
    k, offset = geometry.slice_index(point.z_mm)
    place = _place(geometry, np.array([point.i, point.j, float(k)]), point.z_mm)
    if offset > geometry.slice_spacing_mm / 2:
        place |= {"center_k": float("nan"), "z_lps_mm": point.z_mm}
    return {
        **place,
        "mark_id": point.mark_id,
        "session": point.session,
        "points": point.points,
        "reason": point.reason,
    }


def _result(
    collected: _Collected, minimum_readers: int, scan_paths: dict[str, Path]
) -> LidcNodules:
    if collected.without_patient:
        collected.notes.append(
            f"{len(collected.without_patient)} series have no patient_id and count as patients of "
            f"their own: {_some(collected.without_patient)}"
        )
    table = pd.DataFrame(collected.nodules, columns=list(NODULE_COLUMNS))
    few = table["readers"] < minimum_readers
    if few.any():
        collected.notes.append(
            f"{int(few.sum())} of {len(table)} nodules were marked by fewer than "
            f"{minimum_readers} readers and left out"
        )
        table = table[~few].reset_index(drop=True)
    flat = int(table["diameter_mm"].isna().sum())
    if flat:
        collected.notes.append(f"{flat} nodules have contours without area, so no diameter_mm")
    small = pd.DataFrame(collected.small, columns=list(POINT_COLUMNS))
    others = pd.DataFrame(collected.others, columns=list(POINT_COLUMNS))
    astray = int(small["center_k"].isna().sum() + others["center_k"].isna().sum())
    if astray:
        collected.notes.append(
            f"{astray} of {len(small) + len(others)} marks of small nodules and non-nodules lie "
            f"where their scan has no slice; their center_k is empty"
        )
    return LidcNodules(
        table=table,
        small=small,
        non_nodules=others,
        scans=pd.DataFrame(collected.scans, columns=list(SCAN_COLUMNS)),
        scan_paths=scan_paths,
        notes=tuple(collected.notes),
        failures=tuple(collected.failures),
    )


def _nothing_left(root: Path, collected: _Collected) -> FindingsError:
    if not collected.failures:
        return FindingsError(
            f"{root}: holds no CT reads ({'; '.join(collected.notes)}); expected LidcReadMessage "
            f"files"
        )
    first = collected.failures[0]
    more = len(collected.failures) - 1
    others = f" (and {more} more failures)" if more else ""
    return FindingsError(f"{first['error']}{others}")


def _name(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix() if root.is_dir() else file.name


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _listed(values: Sequence[object]) -> str:
    return ";".join(str(value) for value in values)
