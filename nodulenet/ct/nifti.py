"""NIfTI (.nii mapped, .nii.gz decoded at the first read), through nibabel.

NIfTI's world is RAS; it is turned into LPS here and nowhere else.
Standard: NIfTI-1.1 (nifti.nimh.nih.gov); which of sform and qform holds is nibabel's rule: the
sform if its code is not 0, else the qform.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from nodulenet.ct.sources import (
    DecodedSource,
    MappedSource,
    Shape,
    VoxelSource,
    check_packed_size,
    check_size,
    one_line,
    plausibility_warnings,
)
from nodulenet.ct.volume import LPS_TO_RAS, CTVolume
from nodulenet.errors import GeometryError, ScanError

_READ_ERRORS = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    zlib.error,
)

_CHUNK = 2**20

_MM_PER_UNIT = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}


def open_nifti(
    path: Path, series_uid: str | None = None, *, look_at_voxels: bool = True
) -> CTVolume:
    """A CT in a ``.nii`` or ``.nii.gz`` file.

    Any axis order and flips are kept as stored: index x, y, z of the volume are NIfTI's i, j, k.
    Scaling (scl_slope, scl_inter) is applied.

    Args:
        path: the file.
        series_uid: name of the scan. Defaults to the file name without its ending.
        look_at_voxels: whether voxels that are not compressed are read to see if they can be HU.
            Defaults to True.

    Raises:
        ScanError: not a readable NIfTI of one scalar volume, or cut short.
        GeometryError: its affine is not finite, singular or sheared.
    """
    image = _load(path)
    header = image.header
    shape = _shape(path, header.get_data_shape())
    check_size(path, shape)
    dtype = header.get_data_dtype()
    if dtype.fields is not None or not (
        np.issubdtype(dtype, np.integer) or np.issubdtype(dtype, np.floating)
    ):
        raise ScanError(
            f"{path}: voxels are of type {dtype}; expected one real number (HU) a voxel; "
            "convert the scan to int16 HU"
        )
    if int(header["sform_code"]) == 0:
        _check_pixdim(path, image)
    spacing, origin, direction = _geometry(path, image.affine, _unit(path, header))
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        raise ScanError(
            f"{path}: scl_slope {slope} and scl_inter {intercept}; expected finite numbers; "
            "convert the scan again"
        )
    offset = int(image.dataobj.offset)
    source: VoxelSource
    if path.name.lower().endswith(".gz"):
        check_packed_size(path, shape, dtype.itemsize, path.stat().st_size)
        load = partial(_decode, path, dtype, offset, shape)
        source = DecodedSource(load, shape, slope, intercept)
        plausibility: tuple[str, ...] = ()
    else:
        source = MappedSource(path, dtype, offset, shape, slope, intercept)
        plausibility = plausibility_warnings(source) if look_at_voxels else ()
    notes = []
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        notes.append(
            f"{path}: neither qform nor sform is set, so its place in the patient is unknown; "
            "points in mm refer to nibabel's fallback (RAS, centred on the scan)"
        )
    return CTVolume(
        source,
        spacing,
        origin,
        direction,
        series_uid=series_uid or _stem(path),
        path=path,
        format="nifti",
        warnings=(*notes, *plausibility),
    )


def volume_of_nibabel(image: Any, series_uid: str | None = None) -> CTVolume:
    """A nibabel image of HU (NIfTI, MGH, ...) as a volume; its voxels are copied.

    Args:
        image: one spatial volume with an affine to RAS.
        series_uid: name of the scan. Defaults to one made from its voxels.

    Raises:
        ScanError: not one scalar volume, or its voxels cannot be read.
        GeometryError: its affine is not finite, singular or sheared.
    """
    where = image.get_filename() or "nibabel image"
    shape = _shape(where, image.shape)
    spacing, origin, direction = _geometry(where, image.affine, _unit(where, image.header))
    try:
        values = np.asanyarray(image.dataobj)
    except (*_READ_ERRORS, MemoryError) as error:
        raise ScanError(
            f"{where}: its voxels cannot be read ({one_line(error)}); expected a whole image; load "
            "it again"
        ) from error
    # nibabel's axes are (i, j, k), ours (z, y, x).
    return CTVolume.from_array(
        values.reshape(shape[::-1]).transpose(), spacing, origin, direction, series_uid=series_uid
    )


def _load(path: Path) -> Any:
    try:
        with _quiet_nibabel():
            image = nib.load(path)
    except _READ_ERRORS as error:
        raise ScanError(
            f"{path}: not readable as NIfTI ({one_line(error)}); expected a whole .nii or .nii.gz "
            "file; copy or convert it again"
        ) from error
    if not isinstance(image, nib.Nifti1Image):  # Nifti2Image is a child of it
        raise ScanError(
            f"{path}: found {type(image).__name__}, expected a single-file NIfTI; convert it"
        )
    return image


def _shape(path: Path | str, stored: tuple[int, ...]) -> Shape:
    if len(stored) < 3 or any(size != 1 for size in stored[3:]):
        raise ScanError(
            f"{path}: has {len(stored)} dimensions of size {tuple(int(n) for n in stored)}; "
            "expected one three-dimensional volume; save the wanted volume as its own file"
        )
    return int(stored[2]), int(stored[1]), int(stored[0])


def _check_pixdim(path: Path, image: Any) -> None:
    """The spacing as stored: without an sform nibabel takes 1 for 0, and drops a sign."""
    with image.file_map["image"].get_prepare_fileobj("rb") as file:
        stored = type(image.header).from_fileobj(file, check=False)
    spacing = stored["pixdim"][1:4].tolist()
    if not all(value > 0 for value in spacing):
        raise GeometryError(
            f"{path}: pixdim is {tuple(spacing)} (x, y, z); expected three positive numbers, since "
            "there is no sform; repair the header or convert the scan again"
        )


def _unit(path: Path | str, header: Any) -> str:
    """Unit of length by its name; other formats than NIfTI speak of millimetres."""
    if not hasattr(header, "get_xyzt_units"):
        return "mm"
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:
        raise GeometryError(
            f"{path}: xyzt_units is {int(header['xyzt_units'])}; expected a unit of length that "
            "NIfTI knows; repair the header or convert the scan again"
        ) from None


def _geometry(
    path: Path | str, affine: NDArray[np.float64], unit: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    if affine is None or not np.isfinite(affine).all():
        raise GeometryError(
            f"{path}: its affine holds numbers that are not finite; expected millimetres; "
            "repair qform or sform, or convert the scan again"
        )
    lps = LPS_TO_RAS @ affine
    scale = _MM_PER_UNIT.get(unit, 1.0)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    if (spacing == 0).any():
        raise GeometryError(
            f"{path}: spacing is {tuple(spacing.tolist())}; expected three positive numbers; "
            "repair qform or sform, or convert the scan again"
        )
    return spacing * scale, lps[:3, 3] * scale, lps[:3, :3] / spacing


def _decode(path: Path, dtype: np.dtype[Any], offset: int, shape: Shape) -> NDArray[Any]:
    """Stored values of a gzip file, read to its end: only there does gzip check its contents."""
    values = np.empty(shape, dtype)
    bytes_left = values.reshape(-1).view(np.uint8).data
    try:
        with gzip.open(path, "rb") as file:
            file.seek(offset)
            while bytes_left:
                count = file.readinto(bytes_left)
                if not count:
                    raise EOFError(f"{len(bytes_left)} of {values.nbytes} bytes are missing")
                bytes_left = bytes_left[count:]
            while file.read(_CHUNK):
                pass
    except (*_READ_ERRORS, MemoryError) as error:
        raise ScanError(
            f"{path}: its voxels cannot be decoded ({one_line(error)}); expected a whole file; "
            "copy or convert it again"
        ) from error
    return values


def _stem(path: Path) -> str:
    name = path.name
    for ending in (".nii.gz", ".nii"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return path.stem


@contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keeps nibabel's header notes off stderr; what matters of them is checked here."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
