"""Own scans and positions in any file that is read: CSV, markups, detections, masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from nodulenet.config.schema import PointsSource
from nodulenet.ct import CTVolume, open_ct
from nodulenet.errors import DataError, FindingsError, ScanError, UsageError
from nodulenet.findings.labels import RATING, keep_rating
from nodulenet.findings.point_files import POINT_FILES, PointRows, read_points_file
from nodulenet.findings.points import SCAN_ENDINGS, Space, read_points_csv
from nodulenet.findings.scan_table import (
    ACQUISITION_COLUMNS,
    ListedScan,
    ScanFolder,
    ScanTable,
    open_scans,
)
from nodulenet.findings.table import POINT_COLUMNS, Findings, validate_findings

_MASK_ENDINGS = tuple(ending for ending in SCAN_ENDINGS if ending != ".zip")
_POINT_ENDINGS = (".mrk.json", ".json", ".fcsv", ".csv", *_MASK_ENDINGS, ".dcm")


@dataclass
class _Read:
    """What grows while files of positions are read."""

    places: ScanFolder | ScanTable
    tables: list[pd.DataFrame] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)


def read_own_scans(source: PointsSource) -> Findings:
    """Own scans and their positions as findings; a scan that is absent is left to be listed.

    ``source.points`` is one file for all scans (CSV with ``scan_id``, LUNA25's table, detections
    that name their images), or a folder with a file a scan, named as the scan: markups,
    detections, masks, CSV.

    Where ``source.scans`` is a table of scans, its acquisition columns join the findings, and its
    patients where the positions name none.

    Raises:
        DataError: the folder or table of scans is absent.
        FindingsError: the positions or the table are wrong; of a folder, no file can be used.
    """
    read = _Read(open_scans(source.scans, source.choose))
    if source.points.is_dir():
        for scan_id, file in _files_by_scan(source.points):
            _read_one(source, scan_id, file, read)
        if not read.tables:
            first = f"; first: {read.failures[0]['error']}" if read.failures else ""
            raise FindingsError(
                f"{source.points}: holds no file of positions that can be used; expected files "
                f"named as the scans: {POINT_FILES}{first}"
            )
        table = pd.concat(read.tables, ignore_index=True)
    else:
        table = _read_of_all_scans(source, read)
    ids = sorted(set(table["scan_id"]))
    scans = {s: scan for s in ids if (scan := read.places.find(s)) is not None}
    table = keep_rating(_with_scans(table, scans, read))
    if RATING in table.columns:
        values = ", ".join(map(str, table[RATING].dropna().unique()[:4]))
        read.notes.append(
            f"column 'label' holds {values}, which is more than 0 and 1: it is a rating, and the "
            f"findings have no label until label_rule makes one of it (column: label)"
        )
    return Findings(
        validate_findings(table, str(source.points)),
        {name: scan.path for name, scan in scans.items()},
        tuple(read.notes),
        tuple(read.failures),
        series={name: scan.series_uid for name, scan in scans.items() if scan.series_uid},
    )


def _with_scans(table: pd.DataFrame, scans: dict[str, ListedScan], read: _Read) -> pd.DataFrame:
    """The findings with what the table of scans knows of each one's patient and acquisition."""
    result = table.copy()
    if isinstance(read.places, ScanTable):
        read.notes.extend(_unchosen(scans.values(), read.places))
        for column in ACQUISITION_COLUMNS:
            known = {name: scan.acquisition.get(column) for name, scan in scans.items()}
            values = result["scan_id"].map(known).replace("", None)
            if column not in result.columns and values.notna().any():
                result[column] = values
    if "patient_id" not in result.columns:
        # A study stands for its patient, where that is not named: its series are of one person.
        patients = {name: scan.patient_id or scan.study_uid for name, scan in scans.items()}
        named = result["scan_id"].map(patients).replace("", None)
        result["patient_id"] = named.fillna(result["scan_id"])
        if named.isna().all():
            read.notes.append("no patient_id column: every scan counts as a patient of its own")
        else:
            read.notes.append("no patient_id column: patients are those of the table of scans")
    return result


