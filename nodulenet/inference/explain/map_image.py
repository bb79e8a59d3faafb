"""Maps as images in the patient: the patch's own grid, or the voxels of the scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.ct import CTVolume
from nodulenet.ct.volume import LPS_TO_RAS
from nodulenet.ct.write import write_on_scan_grid, write_patch
from nodulenet.errors import UsageError

Floats = npt.NDArray[np.float32]

_PLANES = (("axial", 0), ("coronal", 1), ("sagittal", 2))


@dataclass(frozen=True)
class MapImage:
    """A map on a grid along the patient's axes; a plane is one slice.

    Attributes:
        name: ``map``, or ``axial``, ``coronal``, ``sagittal`` of orthogonal planes.
        values: float32 (z, y, x).
        point_lps_mm: its centre, (x, y, z).
        spacing_mm: (x, y, z).
    """

    name: str
    values: Floats
    point_lps_mm: tuple[float, float, float]
    spacing_mm: tuple[float, float, float]

    @property
    def affine_lps(self) -> npt.NDArray[np.float64]:
        """(4, 4) from index (x, y, z) to LPS mm."""
        affine = np.diag([*self.spacing_mm, 1.0])
        middle = (np.array(self.values.shape[::-1]) - 1) / 2
        affine[:3, 3] = np.array(self.point_lps_mm) - middle * self.spacing_mm
        return affine

    @property
    def affine_ras(self) -> npt.NDArray[np.float64]:
        """(4, 4) from index (x, y, z) to RAS mm, as NIfTI speaks."""
        return LPS_TO_RAS @ self.affine_lps

    def write(self, path: str | Path) -> Path:
        """Writes it in its place in the patient; the ending (.nii.gz, ...) says the format."""
        return write_patch(path, self.values, self.point_lps_mm, self.spacing_mm)


def map_images(
    values: npt.NDArray[np.floating], spec: PatchSpec, point_lps_mm: npt.ArrayLike
) -> list[MapImage]:
    """A map in patch geometry as images: one, or of orthogonal planes three of one slice each.

    Args:
        values: (z, y, x), (y, x), or (3, rows, columns), without margin.
        spec: what the patch is.
        point_lps_mm: its centre, (x, y, z).

    Raises:
        UsageError: another shape than that of the patch.
    """
    shape = (3, *spec.size) if spec.orthogonal_planes else spec.size
    if values.shape != shape:
        raise UsageError(f"map has shape {values.shape}; expected that of the patch, {shape}")
    given = np.asarray(values, dtype=np.float32)
    x, y, z = (float(value) for value in np.asarray(point_lps_mm))
    point, spacing = (x, y, z), spec.spacing_xyz_mm
    if not spec.orthogonal_planes:
        body = given[np.newaxis] if given.ndim == 2 else given
        return [MapImage("map", body, point, spacing)]
    return [
        MapImage(name, np.expand_dims(given[plane], across), point, spacing)
        for plane, (name, across) in enumerate(_PLANES)
    ]


def on_scan_grid(images: list[MapImage], volume: CTVolume) -> Floats:
    """Maps in the voxels of the scan, 0 outside them.

    Linear between the map's voxels. A plane reaches half a voxel of the scan to both sides, so that
    it never falls between two slices; where planes cross, the value furthest from 0 stands.

    Args:
        images: of :func:`map_images`.
        volume: the scan.

    Returns:
        float32 (z, y, x), of the scan's shape.
    """
    found = np.zeros(volume.shape, dtype=np.float32)
    # How far apart neighbouring voxels of the scan are along the patient's x, y and z.
    step = np.abs(volume.affine_lps[:3, :3]).sum(axis=1)
    for image in images:
        spacing, size = np.array(image.spacing_mm), np.array(image.values.shape[::-1])
        reach = np.where(size == 1, np.maximum(spacing, step), size * spacing) / 2
        first, last = _window(volume, np.array(image.point_lps_mm), reach)
        if (first >= last).any():
            continue
        axes = [np.arange(a, b, dtype=np.float64) for a, b in zip(first, last, strict=True)]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        away = volume.points_of(index.reshape(-1, 3)) - image.point_lps_mm
        inside = (np.abs(away) <= reach + 1e-6).all(axis=1)
        places = away / spacing + (size - 1) / 2
        sampled = ndimage.map_coordinates(
            image.values, places[inside, ::-1].T, order=1, mode="nearest", output=np.float32
        )
        # (x, y, z) of the index to the array's (z, y, x).
        part = np.zeros(len(away), dtype=np.float32)
        part[inside] = sampled
        part = part.reshape([len(axis) for axis in axes]).transpose(2, 1, 0)
        window = found[tuple(slice(a, b) for a, b in zip(first[::-1], last[::-1], strict=True))]
        np.copyto(window, part, where=np.abs(part) > np.abs(window))
    return found


def write_maps(
    folder: str | Path, images: list[MapImage], volume: CTVolume | None = None
) -> list[Path]:
    """Writes ``map.nii.gz`` (or ``map-axial.nii.gz``, ...), and on request in the scan's voxels.

    Args:
        folder: where to.
        images: of :func:`map_images`.
        volume: the scan, for ``map-on-scan-grid.nii.gz``. Defaults to None, without that.

    Returns:
        The files.
    """
    target = Path(folder)
    files = [
        image.write(target / ("map.nii.gz" if image.name == "map" else f"map-{image.name}.nii.gz"))
        for image in images
    ]
    if volume is not None:
        on_grid = on_scan_grid(images, volume)
        files.append(write_on_scan_grid(target / "map-on-scan-grid.nii.gz", on_grid, volume))
    return files


def _window(
    volume: CTVolume, point: npt.NDArray[np.float64], reach: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and one after the last voxel of the scan, (x, y, z), in a box about a point."""
    corners = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T * reach
    index = volume.index_of(point + corners)
    first = np.maximum(np.floor(index.min(axis=0)), 0).astype(np.int64)
    last = np.minimum(np.ceil(index.max(axis=0)) + 1, volume.shape[::-1]).astype(np.int64)
    return first, last
