"""Patches as image files that every viewer puts in the right place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nodulenet.atomic import atomic_path
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
    target = Path(path)
    ending = next((e for e in IMAGE_ENDINGS if target.name.lower().endswith(e)), None)
    if ending is None:
        raise UsageError(
            f"{target}: has an unknown ending; expected one of {', '.join(IMAGE_ENDINGS)}"
        )
    if hu.ndim != 3:
        raise UsageError(f"hu has shape {hu.shape}; expected (z, y, x)")
    import SimpleITK as sitk

    spacing = np.asarray(spacing_mm, dtype=np.float64)
    origin = np.asarray(point_lps_mm) - (np.array(hu.shape[::-1]) - 1) / 2 * spacing
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
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
