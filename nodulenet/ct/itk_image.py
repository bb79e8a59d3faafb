"""What is left to SimpleITK: its images, headers of MetaImage and NRRD, packed voxels of NRRD."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nodulenet.ct.sources import DecodedSource, Shape, one_line
from nodulenet.ct.volume import CTVolume
from nodulenet.errors import ScanError

_SERIES_UID = "0020|000e"


@dataclass(frozen=True)
class ItkHeader:
    """A scan's header as SimpleITK understands it (already in LPS)."""

    shape: Shape
    spacing_mm: tuple[float, ...]
    origin_lps_mm: tuple[float, ...]
    direction: NDArray[np.float64]


def read_header(path: Path, image_io: str) -> ItkHeader:
    """Size and geometry without reading voxels.

    Args:
        path: the file.
        image_io: ITK's name of the format, such as "MetaImageIO".

    Raises:
        ScanError: not readable, or not one scalar three-dimensional volume.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return _checked(str(path), reader, reader.GetNumberOfComponents())


def volume_of_simpleitk(image: Any, series_uid: str | None = None) -> CTVolume:
    """A SimpleITK image of HU as a volume; its voxels are copied.

    Args:
        image: one three-dimensional scalar image.
        series_uid: name of the scan. Defaults to the image's DICOM SeriesInstanceUID, where
            SimpleITK has kept it, or one made from its voxels.

    Raises:
        ScanError: not one scalar volume.
        GeometryError: impossible spacing or direction.
    """
    header = _checked("SimpleITK image", image, image.GetNumberOfComponentsPerPixel())
    if series_uid is None and image.HasMetaDataKey(_SERIES_UID):
        series_uid = image.GetMetaData(_SERIES_UID).strip() or None
    return CTVolume.from_array(
        sitk.GetArrayViewFromImage(image).reshape(header.shape),
        header.spacing_mm,
        header.origin_lps_mm,
        header.direction,
        series_uid=series_uid,
    )


def _checked(where: str, image: Any, components: int) -> ItkHeader:
    """Geometry of a reader or an image that holds one scalar volume."""
    size = image.GetSize()
    dimensions = len(size)
    if dimensions < 3 or any(n != 1 for n in size[3:]):
        raise ScanError(
            f"{where}: has {dimensions} dimensions of size {tuple(size)}; expected one "
            "three-dimensional volume; save the wanted volume as its own file"
        )
    if components != 1 or "complex" in _pixel_name(image):
        raise ScanError(
            f"{where}: has {components} components a voxel ({_pixel_name(image)}); expected one "
            "real number (HU); convert the scan to int16 HU"
        )
    direction = np.array(image.GetDirection()).reshape(dimensions, dimensions)[:3, :3]
    return ItkHeader(
        (size[2], size[1], size[0]), image.GetSpacing()[:3], image.GetOrigin()[:3], direction
    )


def decoded_source(path: Path, image_io: str, shape: Shape) -> DecodedSource:
    """Voxels that SimpleITK decodes as a whole at the first read."""
    return DecodedSource(partial(_decode, path, image_io, shape), shape)


def _decode(path: Path, image_io: str, shape: Shape) -> NDArray[Any]:
    try:
        image = sitk.ReadImage(str(path), imageIO=image_io)
    except (RuntimeError, MemoryError) as error:
        raise _unreadable(path, error) from error
    return np.asarray(sitk.GetArrayFromImage(image)).reshape(shape)


def _pixel_name(image: Any) -> str:
    return str(sitk.GetPixelIDValueAsString(image.GetPixelID()))


def _unreadable(path: Path, error: BaseException) -> ScanError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = one_line(RuntimeError(lines[-1])) if lines else type(error).__name__
    return ScanError(
        f"{path}: not readable ({reason}); expected a whole {path.suffix} file with its voxels; "
        "copy or convert it again"
    )
