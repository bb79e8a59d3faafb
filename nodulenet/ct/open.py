"""One door for every format: a path or an image in memory in, a CTVolume out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nodulenet.errors import ScanError, UsageError

if TYPE_CHECKING:
    from nodulenet.ct.volume import CTVolume

FORMATS = "a DICOM folder, file or .zip, .nii, .nii.gz, .mhd, .mha, .nrrd or .nhdr"
"""What :func:`open_ct` reads, for messages."""

_METAIMAGE = (".mhd", ".mha")
_NRRD = (".nrrd", ".nhdr")
_NIFTI = (".nii", ".nii.gz")


def open_ct(
    path: str | os.PathLike[str] | Any,
    series_uid: str | None = None,
    *,
    irregular: Literal["refuse", "resample"] = "refuse",
    strict_hu: bool = False,
) -> CTVolume:
    """Opens a CT scan without decoding its voxels.

    Headers and at most a few slices are read (the latter to see whether the values can be HU);
    voxels come when a window or a patch is asked for. The library of a format is imported only
    when that format is opened.

    Args:
        path: a DICOM folder (searched with its subfolders), one DICOM file of a series (its
            neighbours in the same folder join it), an enhanced multi-frame DICOM file, a ``.zip``
            of DICOM, ``.nii``, ``.nii.gz``, ``.mhd`` with its ``.raw`` or ``.zraw``, ``.mha``,
            ``.nrrd`` or ``.nhdr``; or a SimpleITK or nibabel image. NumPy arrays:
            :meth:`CTVolume.from_array`.
        series_uid: for DICOM the SeriesInstanceUID to read, needed where a folder holds several
            CT series. For other formats it names the volume. Defaults to the only series, and to
            the file name without its ending.
        irregular: what becomes of DICOM slices that are tilted (gantry tilt) or unevenly spaced:
            "refuse", or "resample" onto a regular grid (linear, gaps of at most 5 mm, exact copies
            of slices left out; said in ``volume.warnings``). Defaults to "refuse".
        strict_hu: whether values that cannot be HU are an error instead of a warning; compressed
            scans are then decoded at once. Defaults to False.

    Returns:
        The scan. ``volume.warnings`` says what was tolerated.

    Raises:
        ScanError: the path is missing, empty, unreadable, cut short, of another format or not CT;
            with ``strict_hu``, values that cannot be HU.
        SeriesSelectionError: a folder without a CT series, or with several and none chosen.
        GeometryError: slices are missing, doubled, unevenly spaced, tilted or do not match, or
            the header's geometry is impossible.

    Example:
        >>> volume = open_ct("LIDC-IDRI-0001")                        # doctest: +SKIP
        >>> patch = extract_patch(volume, (56.2, 86.3, -115.9), (64, 64, 64), (1, 1, 1))
        ...                                                           # doctest: +SKIP
    """
    if irregular not in ("refuse", "resample"):
        raise UsageError(f"irregular is {irregular!r}; expected 'refuse' or 'resample'")
    if isinstance(path, str | os.PathLike):
        volume = open_path(Path(path), series_uid, irregular)
    else:
        volume = _open_image(path, series_uid)
    if strict_hu:
        volume.require_hu()
    return volume


def open_path(
    scan: Path,
    series_uid: str | None = None,
    irregular: Literal["refuse", "resample"] = "refuse",
    *,
    look_at_voxels: bool = True,
) -> CTVolume:
    """:func:`open_ct` of a path; without a look at voxels for all formats but DICOM, if asked.

    Raises:
        ScanError: as ``open_ct``.
    """
    check_path(scan)
    name = scan.name.lower()
    if scan.is_dir():
        from nodulenet.ct.dicom import open_dicom_folder

        return open_dicom_folder(scan, series_uid, irregular=irregular)
    if name.endswith(_NIFTI):
        from nodulenet.ct.nifti import open_nifti

        return open_nifti(scan, series_uid, look_at_voxels=look_at_voxels)
    if name.endswith(_METAIMAGE):
        from nodulenet.ct.metaimage import open_metaimage

        return open_metaimage(scan, series_uid, look_at_voxels=look_at_voxels)
    if name.endswith(_NRRD):
        from nodulenet.ct.nrrd import open_nrrd

        return open_nrrd(scan, series_uid, look_at_voxels=look_at_voxels)
    if name.endswith((".raw", ".zraw")):
        raise ScanError(f"{scan}: found bare voxels; expected their header; give the .mhd file")
    if name.endswith(".zip"):
        from nodulenet.ct.dicom import open_dicom_zip

        return open_dicom_zip(scan, series_uid, irregular=irregular)
    from nodulenet.ct.dicom import open_dicom_file

    return open_dicom_file(scan, series_uid, irregular=irregular)


def _open_image(image: Any, series_uid: str | None) -> CTVolume:
    """An image object; its library is imported already."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(image).__mro__}
    if "SimpleITK" in libraries:
        from nodulenet.ct.itk_image import volume_of_simpleitk

        return volume_of_simpleitk(image, series_uid)
    if "nibabel" in libraries:
        from nodulenet.ct.nifti import volume_of_nibabel

        return volume_of_nibabel(image, series_uid)
    raise UsageError(
        f"path is a {type(image).__name__}; expected a path to {FORMATS}, or a SimpleITK or "
        "nibabel image; for a NumPy array use CTVolume.from_array"
    )


def check_path(scan: Path) -> None:
    """Refuses what is no readable file and no folder.

    Raises:
        ScanError: missing, a broken link, neither file nor folder, empty or not readable.
    """
    try:
        scan.stat()
        if scan.is_file():
            scan.open("rb").close()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ScanError(
            f"{scan}: cannot be read ({reason}); expected {FORMATS}; check the path and its rights"
        ) from error
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
