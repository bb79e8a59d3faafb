"""Own scans and positions in any file that is read: CSV, markups, detections, masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from nodulenet.config.schema import PointsSource
from nodulenet.ct import CTVolume, open_ct
from nodulenet.ct.outside import require_some_inside
from nodulenet.errors import DataError, FindingsError, ScanError, UsageError
from nodulenet.findings.image_points import names_images, place_on_images, read_image_points
from nodulenet.findings.labels import RATING, keep_rating
from nodulenet.findings.luna25 import CSV_POINT_COLUMNS
from nodulenet.findings.patients import unnamed_patients
from nodulenet.findings.point_files import POINT_FILES, PointRows, csv_rows, read_points_file
from nodulenet.findings.points import SCAN_ENDINGS, our_name, read_points_csv, to_lps_mm
from nodulenet.findings.reading import csv_columns
from nodulenet.findings.reference_frame import carry_over, says_its_frame
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
    originals: dict[str, str] = field(default_factory=dict)


def read_own_scans(source: PointsSource) -> Findings:
    """Own scans and their positions as findings; a scan that is absent is left to be listed.

    ``source.points`` is one file for all scans (CSV with ``scan_id``, LUNA25's table, detections
    that name their images), or a folder with a file a scan, named as the scan: markups,
    detections, masks, CSV.

    Where ``source.scans`` is a table of scans, its acquisition columns join the findings, and its
    patients where the positions name none. Patients get pseudonyms unless ``source.keep_ids``.

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
    table = keep_rating(_with_patients(_with_scans(table, scans, read), source, scans, read))
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
        originals=read.originals,
    )


def _with_scans(table: pd.DataFrame, scans: dict[str, ListedScan], read: _Read) -> pd.DataFrame:
    """The findings with what the table of scans knows of each one's acquisition."""
    result = table.copy()
    if isinstance(read.places, ScanTable):
        read.notes.extend(_unchosen(scans.values(), read.places))
        for column in ACQUISITION_COLUMNS:
            known = {name: scan.acquisition.get(column) for name, scan in scans.items()}
            values = result["scan_id"].map(known).replace("", None)
            if column not in result.columns and values.notna().any():
                result[column] = values
    return result


def _with_patients(
    table: pd.DataFrame, source: PointsSource, scans: dict[str, ListedScan], read: _Read
) -> pd.DataFrame:
    """The findings with their patients, under pseudonyms unless the source keeps its ids."""
    given = "patient_id" in table.columns
    if not given:
        # A study stands for its patient, where that is not named: its series are of one person.
        patients = {name: scan.patient_id or scan.study_uid for name, scan in scans.items()}
        table = table.assign(patient_id=table["scan_id"].map(patients).replace("", None))
        if table["patient_id"].isna().all():
            read.notes.append("no patient_id column: every scan counts as a patient of its own")
        else:
            read.notes.append("no patient_id column: patients are those of the table of scans")
    unnamed = unnamed_patients(table, keep_ids=source.keep_ids)
    read.notes.extend(unnamed.notes)
    read.originals.update(unnamed.originals)
    table = unnamed.table
    return table if given else table.assign(patient_id=table["patient_id"].fillna(table["scan_id"]))


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
        volume = _scan_for(source, scan_id, _needs_scan(source, file), read.places)
        rows = _read_in_space(source, file, volume)
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


def _read_in_space(source: PointsSource, file: Path, volume: CTVolume | None) -> PointRows:
    """The rows of a file; a declared space means those that do not say theirs: CSV, detections."""
    if _is_csv(file):
        in_images = names_images(csv_columns(file, source.csv))
        return read_points_file(
            file,
            space=None if in_images else source.space,
            volume=volume,
            csv=source.csv,
            first_pixel=source.first_pixel if in_images else None,
        )
    rows = read_points_file(file)
    if rows.kind == "detections" and source.space != "lps":
        return read_points_file(file, space=source.space)
    return rows


def _is_csv(file: Path) -> bool:
    return file.suffix.lower() in (".csv", ".txt")