def _unchosen(scans: Iterable[ListedScan], places: ScanTable) -> list[str]:
    chosen = {(scan.path, scan.series_uid) for scan in places.chosen()}
    others = [scan.scan_id for scan in scans if (scan.path, scan.series_uid) not in chosen]
    if not others:
        return []
    return [
        f"{len(others)} scans are named by their UID and taken, though {places.path} has not "
        f"chosen them; first {others[0]}"
    ]


def _files_by_scan(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.iterdir()):
        ending = next((e for e in _POINT_ENDINGS if file.name.lower().endswith(e)), None)
        # The voxels of x.mhd lie in x.raw.
        if file.is_file() and ending is not None and not file.name.startswith("."):
            yield file.name[: -len(ending)], file


def _read_one(source: PointsSource, scan_id: str, file: Path, read: _Read) -> None:
    """The positions of one scan from its own file; what is wrong is listed, the others go on."""
    try:
        needs_scan = source.space == "voxel" and _is_csv(file)
        volume = _open(source, scan_id, read.places) if needs_scan else None
        rows = _read_in_space(file, source.space, volume)
    except (DataError, UsageError) as error:
        read.failures.append({"what": f"file {file.name}", "error": str(error)})
        return
    table = rows.table.drop(columns=["scan_id", "image"], errors="ignore")
    read.notes.extend(rows.notes)
    read.tables.append(
        table.assign(
            scan_id=scan_id, finding_id=[f"{scan_id}:{name}" for name in table["finding_id"]]
        )
    )


def _read_in_space(file: Path, space: Space, volume: CTVolume | None = None) -> PointRows:
    """The rows of a file; a declared space means those that do not say theirs: CSV, detections."""
    if _is_csv(file):
        return read_points_file(file, space=space, volume=volume)
    rows = read_points_file(file)
    if rows.kind == "detections" and space != "lps":
        return read_points_file(file, space=space)
    return rows


def _is_csv(file: Path) -> bool:
    return file.suffix.lower() in (".csv", ".txt")


def _read_of_all_scans(source: PointsSource, read: _Read) -> pd.DataFrame:
    file = source.points
    if _is_csv(file) and source.space == "voxel":
        return _read_voxels(source, read)
    rows = _read_in_space(file, source.space)
    table = rows.table
    read.notes.extend(rows.notes)
    if "scan_id" not in table.columns:
        raise FindingsError(
            f"{file}: column 'scan_id' is missing; it names each point's scan in {source.scans}; "
            f"for files of single scans give a folder with a file a scan, named as the scan"
        )
    return table


def _read_voxels(source: PointsSource, read: _Read) -> pd.DataFrame:
    """A CSV in voxels of several scans, each of which is opened for its geometry."""
    rows, _ = read_points_csv(source.points, "voxel")
    if "scan_id" not in rows.columns:
        raise FindingsError(
            f"{source.points}: column 'scan_id' is missing; it names each point's scan in "
            f"{source.scans}"
        )
    parts = []
    for scan_id, part in rows.groupby("scan_id", sort=False):
        try:
            volume = _open(source, str(scan_id), read.places)
            points = volume.points_of(part[["x", "y", "z"]].to_numpy(float))
        except ScanError as error:
            what = f"scan {scan_id} ({len(part)} findings)"
            read.failures.append({"what": what, "error": str(error)})
            continue
        places = pd.DataFrame(points, part.index, list(POINT_COLUMNS))
        parts.append(pd.concat([part.drop(columns=["x", "y", "z"]), places], axis=1))
    if not parts:
        raise FindingsError(
            f"{source.points}: {read.failures[0]['what']}: {read.failures[0]['error']}"
        )
    table = pd.concat(parts).sort_index()
    if "finding_id" not in table.columns:
        table["finding_id"] = [f"row-{i}" for i in table.index]
    return table.reset_index(drop=True)


def _open(source: PointsSource, scan_id: str, places: ScanFolder | ScanTable) -> CTVolume:
    scan = places.find(scan_id)
    if scan is None:
        raise ScanError(
            f"absent from {source.scans}, so its points in voxels have no place in millimetres; "
            f"add it"
        )
    return open_ct(scan.path, series_uid=scan.series_uid, irregular=source.irregular)
