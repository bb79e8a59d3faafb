"""Headers of all files of a folder, read by several processes where there are many.

What is no scan, and what is damaged, is listed with its reason and ends nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nodulenet.cpus import usable_cpus
from nodulenet.ct.dicom import is_ct_slice, named_like_dicom, series_key
from nodulenet.ct.dicom_acquisition import Acquisition, Personal, acquisition_of
from nodulenet.ct.dicom_file import OpenedFile, opened_files, opened_members
from nodulenet.ct.dicom_header import ImageHeader, is_dicom, read_headers
from nodulenet.ct.open import open_path
from nodulenet.ct.sources import Shape, one_line
from nodulenet.errors import ScanError
from nodulenet.progress import Progress

DAMAGED = "damaged or not readable"
FALSE_NAME = "named like DICOM, but is not"
NO_IMAGE = "DICOM without an image"
FOREIGN = "no scan"
"""Reasons why a file is no part of a series."""

SCAN_FILES = (".nii", ".nii.gz", ".mhd", ".mha", ".nrrd", ".nhdr")
"""Endings of files that hold one scan each."""

_CHUNK = 200
"""Files that a process gets at a time."""

_FILES_PER_PROCESS = 2000
"""A further process costs as long as it takes to read so many headers (about 0.8 s)."""

SeriesKey = tuple[str, tuple[str, str], bool]
"""Archive (or nothing), what the images have in common, whether they are CT slices."""


@dataclass(frozen=True)
class OtherFile:
    """A file that is no part of a series; ``detail`` is the message where there is one."""

    path: Path
    reason: str
    detail: str = ""
    in_archive: bool = False


@dataclass(frozen=True)
class ScanFile:
    """A file that holds one scan: its geometry, or why it cannot be opened."""

    path: Path
    format: str = ""
    name: str = ""
    shape: Shape | None = None
    spacing_mm: tuple[float, float, float] | None = None
    direction: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()
    error: str = ""


@dataclass
class FilesRead:
    """What was read, in the order of the files."""

    images: dict[SeriesKey, list[ImageHeader]] = field(default_factory=dict)
    acquisitions: dict[SeriesKey, tuple[Acquisition, Personal]] = field(default_factory=dict)
    scan_files: list[ScanFile] = field(default_factory=list)
    others: list[OtherFile] = field(default_factory=list)
    archive_errors: dict[str, str] = field(default_factory=dict)
    files: int = 0

    def join(self, later: FilesRead) -> None:
        """Takes over what a later piece of the files held."""
        for key, headers in later.images.items():
            self.images.setdefault(key, []).extend(headers)
        for key, acquisition in later.acquisitions.items():
            self.acquisitions.setdefault(key, acquisition)
        self.scan_files += later.scan_files
        self.others += later.others
        self.archive_errors.update(later.archive_errors)
        self.files += later.files


def read_files(
    root: Path, *, jobs: int | None, look_at_voxels: bool, progress: Progress
) -> FilesRead:
    """All files below a folder, or of one zip archive.

    Args:
        root: the folder or the archive.
        jobs: processes. Defaults to one a usable CPU, but none beside this for few files.
        look_at_voxels: whether uncompressed voxels of files that are no DICOM are looked at.
        progress: told of the files.
    """
    result = FilesRead()
    paths = [root] if root.is_file() else _paths_below(root, result)
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    read = partial(read_chunk, look_at_voxels=look_at_voxels)
    if jobs is None:
        jobs = min(usable_cpus(), max(1, len(paths) // _FILES_PER_PROCESS))
    with progress.task("scans", len(paths), "files") as task:
        for part in _mapped(read, chunks, jobs):
            result.join(part)
            task.advance(part.files)
    _drop_voxel_files(result)
    return result


def _paths_below(folder: Path, result: FilesRead) -> list[Path]:
    """Sorted as ``open_ct`` sorts them; folders that cannot be listed are told."""

    def untold(error: OSError) -> None:
        path = Path(error.filename or folder)
        result.others.append(OtherFile(path, DAMAGED, f"{path}: {error.strerror or error}"))

    return sorted(
        Path(place) / name for place, _, names in os.walk(folder, onerror=untold) for name in names
    )


def _mapped(read: Any, chunks: Sequence[list[Path]], jobs: int) -> Iterator[FilesRead]:
    if jobs < 2 or len(chunks) < 2:
        yield from map(read, chunks)
        return
    from joblib import Parallel, delayed

    # The generator keeps the order of the chunks, so that nothing depends on the number of jobs.
    parallel = Parallel(n_jobs=jobs, return_as="generator")
    yield from parallel(delayed(read)(chunk) for chunk in chunks)


def read_chunk(paths: Sequence[Path], *, look_at_voxels: bool = False) -> FilesRead:
    """The headers of some files; runs wherever the worker is."""
    result = FilesRead()
    for path in paths:
        result.files += 1
        reason = FOREIGN  # a pipe or a device is not opened at all
        try:
            for opened in opened_files([path]):
                reason = _take(opened, "", result)
        except ScanError as error:
            result.others.append(OtherFile(path, DAMAGED, str(error)))
            continue
        if not reason:
            continue
        name = path.name.lower()
        if name.endswith(SCAN_FILES):
            _read_scan_file(path, result, look_at_voxels=look_at_voxels)
        elif name.endswith(".zip"):
            _read_archive(path, result)
        else:
            result.others.append(OtherFile(path, reason))
    return result


def _read_archive(path: Path, result: FilesRead) -> None:
    """The images of an archive. ``open_ct`` opens none of it where one of them is damaged."""
    images = 0
    errors: list[str] = []
    try:
        for opened in opened_members(path):
            try:
                reason = _take(opened, str(path), result)
            except ScanError as error:
                errors.append(str(error))
                continue
            images += not reason
            if reason == FALSE_NAME:
                result.others.append(OtherFile(path, reason, opened.file.name, in_archive=True))
    except ScanError as error:
        errors.append(str(error))
    if errors:
        result.archive_errors[str(path)] = errors[0]
        result.others += [OtherFile(path, DAMAGED, text, in_archive=True) for text in errors]
    elif not images:
        result.others.append(OtherFile(path, FOREIGN, "an archive without DICOM images"))


def _take(opened: OpenedFile, archive: str, result: FilesRead) -> str:
    """Keeps the images of a file; the reason where there are none.

    Raises:
        ScanError: damaged.
    """
    if not is_dicom(opened):
        return FALSE_NAME if named_like_dicom(opened.file) else FOREIGN

    def keep(header: ImageHeader, dataset: Any) -> None:
        key = _key(archive, header)
        if key not in result.acquisitions:
            result.acquisitions[key] = acquisition_of(dataset)

    headers = [h for h in read_headers(opened, keep) if h.has_pixels]
    for header in headers:
        result.images.setdefault(_key(archive, header), []).append(header)
    return "" if headers else NO_IMAGE


def _key(archive: str, header: ImageHeader) -> SeriesKey:
    return (archive, series_key(header), is_ct_slice(header))


def _read_scan_file(path: Path, result: FilesRead, *, look_at_voxels: bool) -> None:
    try:
        volume = open_path(path, look_at_voxels=look_at_voxels)
    except ScanError as error:
        result.scan_files.append(ScanFile(path, error=str(error)))
    except (MemoryError, OSError) as error:
        result.others.append(OtherFile(path, DAMAGED, one_line(error)))
    else:
        result.scan_files.append(
            ScanFile(
                path,
                volume.format,
                volume.series_uid,
                volume.shape,
                volume.spacing_mm,
                volume.direction,
                volume.warnings,
            )
        )


def _drop_voxel_files(result: FilesRead) -> None:
    """Voxel files that a header beside them names are parts of scans."""
    from nodulenet.ct import metaimage, nrrd

    named: set[Path] = set()
    for scan in result.scan_files:
        ending = scan.path.suffix.lower()
        try:
            if ending == ".mhd":
                named.add(metaimage.voxel_file(scan.path))
            elif ending == ".nhdr":
                named.add(nrrd.voxel_file(scan.path))
        except (ScanError, OSError):
            continue  # the scan's own row says what is wrong with it
    result.others = [o for o in result.others if o.reason != FOREIGN or o.path not in named]
