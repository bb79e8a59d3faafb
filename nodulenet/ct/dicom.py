"""DICOM CT series: find them in a folder, choose one, open it as a volume."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nodulenet.ct.dicom_file import DicomFile, OpenedFile, opened_files, opened_members
from nodulenet.ct.dicom_header import PARSE_ERRORS, ImageHeader, is_dicom, read_headers
from nodulenet.ct.dicom_pixels import DicomSource
from nodulenet.ct.dicom_resample import ResampledSource
from nodulenet.ct.dicom_stack import FARTHEST_MM, Irregular, stack_slices
from nodulenet.ct.planes import planes_of
from nodulenet.ct.sources import VoxelSource, one_line, plausibility_warnings
from nodulenet.ct.volume import CTVolume
from nodulenet.errors import ScanError, SeriesSelectionError

LARGEST_MATRIX = 8192
"""More rows or columns than any CT slice has (2048 in 2024): a damaged header."""

_GREY = ("MONOCHROME2", "MONOCHROME1", "")
"""Photometric interpretations that hold HU. Inverted display (MONOCHROME1) changes no value."""

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


def list_series(path: str | os.PathLike[str]) -> list[SeriesInfo]:
    """The CT series in a folder and its subfolders or in a zip archive, without localizers, by UID.

    Raises:
        ScanError: the folder is empty or a file in it is cut short.
    """
    scan = Path(path)
    opened = opened_members(scan) if scan.suffix.lower() == ".zip" else _files_below(scan)
    series = _ct_series(_read_files(opened)[0])
    return [series_info(uid, headers) for uid, headers in sorted(series.items())]


def open_dicom_folder(
    folder: Path, series_uid: str | None = None, *, irregular: Irregular = "refuse"
) -> CTVolume:
    """Opens the CT series in a folder and its subfolders.

    Files that are not DICOM, other modalities and localizers are left out; files named like DICOM
    that cannot be read are left out with a warning.

    Args:
        folder: where the slices lie.
        series_uid: the series to open. Defaults to the only one.
        irregular: what becomes of tilted or unevenly spaced slices. Defaults to "refuse".

    Raises:
        ScanError: no files, or a slice is cut short or not a plain CT image.
        SeriesSelectionError: no CT series, several and none chosen, or the chosen one absent.
        GeometryError: the slices do not form a regular stack.
    """
    return _open_collection(folder, _files_below(folder), series_uid, irregular)


def series_files(path: str | os.PathLike[str], series_uid: str) -> tuple[DicomFile, ...]:
    """The files of a CT series that was opened, without localizers.

    Args:
        path: the folder, zip archive or file that it was opened from.
        series_uid: ``CTVolume.series_uid``.

    Returns:
        By instance number, then by name; one of a multi-frame series. None where there is no such
        series.

    Raises:
        ScanError: no files, or a damaged one.
    """
    scan = Path(path)
    if scan.is_dir():
        opened = _files_below(scan)
    elif scan.suffix.lower() == ".zip":
        opened = opened_members(scan)
    else:
        opened = opened_files(sorted(p for p in scan.parent.iterdir() if p.is_file()))
    headers = _ct_series(_read_files(opened)[0]).get(series_uid, [])
    ordered = sorted(headers, key=lambda h: (h.instance_number or 0, h.name))
    return tuple(dict.fromkeys(header.file for header in ordered))


def open_dicom_zip(
    path: Path, series_uid: str | None = None, *, irregular: Irregular = "refuse"
) -> CTVolume:
    """As :func:`open_dicom_folder` for a zip archive, which is read in place.

    Raises:
        ScanError: no archive, damaged, encrypted, hostile names, a decompression bomb; and as for
            a folder.
    """
    return _open_collection(path, opened_members(path), series_uid, irregular)


def _open_collection(
    where: Path, opened: Iterable[OpenedFile], series_uid: str | None, irregular: Irregular
) -> CTVolume:
    headers, unread = _read_files(opened)
    return volume_of_headers(where, headers, unread_notes(unread), series_uid, irregular)


def volume_of_headers(
    where: Path,
    headers: Sequence[ImageHeader],
    notes: Sequence[str] = (),
    series_uid: str | None = None,
    irregular: Irregular = "refuse",
    *,
    look_at_voxels: bool = True,
) -> CTVolume:
    """What becomes of headers that are read: the verdict on a series, whoever has read them.

    Args:
        where: folder, file or archive, for messages.
        headers: of all images there.
        notes: warnings about what else lies there.
        series_uid, irregular: as for :func:`open_dicom_folder`.
        look_at_voxels: whether a few slices are decoded to see if the values can be HU. Defaults
            to True.

    Raises:
        ScanError: as :func:`open_dicom_folder`.
    """
    series = _ct_series(headers)
    if series_uid is not None and series_uid not in series:
        other = group_by_series(headers).get(series_uid)
        if other:
            raise SeriesSelectionError(
                f"{where}: series {series_uid} holds no CT slices, only {_kinds(other)}; expected "
                "modality 'CT'; choose a CT series"
            )
    if not series:
        raise _no_series(where, headers)
    return _open_chosen(where, series, series_uid, notes, irregular, look_at_voxels)


def open_dicom_file(
    path: Path, series_uid: str | None = None, *, irregular: Irregular = "refuse"
) -> CTVolume:
    """Opens the series that a DICOM file belongs to, from the file's own folder.

    Raises:
        ScanError: the file is not DICOM, no image, damaged, or of another modality.
        SeriesSelectionError: ``series_uid`` names another series.
        GeometryError: the slices do not form a regular stack.
    """
    with DicomFile(path).open() as stream:
        headers = read_headers(OpenedFile(DicomFile(path), stream, path.stat().st_size))
    if not headers:
        raise ScanError(f"{path}: is DICOM without an image; expected a slice of a CT series")
    header = headers[0]
    if header.modality != "CT":
        raise ScanError(
            f"{path}: has modality {header.modality or 'none'!r}; expected 'CT'; give a CT series"
        )
    files = sorted(p for p in path.parent.iterdir() if p.is_file())
    neighbours, unread = _read_files(opened_files(files))
    same = [
        other
        for other in neighbours
        if (other.series_uid, other.study_uid) == (header.series_uid, header.study_uid)
    ]
    series = _ct_series(same) or {series_identity(headers): headers}
    return _open_chosen(path, series, series_uid, unread_notes(unread), irregular)


def _open_chosen(
    where: Path,
    series: dict[str, list[ImageHeader]],
    series_uid: str | None,
    notes: Sequence[str],
    irregular: Irregular,
    look_at_voxels: bool = True,
) -> CTVolume:
    listing = "; ".join(str(series_info(uid, headers)) for uid, headers in sorted(series.items()))
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
    headers = images = series[uid]
    place = f"{where}: series {uid}"
    _check_images(headers)
    headers, copies = _without_copies(headers) if irregular == "resample" else (headers, 0)
    stack = stack_slices(place, headers, irregular=irregular)
    warnings = [*notes, *stack.warnings]
    if copies:
        warnings.append(f"{place}: {copies} exact copies of slices were left out, as asked")
    if not headers[0].series_uid:
        warnings.append(
            f"{where}: SeriesInstanceUID is empty; {uid}, made from its content, stands in for it"
        )
    frames_of_reference = sorted({h.frame_of_reference_uid for h in images})
    if len(frames_of_reference) > 1:
        warnings.append(
            f"{place}: its slices name {len(frames_of_reference)} frames of reference; none is "
            "taken, so points of other series cannot be carried over"
        )
    bare = [h for h in stack.slices if h.slope is None or h.intercept is None]
    if bare:
        warnings.append(
            f"{place}: {len(bare)} slices lack Rescale Slope or Intercept; stored values are "
            "taken as HU (slope 1, intercept 0)"
        )
    source: VoxelSource
    spacing, origin = stack.spacing_mm, np.array(stack.origin_lps_mm)
    if stack.places_mm is None:
        source = DicomSource(stack.slices)
    else:
        source = ResampledSource(stack.slices, stack.places_mm, spacing)
        spacing = source.spacing_mm
        origin = origin + stack.direction[:, :2] @ source.first_mm
    if look_at_voxels:
        warnings.extend(f"{place}: {text}" for text in plausibility_warnings(source))
    return CTVolume(
        source,
        spacing,
        origin,
        stack.direction,
        series_uid=uid,
        path=where,
        format="dicom",
        warnings=tuple(warnings),
        frame_of_reference_uid=frames_of_reference[0] if len(frames_of_reference) == 1 else "",
        planes=planes_of(images, stack.direction[:, 2]),
    )


def _without_copies(headers: Sequence[ImageHeader]) -> tuple[list[ImageHeader], int]:
    """The slices without those that another one equals in place and in every pixel."""
    places = Counter((header.position_lps_mm, header.orientation) for header in headers)
    kept: dict[tuple[object, ...], ImageHeader] = {}
    for header in headers:
        if places[header.position_lps_mm, header.orientation] == 1:
            kept[header.position_lps_mm, header.orientation] = header
            continue
        pixels = DicomSource([header]).read((0, 0, 0), (1, header.rows, header.columns))
        digest = hashlib.sha256(pixels.tobytes()).digest()
        kept.setdefault((header.position_lps_mm, header.orientation, digest), header)
    return list(kept.values()), len(headers) - len(kept)


def _files_below(folder: Path) -> Iterator[OpenedFile]:
    files = sorted(Path(root) / name for root, _, names in os.walk(folder) for name in names)
    if not files:
        raise ScanError(f"{folder}: is an empty folder; expected DICOM slices; check the path")
    return opened_files(files)


def _read_files(files: Iterable[OpenedFile]) -> tuple[list[ImageHeader], list[str]]:
    """Headers of all images, and names of files that are named like DICOM but are not."""
    headers: list[ImageHeader] = []
    unread: list[str] = []
    for opened in files:
        if is_dicom(opened):
            headers.extend(h for h in read_headers(opened) if h.has_pixels)
        elif named_like_dicom(opened.file):
            unread.append(opened.file.name)
    return headers, unread


def named_like_dicom(file: DicomFile) -> bool:
    """Whether a file's ending says that it is DICOM."""
    return file.suffix in _DICOM_SUFFIXES


