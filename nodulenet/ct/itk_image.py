"""What is left to SimpleITK: headers of MetaImage and NRRD, and the voxels of NRRD."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nodulenet.ct.sources import DecodedSource, Shape, one_line
from nodulenet.errors import ScanError


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
    size = reader.GetSize()
    dimensions = len(size)
    if dimensions < 3 or any(n != 1 for n in size[3:]):
        raise ScanError(
            f"{path}: has {dimensions} dimensions of size {tuple(size)}; expected one "
            "three-dimensional volume; save the wanted volume as its own file"
        )
    if reader.GetNumberOfComponents() != 1 or "complex" in _pixel_name(reader):
        raise ScanError(
            f"{path}: has {reader.GetNumberOfComponents()} components a voxel "
            f"({_pixel_name(reader)}); expected one real number (HU); convert the scan to int16 HU"
        )
    direction = np.array(reader.GetDirection()).reshape(dimensions, dimensions)[:3, :3]
    return ItkHeader(
        (size[2], size[1], size[0]), reader.GetSpacing()[:3], reader.GetOrigin()[:3], direction
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


def _pixel_name(reader: Any) -> str:
    return str(sitk.GetPixelIDValueAsString(reader.GetPixelID()))


def _unreadable(path: Path, error: BaseException) -> ScanError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = one_line(RuntimeError(lines[-1])) if lines else type(error).__name__
    return ScanError(
        f"{path}: not readable ({reason}); expected a whole {path.suffix} file with its voxels; "
        "copy or convert it again"
    )
