"""Where the slices of LIDC-IDRI's scans lie: from a geometry table, or from the DICOM files."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from numpy.typing import NDArray
from pydicom.misc import is_dicom

from nodulenet.ct import CTVolume, open_ct
from nodulenet.ct.dicom_header import PARSE_ERRORS
from nodulenet.errors import FindingsError, GeometryError
from nodulenet.findings.reading import FIRST_ROW_LINE, read_csv

GEOMETRY_COLUMNS = (
    "scan_id",
    "slice_thickness",
    "slice_spacing",
    "pixel_spacing",
    "n_slices",
    "z_first",
)
"""Columns that a geometry table must have (mm)."""

OPTIONAL_COLUMNS = (
    "patient_id",
    "z_last",
    "uniform_z",
    "z_positions",
    "x_origin_lps_mm",
    "y_origin_lps_mm",
)
"""Columns that are used where they are there; ``z_positions`` is joined by ``;``."""

MAX_SLICES = 10_000
"""More slices than any CT series has."""

AXIAL_COSINE = 0.999
"""Least cosine between the slices' normal and the patient's long axis: readers saw axial slices."""


@dataclass(frozen=True)
class ScanGeometry:
    """One scan's slices, as readers' marks need them.

    Attributes:
        scan_id: SeriesInstanceUID.
        patient_id: empty where it is not known.
        slice_thickness_mm: the tag, which need not be the distance of slices.
        spacing_ij_mm: distance of rows and of columns.
        z_mm: z of each slice's ImagePositionPatient, rising.
        origin_xy_mm: LPS x and y of the first voxel, for a scan whose rows and columns run along
            x and y; None where unknown.
        volume: the scan, where its DICOM files are there; it then places points.
    """

    scan_id: str
    patient_id: str
    slice_thickness_mm: float
    spacing_ij_mm: tuple[float, float]
    z_mm: NDArray[np.float64]
    origin_xy_mm: tuple[float, float] | None = None
    volume: CTVolume | None = None

    @property
    def slice_spacing_mm(self) -> float:
        """Median distance of slices; the thickness where there is one slice."""
        return (
            float(np.median(np.diff(self.z_mm)))
            if len(self.z_mm) > 1
            else (self.slice_thickness_mm)
        )

    def slice_index(self, z_mm: float) -> tuple[int, float]:
        """Index of the slice nearest to ``z_mm``, and how far away it is, in mm."""
        offsets = np.abs(self.z_mm - z_mm)
        index = int(offsets.argmin())
        return index, float(offsets[index])

    def to_lps_mm(self, ijk: NDArray[np.float64], z_mm: float) -> tuple[float, float, float]:
        """LPS x, y, z of an index (row, column, slice by rising z); x and y NaN where unknown.

        Args:
            ijk: continuous index.
            z_mm: the point's z as the readers' file has it, taken where there is no DICOM.
        """
        i, j, k = ijk.tolist()
        if self.volume is not None:
            if self.volume.direction[2, 2] < 0:  # its slices are stacked towards the feet
                k = len(self.z_mm) - 1 - k
            x, y, z = self.volume.points_of([j, i, k]).tolist()
            return x, y, z
        if self.origin_xy_mm is None:
            return float("nan"), float("nan"), z_mm
        x0, y0 = self.origin_xy_mm
        return x0 + j * self.spacing_ij_mm[1], y0 + i * self.spacing_ij_mm[0], z_mm


class GeometryTable:
    """A CSV with one row a scan; a row is checked when its scan is asked for.

    Raises:
        FindingsError: the file is no such table, or names a scan twice.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        columns = [c for c in (*GEOMETRY_COLUMNS, *OPTIONAL_COLUMNS) if c != "scan_id"]
        table = read_csv(self.path, GEOMETRY_COLUMNS, ids=["scan_id"], texts=columns)
        table["scan_id"] = table["scan_id"].str.strip()
        twice = np.flatnonzero(table["scan_id"].duplicated())
        if len(twice):
            first = table["scan_id"].tolist().index(table["scan_id"].iloc[twice[0]])
            raise FindingsError(
                f"{self.path}: line {twice[0] + FIRST_ROW_LINE}, column 'scan_id': "
                f"{table['scan_id'].iloc[twice[0]]!r} is there already in line "
                f"{first + FIRST_ROW_LINE}, expected one row a scan; remove one of them"
            )
        self._rows = table
        self._index = {scan_id: row for row, scan_id in enumerate(table["scan_id"])}

    @property
    def scan_ids(self) -> list[str]:
        return list(self._index)

    def __contains__(self, scan_id: str) -> bool:
        return scan_id in self._index

    def geometry(self, scan_id: str) -> ScanGeometry:
        """The geometry of one scan.

        Raises:
            FindingsError: a value of its row is missing, no number or impossible.
        """
        row = _Row(self.path, self._index[scan_id] + FIRST_ROW_LINE, self._rows, scan_id)
        spacing = row.positive("pixel_spacing")
        x0, y0 = row.optional("x_origin_lps_mm"), row.optional("y_origin_lps_mm")
        return ScanGeometry(
            scan_id=scan_id,
            patient_id=row.text("patient_id"),
            slice_thickness_mm=row.positive("slice_thickness"),
            spacing_ij_mm=(spacing, spacing),
            z_mm=row.positions(),
            origin_xy_mm=None if x0 is None or y0 is None else (x0, y0),
        )


