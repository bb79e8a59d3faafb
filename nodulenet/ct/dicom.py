"""DICOM CT series: find them in a folder, choose one, open it as a volume."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nodulenet.ct.dicom_header import ImageHeader, is_dicom, read_header
from nodulenet.ct.dicom_pixels import DicomSource
from nodulenet.ct.dicom_stack import stack_slices
from nodulenet.ct.sources import plausibility_warnings
from nodulenet.ct.volume import CTVolume
from nodulenet.errors import ScanError, SeriesSelectionError

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_OTHER_SCANS = (".nii", ".gz", ".mhd", ".mha", ".nrrd", ".nhdr")
_NAMED = 4


@dataclass(frozen=True)
class SeriesInfo:
    """One CT series of a folder, as a user chooses it. ``spacing_mm`` is (x, y, z)."""

    series_uid: str
    description: str
    slices: int
    spacing_mm: tuple[float, float, float]

    def __str__(self) -> str:
        x, y, z = self.spacing_mm
        return (
            f"{self.series_uid} '{self.description}' ({self.slices} slices, {x:.3g} x {y:.3g} x "
            f"{z:.3g} mm)"
        )


def list_series(folder: str | os.PathLike[str]) -> list[SeriesInfo]:
    """The CT series in a folder and its subfolders, localizers left out, by UID.

    Raises:
        ScanError: the folder is empty or a file in it is cut short.
    """
    series = _ct_series(_read_folder(Path(folder))[0])
    return [_info(uid, headers) for uid, headers in sorted(series.items())]


def open_dicom_folder(folder: Path, series_uid: str | None = None) -> CTVolume:
    """Opens the CT series in a folder and its subfolders.

    Files that are not DICOM, other modalities and localizers are left out; files named like DICOM
    that cannot be read are left out with a warning.

    Args:
        folder: where the slices lie.
        series_uid: the series to open. Defaults to the only one.

    Raises:
        ScanError: no files, or a slice is cut short or not a plain CT image.
        SeriesSelectionError: no CT series, several and none chosen, or the chosen one absent.
        GeometryError: the slices do not form a regular stack.
    """
    headers, notes = _read_folder(folder)
    series = _ct_series(headers)
    if not series:
        raise _no_series(folder, headers)
    return _open_chosen(folder, series, series_uid, notes)


def open_dicom_file(path: Path, series_uid: str | None = None) -> CTVolume:
    """Opens the series that a DICOM file belongs to, from the file's own folder.

    Raises:
        ScanError: the file is not DICOM, no image, damaged, or of another modality.
        SeriesSelectionError: ``series_uid`` names another series.
        GeometryError: the slices do not form a regular stack.
    """
    header = read_header(path)
    if header is None:
        raise ScanError(f"{path}: is DICOM without an image; expected a slice of a CT series")
    if header.modality != "CT":
        raise ScanError(
            f"{path}: has modality {header.modality or 'none'!r}; expected 'CT'; give a CT series"
        )
    neighbours, notes = _read_files(sorted(p for p in path.parent.iterdir() if p.is_file()))
    same = [
        other
        for other in neighbours
        if (other.series_uid, other.study_uid) == (header.series_uid, header.study_uid)
    ]
    series = _ct_series(same) or {_identity([header]): [header]}
    return _open_chosen(path, series, series_uid, notes)


def _open_chosen(
    where: Path,
    series: dict[str, list[ImageHeader]],
    series_uid: str | None,
    notes: Sequence[str],
) -> CTVolume:
    listing = "; ".join(str(_info(uid, headers)) for uid, headers in sorted(series.items()))
    if series_uid is None and len(series) > 1:
        raise SeriesSelectionError(
            f"{where}: holds {len(series)} CT series, expected one; choose with --series UID "
            f"(series_uid= in Python): "
            f"{listing}"
        )
    if series_uid is not None and series_uid not in series:
        raise SeriesSelectionError(
            f"{where}: holds no CT series {series_uid!r}; expected one of: {listing}"
        )
    uid = series_uid if series_uid is not None else next(iter(series))
    headers = series[uid]
    place = f"{where}: series {uid}"
    _check_images(headers)
    stack = stack_slices(place, headers)
    warnings = [*notes, *stack.warnings]
    if not headers[0].series_uid:
        warnings.append(
            f"{where}: SeriesInstanceUID is empty; {uid}, made from its content, stands in for it"
        )
    bare = [h for h in stack.slices if h.slope is None or h.intercept is None]
    if bare:
        warnings.append(
            f"{place}: {len(bare)} slices lack Rescale Slope or Intercept; stored values are "
            "taken as HU (slope 1, intercept 0)"
        )
    source = DicomSource(stack.slices)
    warnings.extend(f"{place}: {text}" for text in plausibility_warnings(source))
    return CTVolume(
        source,
        stack.spacing_mm,
        stack.origin_lps_mm,
        stack.direction,
        series_uid=uid,
        path=where,
        format="dicom",
        warnings=tuple(warnings),
    )


def _read_folder(folder: Path) -> tuple[list[ImageHeader], list[str]]:
    files = sorted(Path(root) / name for root, _, names in os.walk(folder) for name in names)
    if not files:
        raise ScanError(f"{folder}: is an empty folder; expected DICOM slices; check the path")
    return _read_files(files)


def _read_files(files: Iterable[Path]) -> tuple[list[ImageHeader], list[str]]:
    headers, unread = [], []
    for path in files:
        if not is_dicom(path):
            if path.suffix.lower() in _DICOM_SUFFIXES:
                unread.append(path.name)
            continue
        header = read_header(path)
        if header is not None and header.has_pixels:
            headers.append(header)
    notes = []
    if unread:
        more = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        notes.append(
            f"{len(unread)} files named like DICOM are not DICOM and were left out: "
            f"{', '.join(unread[:_NAMED])}{more}"
        )
    return headers, notes


def _ct_series(headers: Iterable[ImageHeader]) -> dict[str, list[ImageHeader]]:
    """CT images by SeriesInstanceUID, or by a name from their content where that is empty."""
    groups: dict[tuple[str, str], list[ImageHeader]] = {}
    for header in headers:
        if header.modality == "CT" and not header.is_localizer:
            # An empty UID does not tell studies apart.
            study = "" if header.series_uid else header.study_uid
            groups.setdefault((header.series_uid, study), []).append(header)
    return {_identity(group): group for group in groups.values()}


def _identity(headers: Sequence[ImageHeader]) -> str:
    """The series' UID; for an empty one a UID from the slices' content.

    It does not depend on names or places of files (DICOM PS3.5 B.2: 2.25 and a number).
    """
    if headers[0].series_uid:
        return headers[0].series_uid
    ordered = sorted(headers, key=lambda header: (header.position_lps_mm or (), header.path.name))
    digest = hashlib.sha256(repr([h.position_lps_mm for h in ordered]).encode())
    digest.update(ordered[len(ordered) // 2].path.read_bytes())
    return f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}"


def _info(uid: str, headers: Sequence[ImageHeader]) -> SeriesInfo:
    first = headers[0]
    row, column = (np.nan, np.nan) if first.pixel_spacing_mm is None else first.pixel_spacing_mm
    step = np.nan if first.slice_thickness_mm is None else first.slice_thickness_mm
    placed = [h for h in headers if h.position_lps_mm and h.orientation]
    if len(placed) > 1:
        cosines = np.array(placed[0].orientation)
        normal = np.cross(cosines[:3], cosines[3:])
        along = np.sort(np.array([h.position_lps_mm for h in placed]) @ normal)
        step = float(np.median(np.diff(along)))
    return SeriesInfo(uid, first.description, len(headers), (column, row, step))


def _check_images(headers: Sequence[ImageHeader]) -> None:
    for header in headers:
        if header.frames != 1:
            raise ScanError(
                f"{header.path}: is an enhanced (multi-frame) image of {header.frames} frames; "
                "expected one slice a file; convert it to single slices or NIfTI"
            )
        if (
            header.samples != 1
            or header.bits_allocated not in (8, 16, 32)
            or not 0 < header.bits_stored <= header.high_bit + 1 <= header.bits_allocated
            or min(header.rows, header.columns) < 1
        ):
            raise ScanError(
                f"{header.path}: has {header.columns} x {header.rows} pixels of {header.samples} "
                f"samples, {header.bits_stored} of {header.bits_allocated} bits (highest "
                f"{header.high_bit}); expected one grey value of 8, 16 or "
                "32 bits; export the CT again"
            )
        if any(v is not None and not np.isfinite(v) for v in (header.slope, header.intercept)):
            raise ScanError(
                f"{header.path}: has Rescale Slope {header.slope} and Intercept "
                f"{header.intercept}; expected finite numbers; export the CT again"
            )


def _no_series(folder: Path, headers: Sequence[ImageHeader]) -> SeriesSelectionError:
    if headers:
        kinds = Counter(h.modality if not h.is_localizer else "localizer" for h in headers)
        found = ", ".join(f"{count} x {kind or 'no modality'}" for kind, count in kinds.items())
        return SeriesSelectionError(
            f"{folder}: holds no CT series, only {found}; expected modality 'CT'; give a CT series"
        )
    scans = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in _OTHER_SCANS)
    if scans:
        return SeriesSelectionError(
            f"{folder}: holds no DICOM, but {len(scans)} scan files such as {scans[0]}; expected "
            "one scan; give the path of the file"
        )
    return SeriesSelectionError(
        f"{folder}: holds no DICOM image; expected the slices of one CT series; check the path"
    )
