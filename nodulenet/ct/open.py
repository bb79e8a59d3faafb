"""One door for every format: a path in, a CTVolume out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nodulenet.errors import ScanError

if TYPE_CHECKING:
    from nodulenet.ct.volume import CTVolume

FORMATS = "a DICOM folder or file, .nii, .nii.gz, .mhd, .mha, .nrrd or .nhdr"
"""What :func:`open_ct` reads, for messages."""

_METAIMAGE = (".mhd", ".mha")
_NRRD = (".nrrd", ".nhdr")
_NIFTI = (".nii", ".nii.gz")


def open_ct(path: str | os.PathLike[str], *, series_uid: str | None = None) -> CTVolume:
    """Opens a CT scan without decoding its voxels.

    Headers and at most a few slices are read (the latter to see whether the values can be HU);
    voxels come when a window or a patch is asked for. The library of a format is imported only
    when that format is opened.

    Args:
        path: a DICOM folder (searched with its subfolders) or one DICOM file of a series (its
            neighbours in the same folder join it), ``.nii``, ``.nii.gz``, ``.mhd`` with its
            ``.raw`` or ``.zraw``, ``.mha``, ``.nrrd`` or ``.nhdr``.
        series_uid: for DICOM the SeriesInstanceUID to read, needed where a folder holds several
            CT series. For other formats it names the volume. Defaults to the only series, and to
            the file name without its ending.

    Returns:
        The scan. ``volume.warnings`` says what was tolerated.

    Raises:
        ScanError: the path is missing, empty, unreadable, cut short, of another format or not CT.
        SeriesSelectionError: a folder without a CT series, or with several and none chosen.
        GeometryError: slices are missing, doubled, unevenly spaced, tilted or do not match, or
            the header's geometry is impossible.

    Example:
        >>> volume = open_ct("LIDC-IDRI-0001")                        # doctest: +SKIP
        >>> patch = extract_patch(volume, (56.2, 86.3, -115.9), (64, 64, 64), (1, 1, 1))
        ...                                                           # doctest: +SKIP
    """
    scan = Path(path)
    _check_path(scan)
    name = scan.name.lower()
    if scan.is_dir():
        from nodulenet.ct.dicom import open_dicom_folder

        return open_dicom_folder(scan, series_uid)
    if name.endswith(_NIFTI):
        from nodulenet.ct.nifti import open_nifti

        return open_nifti(scan, series_uid)
    if name.endswith(_METAIMAGE):
        from nodulenet.ct.metaimage import open_metaimage

        return open_metaimage(scan, series_uid)
    if name.endswith(_NRRD):
        from nodulenet.ct.nrrd import open_nrrd

        return open_nrrd(scan, series_uid)
    if name.endswith((".raw", ".zraw")):
        raise ScanError(f"{scan}: found bare voxels; expected their header; give the .mhd file")
    if name.endswith(".zip"):
        raise ScanError(f"{scan}: found a zip archive; expected {FORMATS}; unpack it first")
    from nodulenet.ct.dicom import open_dicom_file

    return open_dicom_file(scan, series_uid)


def _check_path(scan: Path) -> None:
    if scan.is_symlink() and not scan.exists():
        raise ScanError(
            f"{scan}: is a broken link; expected {FORMATS}; mount or copy what it points to"
        )
    if not scan.exists():
        raise ScanError(f"{scan}: does not exist; expected {FORMATS}; check the path")
    if not scan.is_dir() and not scan.is_file():
        raise ScanError(f"{scan}: is neither file nor folder; expected {FORMATS}; check the path")
    if scan.is_file() and scan.stat().st_size == 0:
        raise ScanError(f"{scan}: is empty (0 bytes); expected {FORMATS}; copy it again")