def unread_notes(names: Sequence[str]) -> list[str]:
    """The warning about files that are named like DICOM but are not, where there are any."""
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [
        f"{len(names)} files named like DICOM are not DICOM and were left out: "
        f"{', '.join(names[:_NAMED])}{more}"
    ]


def _ct_series(headers: Iterable[ImageHeader]) -> dict[str, list[ImageHeader]]:
    """CT images by SeriesInstanceUID, or by a name from their content where that is empty."""
    return group_by_series(h for h in headers if is_ct_slice(h))


def is_ct_slice(header: ImageHeader) -> bool:
    """Whether the image can be a slice of a CT stack by what it says it is."""
    return header.modality == "CT" and not header.is_localizer


def series_key(header: ImageHeader) -> tuple[str, str]:
    """What images of one series have in common: its UID, or the study's where that is empty."""
    # An empty UID does not tell studies apart.
    return (header.series_uid, "" if header.series_uid else header.study_uid)


def group_by_series(headers: Iterable[ImageHeader]) -> dict[str, list[ImageHeader]]:
    """Images of any modality by their series' UID or what stands in for it."""
    groups: dict[tuple[str, str], list[ImageHeader]] = {}
    for header in headers:
        groups.setdefault(series_key(header), []).append(header)
    return {series_identity(group): group for group in groups.values()}


