"""Any file of positions as rows in LPS millimetres: one door for every tool that makes them.

Positions are read, never found: detecting nodules is out of scope. They come from a reader's
click, a detector's boxes, a segmentation or a list; docs/points.md says where to get them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.schema import CsvFormat
from nodulenet.ct import CTVolume
from nodulenet.ct.outside import require_some_inside
from nodulenet.errors import FindingsError, PointOutsideScanError, UsageError
from nodulenet.findings.detections import records_of, rows_of_detections
from nodulenet.findings.image_points import names_images, place_on_images, read_image_points
from nodulenet.findings.json_file import read_json, shown
from nodulenet.findings.luna25 import (
    CSV_POINT_COLUMNS,
    POINT_LIST_TYPE,
    read_luna25_csv,
    rows_of_point_list,
)
from nodulenet.findings.points import (
    Space,
    is_of_scan,
    points_of_scan,
    read_points_csv,
    to_lps_mm,
)
from nodulenet.findings.reading import csv_columns
from nodulenet.findings.reference_frame import carry_over, names_of
from nodulenet.findings.slicer import read_slicer_markups, rows_of_markups
from nodulenet.findings.table import POINT_COLUMNS

PointKind = Literal["csv", "images", "luna25", "point_list", "slicer", "detections", "mask"]

POINT_FILES = (
    ".csv, .mrk.json or .fcsv (3D Slicer), .json (LUNA25 point list, MONAI detections), or a mask "
    "(.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, DICOM Segmentation)"
)
"""What :func:`read_points_file` reads, for messages."""


@dataclass(frozen=True)
class PointRows:
    """Positions from a file.

    Attributes:
        table: one row a position: ``finding_id`` (text), ``x_lps_mm, y_lps_mm, z_lps_mm``
            (float64, finite), then what the file has besides: ``scan_id``, ``diameter_mm``,
            ``detection_score``, ``mask_label``, ``description``, ``label``, ...
        kind: what was found in the file.
        notes: what was left out or assumed, for people.
    """

    table: pd.DataFrame
    kind: PointKind
    notes: tuple[str, ...] = ()


def read_points_file(
    path: str | Path,
    *,
    space: Space | None = None,
    volume: CTVolume | None = None,
    minimum_score: float | None = None,
    threshold: float | None = None,
    minimum_volume_mm3: float | None = None,
    connectivity: int | None = None,
    labels: Collection[int] | None = None,
    csv: CsvFormat | None = None,
    first_pixel: float | None = None,
) -> PointRows:
    """Positions from a file of any of the kinds in :data:`POINT_FILES`, in LPS mm.

    A file that names scans keeps them in ``scan_id``: choose a scan's rows with
    :func:`nodulenet.findings.points.points_of_scan`. With ``volume`` points that were made in
    another frame of reference are left out (see
    :func:`nodulenet.findings.reference_frame.carry_over`), and a file whose points of the scan all
    lie outside it is refused.

    Args:
        path: the file.
        space: what the coordinates of a CSV ("lps", "ras", "voxel") or of detections ("lps",
            "ras") are. Defaults to None: LPS. Every other kind says by itself.
        volume: the scan; needed for points in voxels and in images; a mask's place is compared
            with it. Defaults to None.
        minimum_score: detections only, see
            :func:`nodulenet.findings.detections.read_monai_detections`.
        threshold: masks only, as the next ones; see
            :func:`nodulenet.findings.masks.findings_from_mask`.
        minimum_volume_mm3: masks only.
        connectivity: masks only.
        labels: masks only.
        csv: CSV only, how its fields are separated and decimals written. Defaults to None: commas
            and points.
        first_pixel: CSV with rows and columns of DICOM images only: what they are at the centre of
            the first pixel, 0, 0.5 or 1. Defaults to None: 0, as in DICOM's Image Plane and most
            viewers.

    Raises:
        FindingsError: the file is missing, of no known kind, or wrong; names line or field.
        PointOutsideScanError: all points of the scan lie outside it; says in which other space
            they would lie inside.
        UsageError: an argument does not fit the kind of file, or voxels without ``volume``.
        MissingDependencyError: a DICOM Segmentation without highdicom.
    """
    file = Path(path)
    for_masks = {
        "threshold": threshold,
        "minimum_volume_mm3": minimum_volume_mm3,
        "connectivity": connectivity,
        "labels": labels,
    }
    given_for_masks = {name: value for name, value in for_masks.items() if value is not None}
    name = file.name.lower()
    if not file.is_file():
        kind = "is a folder" if file.is_dir() else "there is no such file"
        raise FindingsError(f"{file}: {kind}; expected {POINT_FILES}")
    if name.endswith((".csv", ".txt")):
        _refuse_arguments(file, "no mask", **given_for_masks)
        _refuse_arguments(file, "no file of detections", minimum_score=minimum_score)
        rows = _of_csv(file, space, volume, csv, first_pixel)
    else:
        _refuse_arguments(file, "no CSV", csv=csv, first_pixel=first_pixel)
        rows = _of_other(file, space, volume, minimum_score, given_for_masks)
    return rows if volume is None else _in_scan(rows, volume, file, space or "lps")


def _of_other(
    file: Path,
    space: Space | None,
    volume: CTVolume | None,
    minimum_score: float | None,
    given_for_masks: dict[str, Any],
) -> PointRows:
    name = file.name.lower()
    if _is_mask(file):
        _refuse_arguments(file, "a mask", space=space, minimum_score=minimum_score)
        return _of_mask(file, volume, given_for_masks)
    _refuse_arguments(file, "no mask", **given_for_masks)
    if name.endswith(".json"):
        return _of_json(file, space, minimum_score)
    _refuse_arguments(file, "no file of detections", minimum_score=minimum_score)
    if name.endswith(".fcsv"):
        _refuse_arguments(file, "of 3D Slicer and names its space", space=space)
        table, notes = read_slicer_markups(file)
        return _rows(table, "slicer", notes)
    raise FindingsError(f"{file}: is of no known kind by its ending; expected {POINT_FILES}")


def _in_scan(rows: PointRows, volume: CTVolume, file: Path, space: Space) -> PointRows:
    """The rows as far as they mean places of the scan."""
    table, notes = carry_over(rows.table, volume, file)
    mine = table[is_of_scan(table, names_of(volume))]
    points = mine[list(POINT_COLUMNS)].to_numpy(dtype=float)
    try:
        require_some_inside(volume, points, str(file), space=space)
    except PointOutsideScanError as error:
        if rows.kind in ("csv", "detections"):
            raise
        raise PointOutsideScanError(
            f"{error}; this file says by itself that it is in LPS: have it written again, or give "
            f"its numbers as a CSV"
        ) from None
    return PointRows(table.reset_index(drop=True), rows.kind, (*rows.notes, *notes))


def _is_mask(file: Path) -> bool:
    from nodulenet.findings.mask_files import MASK_ENDINGS, looks_like_dicom

    return file.name.lower().endswith(MASK_ENDINGS) or looks_like_dicom(file)


def _of_csv(
    file: Path,
    space: Space | None,
    volume: CTVolume | None,
    form: CsvFormat | None,
    first_pixel: float | None,
) -> PointRows:
    columns = csv_columns(file, form or CsvFormat())
    if set(CSV_POINT_COLUMNS) <= set(columns):
        _refuse_other_space(file, space, "LUNA25's table")
        return _rows(read_luna25_csv(file, form=form or CsvFormat()), "luna25")
    if names_images(columns):
        _refuse_arguments(file, "in rows and columns of images", space=space)
        return _of_images(file, volume, form, first_pixel or 0.0)
    _refuse_arguments(file, "not in rows and columns of images", first_pixel=first_pixel)
    rows, declared = read_points_csv(file, space or "lps", form=form)
    try:
        points = to_lps_mm(rows[["x", "y", "z"]].to_numpy(dtype=float), declared, volume)
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    return csv_rows(rows.drop(columns=["x", "y", "z"]), points, "csv")


def _of_images(
    file: Path, volume: CTVolume | None, form: CsvFormat | None, first_pixel: float
) -> PointRows:
    rows = read_image_points(file, form=form)
    if volume is None:
        raise UsageError(
            f"{file}: gives rows and columns of DICOM images, which need their series to become "
            f"millimetres; give the scan they were marked on"
        )
    if "scan_id" in rows:
        rows = points_of_scan(rows, names_of(volume), str(file))
    placed, notes = place_on_images(rows, volume, file, first_pixel=first_pixel)
    points = placed[list(POINT_COLUMNS)].to_numpy(dtype=float)
    return csv_rows(placed, points, "images", notes)


def csv_rows(
    rows: pd.DataFrame,
    points_lps_mm: npt.NDArray[np.float64],
    kind: PointKind,
    notes: tuple[str, ...] = (),
) -> PointRows:
    """Rows of a CSV with their places, named by their line where they have no name.

    Args:
        rows: the CSV's columns without its coordinates; the index counts the rows of the file.
        points_lps_mm: (n, 3) x, y, z.
        kind: what was found in the file.
        notes: what was left out.
    """
    rest = rows.drop(columns=[c for c in POINT_COLUMNS if c in rows.columns])
    ids = rest.pop("finding_id") if "finding_id" in rest else [f"row-{i}" for i in rows.index]
    table = pd.DataFrame({"finding_id": ids}, index=rows.index)
    table[list(POINT_COLUMNS)] = points_lps_mm
    return _rows(pd.concat([table, rest], axis=1), kind, notes)


def _of_json(file: Path, space: Space | None, minimum_score: float | None) -> PointRows:
    data = read_json(file, "points or detections")
    if isinstance(data, dict) and ("markups" in data or file.name.lower().endswith(".mrk.json")):
        _refuse_arguments(
            file,
            "of 3D Slicer, names its space and has no scores",
            space=space,
            minimum_score=minimum_score,
        )
        table, notes = rows_of_markups(file, data)
        return _rows(table, "slicer", notes)
    if isinstance(data, dict) and ("points" in data or data.get("type") == POINT_LIST_TYPE):
        _refuse_other_space(file, space, "a LUNA25 point list")
        _refuse_arguments(file, "a list of points without scores", minimum_score=minimum_score)
        return _rows(rows_of_point_list(file, data), "point_list")
    if records_of(data) is not None:
        if space == "voxel":
            raise UsageError(f"{file}: boxes of detections are in 'lps' or 'ras', not in voxels")
        table, notes = rows_of_detections(
            file, data, space=space or "lps", minimum_score=minimum_score
        )
        return _rows(table, "detections", notes)
    raise FindingsError(
        f"{file}: found {shown(data)}, expected one of: 'markups' (3D Slicer), 'points' of type "
        f"{POINT_LIST_TYPE!r} (LUNA25), records with 'box' and 'label_scores' or 'score' (MONAI "
        "detection); give such a file, or a CSV with x, y, z"
    )


def _of_mask(file: Path, volume: CTVolume | None, given: dict[str, Any]) -> PointRows:
    from nodulenet.findings.masks import read_mask

    table, notes = read_mask(file, ct=volume, **given)
    if "scan_id" in table.columns and volume is not None and volume.format != "dicom":
        # A converted scan no longer knows its series; that it lies in one place was checked.
        uid = table["scan_id"].iloc[0]
        table = table.rename(columns={"scan_id": "referenced_series_uid"})
        notes = (*notes, f"{file}: refers to the series {uid}; taken for the scan that is given")
    return _rows(table, "mask", notes)


def _rows(table: pd.DataFrame, kind: PointKind, notes: tuple[str, ...] = ()) -> PointRows:
    first = ["finding_id", *POINT_COLUMNS]
    rest = [column for column in table.columns if column not in first]
    return PointRows(table[[*first, *rest]].reset_index(drop=True), kind, notes)


def _refuse_other_space(file: Path, space: Space | None, what: str) -> None:
    if space not in (None, "lps"):
        raise UsageError(f"{file}: is {what}, which is in LPS mm; leave out space={space!r}")


def _refuse_arguments(file: Path, what: str, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{file}: is {what}; leave out {name}={value!r}")