@dataclass(frozen=True)
class _Row:
    path: Path
    line: int
    table: pd.DataFrame
    scan_id: str

    def text(self, column: str) -> str:
        if column not in self.table.columns:
            return ""
        return str(self.table[column].iloc[self.line - FIRST_ROW_LINE]).strip()

    def optional(self, column: str) -> float | None:
        return None if self.text(column) == "" else self.number(column)

    def number(self, column: str) -> float:
        try:
            value = float(self.text(column))
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise self.wrong(column, "a finite number")
        return value

    def positive(self, column: str) -> float:
        value = self.number(column)
        if value <= 0:
            raise self.wrong(column, "a number of mm above 0")
        return value

    def positions(self) -> NDArray[np.float64]:
        """z of every slice, rising."""
        count = self.number("n_slices")
        if count != int(count) or not 1 <= count <= MAX_SLICES:
            raise self.wrong("n_slices", f"a whole number from 1 to {MAX_SLICES}")
        listed = self.text("z_positions")
        if not listed:
            return self._regular(int(count))
        try:
            z_mm = np.array(sorted(float(z) for z in listed.split(";")))
        except ValueError:
            raise self.wrong("z_positions", "numbers joined by ';'") from None
        if len(z_mm) != count or not np.isfinite(z_mm).all():
            raise self.wrong(
                "z_positions", f"{int(count)} finite numbers joined by ';', as n_slices says"
            )
        return z_mm

    def _regular(self, count: int) -> NDArray[np.float64]:
        if self.text("uniform_z") not in ("", "1", "1.0", "True", "true", "TRUE"):
            raise self.wrong(
                "z_positions", "the z of every slice joined by ';', because uniform_z is not 1"
            )
        first = self.number("z_first")
        step = self.positive("slice_spacing") if count > 1 else 0.0
        z_mm = np.array([first + number * step for number in range(count)])
        last = self.optional("z_last")
        if last is not None and count > 1 and abs(z_mm[-1] - last) > step / 2:
            raise self.wrong(
                "z_last", f"{z_mm[-1]:g}, which z_first, slice_spacing and n_slices lead to"
            )
        return z_mm

    def wrong(self, column: str, expected: str) -> FindingsError:
        text = self.text(column)
        shown = "nothing" if not text else repr(text if len(text) < 60 else f"{text[:60]}...")
        return FindingsError(
            f"{self.path}: line {self.line}, column {column!r}: found {shown}, expected "
            f"{expected} (scan {self.scan_id}); correct the row"
        )


@dataclass(frozen=True)
class _Series:
    """What is known of a CT series before it is opened; ``path`` opens this series alone."""

    path: Path
    patient_id: str
    slice_thickness_mm: float | None