def series_identity(headers: Sequence[ImageHeader]) -> str:
    """The series' UID; for an empty one a UID from the slices' content.

    It does not depend on names or places of files (DICOM PS3.5 B.2: 2.25 and a number).
    """
    if headers[0].series_uid:
        return headers[0].series_uid
    ordered = sorted(headers, key=lambda header: (header.position_lps_mm or (), header.name))
    digest = hashlib.sha256(repr([h.position_lps_mm for h in ordered]).encode())
    middle = ordered[len(ordered) // 2].file
    try:
        with middle.open() as stream:
            digest.update(stream.read())
    except PARSE_ERRORS as error:
        raise ScanError(
            f"{middle}: cannot be read ({one_line(error)}); expected a whole file; copy it again"
        ) from error
    return f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}"


def series_info(uid: str, headers: Sequence[ImageHeader]) -> SeriesInfo:
    """A series by its headers; the distance of slices is the median one, where they have any."""
    first = headers[0]
    row, column = (np.nan, np.nan) if first.pixel_spacing_mm is None else first.pixel_spacing_mm
    step = np.nan if first.slice_thickness_mm is None else first.slice_thickness_mm
    placed = [
        h
        for h in headers
        if h.position_lps_mm
        and h.orientation
        and np.abs((*h.position_lps_mm, *h.orientation)).max() < FARTHEST_MM
    ]
    if len(placed) > 1:
        cosines = np.array(placed[0].orientation)
        normal = np.cross(cosines[:3], cosines[3:])
        along = np.sort(np.array([h.position_lps_mm for h in placed]) @ normal)
        step = float(np.median(np.diff(along)))
    return SeriesInfo(uid, first.description, len(headers), (column, row, step))


