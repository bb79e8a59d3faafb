"""What is on this disk? Every series below a folder, and what ``open_ct`` says of it.

The verdict is that of :func:`nodulenet.ct.dicom.volume_of_headers`, by which ``open_ct`` opens a
series, on the headers that it would find at the series' path.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nodulenet.ct.dicom import (
    series_identity,
    series_info,
    unread_notes,
    volume_of_headers,
)
from nodulenet.ct.dicom_acquisition import Acquisition, Personal
from nodulenet.ct.dicom_header import ImageHeader
from nodulenet.ct.inventory_files import (
    DAMAGED,
    FALSE_NAME,
    FilesRead,
    OtherFile,
    ScanFile,
    SeriesKey,
    read_files,
)
from nodulenet.ct.open import check_path
from nodulenet.ct.volume import CTVolume
from nodulenet.errors import DataError, ScanError, UsageError
from nodulenet.progress import Progress, Silent

USABLE = "usable"

_PLANES = ("sagittal", "coronal", "axial")
"""By the patient's axis (x, y, z) that the slices are perpendicular to."""


@dataclass(frozen=True)
class ListedSeries:
    """One series as it lies on the disk.

    ``open_ct(path, series_uid)`` opens it, or says ``verdict``, which names places below ``path``
    without it. Millimetres and degrees are NaN where the headers do not say them.
    """

    path: Path
    series_uid: str
    acquisition: Acquisition
    modality: str
    image_type: tuple[str, ...]
    format: str
    slices: int
    rows: int
    columns: int
    slice_thickness_mm: float
    spacing_mm: tuple[float, float, float]
    plane: str
    oblique_degrees: float
    usable: bool
    verdict: str


@dataclass(frozen=True)
class Inventory:
    """What lies below a folder.

    Attributes:
        series: by study, series number and UID.
        others: files that are no part of a series, in order.
        files: how many files there are in all.
    """

    series: tuple[ListedSeries, ...]
    others: tuple[OtherFile, ...]
    files: int

    @property
    def reasons(self) -> dict[str, int]:
        """How many files are no part of a series, by reason."""
        return dict(Counter(other.reason for other in self.others))