class DicomFolder:
    """The CT series below a folder, found by their headers; opened when asked for.

    Raises:
        FindingsError: there is no such folder, or no CT series in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise FindingsError(
                f"{self.path}: there is no such folder; expected one with the DICOM series that "
                f"were read"
            )
        self._series = _find_series(self.path)
        if not self._series:
            raise FindingsError(
                f"{self.path}: holds no CT series in DICOM files; expected the series that were "
                f"read; check the path"
            )

    @property
    def scan_ids(self) -> list[str]:
        return list(self._series)

    def __contains__(self, scan_id: str) -> bool:
        return scan_id in self._series

    def scan_path(self, scan_id: str) -> Path:
        """What ``open_ct`` opens as this series: its folder, or a file of it in a mixed one."""
        return self._series[scan_id].path

    def geometry(self, scan_id: str) -> tuple[ScanGeometry, tuple[str, ...]]:
        """The geometry of one series, and what was assumed.

        Raises:
            ScanError: the series cannot be opened as a regular axial stack.
        """
        series = self._series[scan_id]
        volume = open_ct(series.path, series_uid=scan_id)
        if abs(volume.direction[2, 2]) < AXIAL_COSINE:
            raise GeometryError(
                f"{series.path}: series {scan_id}: its slices are not axial (the normal's z is "
                f"{volume.direction[2, 2]:.3f}), expected at least {AXIAL_COSINE}; readers' marks "
                f"belong to axial slices"
            )
        slices = np.arange(volume.shape[0])
        z_mm = np.sort(volume.points_of(np.column_stack([0 * slices, 0 * slices, slices]))[:, 2])
        notes: tuple[str, ...] = ()
        thickness = series.slice_thickness_mm
        if thickness is None or not thickness > 0:
            thickness = volume.spacing_mm[2]
            notes = (
                f"series {scan_id}: has no slice thickness; the distance of slices, "
                f"{thickness:g} mm, stands in for it",
            )
        geometry = ScanGeometry(
            scan_id=scan_id,
            patient_id=series.patient_id,
            slice_thickness_mm=thickness,
            spacing_ij_mm=(volume.spacing_mm[1], volume.spacing_mm[0]),
            z_mm=z_mm,
            volume=volume,
        )
        return geometry, notes


def _is_dicom(path: Path) -> bool:
    """By its mark; what cannot be opened (a broken link, no rights) is no series of ours."""
    try:
        return path.is_file() and bool(is_dicom(path))
    except OSError:
        return False


def _find_series(root: Path) -> dict[str, _Series]:
    first: dict[str, tuple[Path, str, float | None]] = {}
    folders: dict[str, set[Path]] = {}
    for folder, _, names in sorted(os.walk(root)):
        for name in sorted(names):
            path = Path(folder) / name
            header = _header(path) if _is_dicom(path) else None
            if header is not None:
                uid, patient, thickness = header
                first.setdefault(uid, (path, patient, thickness))
                folders.setdefault(uid, set()).add(path.parent)
    below: dict[Path, set[str]] = {}
    for uid, places in folders.items():
        for place in places:
            for ancestor in (place, *place.parents):
                below.setdefault(ancestor, set()).add(uid)
    series = {}
    for uid, (file, patient, thickness) in sorted(first.items()):
        own = Path(os.path.commonpath(folders[uid]))
        alone = below[own] == {uid}
        series[uid] = _Series(own if alone else file, patient, thickness)
    return series


def _header(path: Path) -> tuple[str, str, float | None] | None:
    """Series UID, patient id and slice thickness of a CT image; None for anything else."""
    tags = ["SeriesInstanceUID", "PatientID", "SliceThickness", "Modality", "ImageType"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
            kinds = data.get("ImageType", None) or ()
            uid = str(data.get("SeriesInstanceUID", "") or "").strip()
            if data.get("Modality", "") != "CT" or "LOCALIZER" in kinds or not uid:
                return None
            thickness = data.get("SliceThickness", None)
            patient = str(data.get("PatientID", "") or "").strip()
            return uid, patient, float(thickness) if thickness not in (None, "") else None
    except PARSE_ERRORS:
        return None  # where it belongs to a series that is asked for, open_ct says what is wrong