def _check_images(headers: Sequence[ImageHeader]) -> None:
    for header in headers:
        if (
            header.samples != 1
            or header.photometric not in _GREY
            or header.bits_allocated not in (8, 16, 32)
            or not 0 < header.bits_stored <= header.high_bit + 1 <= header.bits_allocated
            or min(header.rows, header.columns) < 1
            or max(header.rows, header.columns) > LARGEST_MATRIX
        ):
            raise ScanError(
                f"{header.file}: has {header.columns} x {header.rows} pixels of {header.samples} "
                f"samples ({header.photometric or 'no photometric interpretation'}), "
                f"{header.bits_stored} of {header.bits_allocated} bits (highest "
                f"{header.high_bit}); expected one grey value of 8, 16 or 32 bits, and at most "
                f"{LARGEST_MATRIX} x {LARGEST_MATRIX} pixels; export the CT again"
            )
        if any(v is not None and not np.isfinite(v) for v in (header.slope, header.intercept)):
            raise ScanError(
                f"{header.file}: has Rescale Slope {header.slope} and Intercept "
                f"{header.intercept}; expected finite numbers; export the CT again"
            )


def _no_series(where: Path, headers: Sequence[ImageHeader]) -> SeriesSelectionError:
    if headers:
        return SeriesSelectionError(
            f"{where}: holds no CT series, only {_kinds(headers)}; expected modality 'CT'; give a "
            "CT series"
        )
    scans = []
    if where.is_dir():
        scans = sorted(p.name for p in where.iterdir() if p.suffix.lower() in _OTHER_SCANS)
    if scans:
        return SeriesSelectionError(
            f"{where}: holds no DICOM, but {len(scans)} scan files such as {scans[0]}; expected "
            "one scan; give the path of the file"
        )
    return SeriesSelectionError(
        f"{where}: holds no DICOM image; expected the slices of one CT series; check the path"
    )


def _kinds(headers: Sequence[ImageHeader]) -> str:
    kinds = Counter(h.modality if not h.is_localizer else "localizer" for h in headers)
    return ", ".join(f"{count} x {kind or 'no modality'}" for kind, count in kinds.items())