Need = Literal["no", "if there", "yes"]


def _needs_scan(source: PointsSource, file: Path) -> Need:
    """Whether scans are opened for a file's points: to place them, or to compare their frames."""
    if not _is_csv(file):
        return "no"
    columns = csv_columns(file, source.csv)
    if set(CSV_POINT_COLUMNS) <= set(columns):
        return "no"
    if names_images(columns) or source.space == "voxel":
        return "yes"
    return "if there" if says_its_frame([our_name(c, columns) for c in columns]) else "no"


def _scan_for(
    source: PointsSource, scan_id: str, need: Need, places: ScanFolder | ScanTable
) -> CTVolume | None:
    """The opened scan, where it is needed.

    Raises:
        ScanError: it cannot be opened, or is absent and its points cannot be placed without it.
    """
    scan = None if need == "no" else places.find(scan_id)
    if scan is not None:
        return open_ct(scan.path, series_uid=scan.series_uid, irregular=source.irregular)
    if need == "yes":
        raise ScanError(
            f"absent from {source.scans}, so its points have no place in millimetres; add it"
        )
    return None


def _read_of_all_scans(source: PointsSource, read: _Read) -> pd.DataFrame:
    file = source.points
    need = _needs_scan(source, file)
    if need != "no":
        return _read_by_scan(source, need, read)
    rows = _read_in_space(source, file, None)
    read.notes.extend(rows.notes)
    _refuse_unnamed_scans(source, rows.table)
    return rows.table


def _read_by_scan(source: PointsSource, need: Need, read: _Read) -> pd.DataFrame:
    """A CSV of several scans, each of which is opened to place its points or compare its frame."""
    file = source.points
    in_images = names_images(csv_columns(file, source.csv))
    if in_images:
        rows = read_image_points(file, form=source.csv)
    else:
        rows = read_points_csv(file, source.space, form=source.csv)[0]
    _refuse_unnamed_scans(source, rows)
    parts = []
    for scan_id, part in rows.groupby("scan_id", sort=False):
        try:
            volume = _scan_for(source, str(scan_id), need, read.places)
            table = _placed(part, volume, source, in_images, read)
        except DataError as error:
            what = f"scan {scan_id} ({len(part)} findings)"
            read.failures.append({"what": what, "error": str(error)})
            continue
        parts.append(table.assign(scan_id=scan_id))
    if not parts:
        raise FindingsError(f"{file}: {read.failures[0]['what']}: {read.failures[0]['error']}")
    return pd.concat(parts).sort_index().reset_index(drop=True)


def _placed(
    part: pd.DataFrame,
    volume: CTVolume | None,
    source: PointsSource,
    in_images: bool,
    read: _Read,
) -> pd.DataFrame:
    """The rows of one scan in LPS mm, as far as they mean places of it."""
    notes: tuple[str, ...] = ()
    if in_images:
        assert volume is not None
        part, notes = place_on_images(part, volume, source.points, first_pixel=source.first_pixel)
        points = part[list(POINT_COLUMNS)].to_numpy(dtype=float)
    else:
        points = to_lps_mm(part[["x", "y", "z"]].to_numpy(dtype=float), source.space, volume)
        part = part.drop(columns=["x", "y", "z"])
    table = csv_rows(part, points, "csv").table.set_index(part.index)
    read.notes.extend(notes)
    if volume is not None:
        # The rows are this scan's, whatever the table of scans calls it.
        own = table.assign(scan_id=volume.series_uid)
        table, notes = carry_over(own, volume, source.points)
        read.notes.extend(notes)
        require_some_inside(volume, points, str(source.points), space=source.space)
    return table


def _refuse_unnamed_scans(source: PointsSource, rows: pd.DataFrame) -> None:
    if "scan_id" not in rows.columns:
        raise FindingsError(
            f"{source.points}: column 'scan_id' is missing; it names each point's scan in "
            f"{source.scans}; for files of single scans give a folder with a file a scan, named as "
            f"the scan"
        )
