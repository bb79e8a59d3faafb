"""Patches as image files that every viewer puts in the right place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nodulenet.atomic import atomic_path
from nodulenet.ct.volume import CTVolume
from nodulenet.errors import UsageError

IMAGE_ENDINGS = (".nii.gz", ".nii", ".mha", ".nrrd")


def write_patch(
    path: str | Path, hu: NDArray[np.float32], point_lps_mm: ArrayLike, spacing_mm: ArrayLike
) -> Path:
    """Writes a patch that was cut around a point, in its place in the patient.

    Args:
        path: the file; its ending (.nii.gz, .nii, .mha, .nrrd) says the format.
        hu: (z, y, x) as :func:`nodulenet.ct.extract_patch` gives it with form "3d".
        point_lps_mm: the patch's centre, (x, y, z).
        spacing_mm: (x, y, z).

    Raises:
        UsageError: another ending, or not three axes.
    """
    if hu.ndim != 3:
        raise UsageError(f"hu has shape {hu.shape}; expected (z, y, x)")
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    origin = np.asarray(point_lps_mm) - (np.array(hu.shape[::-1]) - 1) / 2 * spacing
    return _write(Path(path), hu, spacing, origin, np.eye(3))


def write_on_scan_grid(path: str | Path, values: NDArray[np.float32], volume: CTVolume) -> Path:
    """Writes values of a scan's voxels, with the scan's geometry.

    Args:
        path: the file; its ending (.nii.gz, .nii, .mha, .nrrd) says the format.
        values: (z, y, x), of the scan's shape.
        volume: the scan.

    Raises:
        UsageError: another ending, or not the scan's shape.
    """
    if values.shape != volume.shape:
        raise UsageError(
            f"values have shape {values.shape}; expected that of the scan, {volume.shape}"
        )
    origin, spacing = np.array(volume.origin_lps_mm), np.array(volume.spacing_mm)
    return _write(Path(path), values, spacing, origin, volume.direction)


def _write(
    target: Path,
    values: NDArray[np.float32],
    spacing_mm: NDArray[np.float64],
    origin_lps_mm: NDArray[np.float64],
    direction: NDArray[np.float64],
) -> Path:
    ending = next((e for e in IMAGE_ENDINGS if target.name.lower().endswith(e)), None)
    if ending is None:
        raise UsageError(
            f"{target}: has an unknown ending; expected one of {', '.join(IMAGE_ENDINGS)}"
        )
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing_mm.tolist())
    image.SetOrigin(origin_lps_mm.tolist())
    image.SetDirection(direction.ravel().tolist())
    with atomic_path(target) as temporary:
        if ending != ".nii.gz":
            sitk.WriteImage(image, str(temporary), useCompression=ending != ".nii")
            return target
        # A temporary name keeps only the last ending, and .gz alone is no format.
        named = temporary.with_name(f"{temporary.stem}{ending}")
        try:
            sitk.WriteImage(image, str(named), useCompression=True)
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)
    return target