def take_inventory(
    root: str | os.PathLike[str],
    *,
    irregular: Literal["refuse", "resample"] = "refuse",
    look_at_voxels: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Inventory:
    """Lists every series below a folder, by headers alone.

    DICOM (files of any name, ``.zip`` archives), NIfTI, MetaImage and NRRD. A series is one
    wherever its slices lie; its ``path`` is the deepest folder that holds them all. Where every
    folder holds the whole series (it was copied), each copy is listed. Links to folders are not
    followed.

    Args:
        root: a folder, searched with its subfolders, or a zip archive.
        irregular: as for ``open_ct``; with "resample" slices at the same place are decoded, to see
            whether they are copies. Defaults to "refuse".
        look_at_voxels: whether a slice or a few of each scan are looked at, too, as ``open_ct``
            does: pixels that cannot be decoded and values that cannot be HU are found by no
            header. Defaults to False.
        jobs: processes that read headers. Defaults to one a CPU where there are many files.
        progress: told of the files. Defaults to nobody.

    Returns:
        The series and the other files. Damaged files are among the latter; a series beside one is
        not usable, since it may be one of its slices.

    Raises:
        ScanError: there is no such folder.
        UsageError: ``jobs`` is not above 0.
        DataError: the folder is empty.
    """
    folder = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow links
    check_path(folder)
    if not folder.is_dir() and folder.suffix.lower() != ".zip":
        raise UsageError(f"{folder}: is a file; expected a folder of scans or a .zip of DICOM")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs is {jobs}; expected a number of processes of at least 1")
    read = read_files(
        folder, jobs=jobs, look_at_voxels=look_at_voxels, progress=progress or Silent()
    )
    if not read.files:
        raise DataError(f"{folder}: holds no files; expected scans; check the path")
    series = [
        *_dicom_series(read, irregular, look_at_voxels=look_at_voxels),
        *(_of_scan_file(scan) for scan in read.scan_files),
    ]
    return Inventory(tuple(sorted(series, key=_order)), tuple(read.others), read.files)


def _order(series: ListedSeries) -> tuple[object, ...]:
    number = series.acquisition.series_number
    return (
        series.acquisition.study_uid,
        np.inf if number is None else number,
        series.series_uid,
        series.path,
    )


class _Beside:
    """What lies beside a series below a path and is not of it: the first of them in order."""

    def __init__(self, others: Sequence[OtherFile]) -> None:
        self._others = sorted(others, key=lambda other: other.path)
        self._paths = [other.path for other in self._others]

    def below(self, folder: Path) -> Iterator[OtherFile]:
        for index in range(bisect_left(self._paths, folder), len(self._paths)):
            if not self._paths[index].is_relative_to(folder):
                return
            yield self._others[index]


@dataclass(frozen=True)
class _Found:
    """A DICOM series where it lies, with what ``open_ct`` would meet there."""

    where: Path
    headers: list[ImageHeader]
    error: str
    notes: list[str]


def _dicom_series(
    read: FilesRead, irregular: Literal["refuse", "resample"], *, look_at_voxels: bool
) -> Iterator[ListedSeries]:
    # A folder that cannot be listed is passed over by open_ct, too.
    files = [o for o in read.others if not o.in_archive and not o.path.is_dir()]
    damaged = _Beside([o for o in files if o.reason == DAMAGED])
    misnamed = _Beside([o for o in files if o.reason == FALSE_NAME])
    members = [o for o in read.others if o.in_archive and o.reason == FALSE_NAME]
    for key, headers in read.images.items():
        archive, common, is_ct = key
        if not is_ct and (archive, common, True) in read.images:
            continue  # localizers that share the UID of the slices
        acquisition, personal = _acquisition(read, key)
        for where, part in _places(archive, headers):
            if archive:
                error = read.archive_errors.get(archive, "")
                names = [o.detail for o in members if o.path == where]
            else:
                error = next((o.detail for o in damaged.below(where)), "")
                names = [o.path.name for o in misnamed.below(where)]
            found = _Found(where, part, error, unread_notes(names))
            volume, words, uid = _opened(found, irregular, look_at_voxels=look_at_voxels)
            yield _of_headers(found, uid, volume, personal.taken_out(words), acquisition, personal)


def _acquisition(read: FilesRead, key: SeriesKey) -> tuple[Acquisition, Personal]:
    """As read from the first file; of an enhanced image only the first frame's kind was noted."""
    archive, common, is_ct = key
    known = (read.acquisitions.get((archive, common, kind)) for kind in (is_ct, not is_ct))
    return next((found for found in known if found), (Acquisition(), Personal()))


def _opened(
    found: _Found, irregular: Literal["refuse", "resample"], *, look_at_voxels: bool
) -> tuple[CTVolume | None, str, str]:
    """The volume if ``open_ct`` gives one, what it says, and the series' UID."""
    uid = ""
    try:
        uid = series_identity(found.headers)
        if found.error:
            raise ScanError(found.error)
        volume = volume_of_headers(
            found.where,
            found.headers,
            found.notes,
            uid,
            irregular,
            look_at_voxels=look_at_voxels,
        )
    except ScanError as error:
        return None, _words(found.where, str(error)), uid
    return volume, _words(found.where, "", volume.warnings), uid


def _places(archive: str, headers: list[ImageHeader]) -> list[tuple[Path, list[ImageHeader]]]:
    """Where a series lies: one place, or one a copy of it."""
    if archive:
        return [(Path(archive), headers)]
    parts: dict[Path, list[ImageHeader]] = {}
    for header in headers:
        parts.setdefault(header.file.path.parent, []).append(header)
    if len(parts) > 1 and not _nested(list(parts)):
        found = [
            sorted((str(h.position_lps_mm), str(h.instance_number)) for h in part)
            for part in parts.values()
        ]
        if all(other == found[0] for other in found[1:]):
            return list(parts.items())
    return [(Path(os.path.commonpath(list(parts))), headers)]


def _nested(folders: list[Path]) -> bool:
    ordered = sorted(folders)
    return any(b.is_relative_to(a) for a, b in pairwise(ordered))


def _of_headers(
    found: _Found,
    uid: str,
    volume: CTVolume | None,
    words: str,
    acquisition: Acquisition,
    personal: Personal,
) -> ListedSeries:
    headers = found.headers
    first = headers[0]
    info = series_info(uid, headers)
    spacing = info.spacing_mm if volume is None else volume.spacing_mm
    thickness = [h.slice_thickness_mm for h in headers if h.slice_thickness_mm is not None]
    oriented = next((h.orientation for h in headers if h.orientation), None)
    normal = None if oriented is None else np.cross(oriented[:3], oriented[3:])
    plane, angle = _plane(normal)
    return ListedSeries(
        path=found.where,
        series_uid=uid,
        acquisition=acquisition,
        modality=first.modality,
        image_type=tuple(personal.taken_out(value) for value in first.image_type),
        format="dicom",
        slices=len(headers),
        rows=first.rows,
        columns=first.columns,
        slice_thickness_mm=float(np.median(thickness)) if thickness else np.nan,
        spacing_mm=spacing,
        plane=plane,
        oblique_degrees=angle,
        usable=volume is not None,
        verdict=words,
    )


def _of_scan_file(scan: ScanFile) -> ListedSeries:
    depth, height, width = scan.shape or (0, 0, 0)
    plane, angle = _plane(None if scan.direction is None else scan.direction[:, 2])
    return ListedSeries(
        path=scan.path,
        series_uid=scan.name or scan.path.name,
        acquisition=Acquisition(),
        modality="",
        image_type=(),
        format=scan.format,
        slices=depth,
        rows=height,
        columns=width,
        slice_thickness_mm=np.nan,
        spacing_mm=scan.spacing_mm or (np.nan, np.nan, np.nan),
        plane=plane,
        oblique_degrees=angle,
        usable=not scan.error,
        verdict=_words(scan.path, scan.error, scan.warnings),
    )


def _plane(normal: NDArray[np.float64] | None) -> tuple[str, float]:
    """The plane next to slices of that normal, and the angle between them in degrees."""
    if normal is None:
        return "", np.nan
    length = float(np.linalg.norm(normal))
    if not (np.isfinite(length) and length > 0):
        return "", np.nan
    cosines = np.abs(normal) / length
    axis = int(cosines.argmax())
    angle = float(np.degrees(np.arctan2(np.linalg.norm(np.delete(cosines, axis)), cosines[axis])))
    return _PLANES[axis], angle


def _words(where: Path, error: str, warnings: Sequence[str] = ()) -> str:
    """What was said, without the path that stands beside it."""
    if error:
        return _without_path(error, where)
    if not warnings:
        return USABLE
    return f"{USABLE}: {'; '.join(_without_path(text, where) for text in warnings)}"


def _without_path(text: str, where: Path) -> str:
    return text.replace(f"{where}{os.sep}", "").replace(f"{where}: ", "")
