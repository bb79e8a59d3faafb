"""Cutting the patch around a point inside a MONAI pipeline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Compose, MapTransform, Orientation, Spacing
from numpy.typing import ArrayLike, NDArray

from nodulenet.ct.outside import require_inside
from nodulenet.ct.patch import (
    Form,
    assemble_planes,
    extract_patch,
    plane_shapes,
)
from nodulenet.ct.resampling import Interpolation
from nodulenet.ct.volume import LPS_TO_RAS, CTVolume
from nodulenet.errors import UsageError
from nodulenet.transforms.resample import MONAI_MODES
from nodulenet.transforms.scan_tensor import along_patient, whole_scan

if TYPE_CHECKING:
    from torch import Tensor


class ExtractNodulePatchd(MapTransform):
    """Cuts the patch around a point: CTVolume -> MetaTensor in HU, float32, channel first.

    The patch is resampled straight from the scan, centred on the point itself, by
    :func:`nodulenet.ct.patch.extract_patch`; its arguments are the same here.

    Args:
        keys: entries that hold a CTVolume.
        point_key: entry that holds the point, (x, y, z) in LPS mm.
        size: voxels: (z, y, x) for "3d", (y, x) for "2d"; for "2.5d" (rows, columns) of three
            orthogonal planes, or (z, y, x) for z neighbouring axial slices.
        spacing_mm: (x, y, z) in mm.
        form: "3d", "2d" or "2.5d". Defaults to "3d".
        interpolation: "linear" or "bspline". Defaults to "linear".
        outside_hu: HU outside the scan. Defaults to -1024.
        antialias: as in ``extract_patch``. Defaults to False.
        engine: "kernel", or "monai" for the stock route of MONAI as a checked alternative: the
            whole scan through ``Orientationd`` and ``Spacingd``, then a crop. It takes seconds
            instead of milliseconds and rounds the centre to the resampled grid (the affine tells
            where the patch really is); where the patch's own voxels fall on that grid both give
            the same patch inside the scan. Defaults to "kernel".
        allow_missing_keys: as in MONAI. Defaults to False.

    Each entry becomes (1, z, y, x) for "3d", (1, y, x) for "2d" and (z, y, x) for neighbouring
    slices, with a true affine: 4 x 4 to RAS mm in all (for planes its columns are the steps along
    y, x and z, and it belongs to the middle of the slices). Orthogonal planes are a plain tensor
    (3, rows, columns): they have no common affine.

    Raises:
        PointOutsideScanError: the point lies outside the scan.
        UsageError: the entry is no CTVolume, or an argument has an impossible value.
    """

    def __init__(
        self,
        keys: KeysCollection,
        point_key: Hashable,
        size: Sequence[int],
        spacing_mm: ArrayLike,
        *,
        form: Form = "3d",
        interpolation: Interpolation = "linear",
        outside_hu: float = -1024.0,
        antialias: bool = False,
        engine: Literal["kernel", "monai"] = "kernel",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.point_key = point_key
        self.size = tuple(size)
        self.spacing_mm: NDArray[np.float64] = np.asarray(spacing_mm, dtype=np.float64)
        self.form: Form = form
        self.interpolation: Interpolation = interpolation
        self.outside_hu = outside_hu
        self.antialias = antialias
        if engine not in ("kernel", "monai"):
            raise UsageError(f"engine is {engine!r}; expected 'kernel' or 'monai'")
        if engine == "monai" and antialias:
            raise UsageError(
                "antialias=True with engine='monai', which has none; use engine='kernel'"
            )
        self.engine = engine

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        if self.point_key not in item:
            raise UsageError(
                f"item has no entry {self.point_key!r}; expected the point (x, y, z) in LPS mm; "
                "add it or change point_key"
            )
        point = np.asarray(item[self.point_key], dtype=np.float64)
        for key in self.key_iterator(item):
            volume = item[key]
            if not isinstance(volume, CTVolume):
                raise UsageError(
                    f"entry {key!r} is a {type(volume).__name__}; expected a CTVolume; put LoadCTd "
                    "before ExtractNodulePatchd"
                )
            item[key] = self._patch(volume, point)
        return item

    def _patch(self, volume: CTVolume, point: NDArray[np.float64]) -> Tensor:
        if self.engine == "monai":
            require_inside(volume, point)
            hu, point = self._stock_patch(volume, point)
        else:
            hu = extract_patch(
                volume,
                point,
                self.size,
                self.spacing_mm,
                form=self.form,
                interpolation=self.interpolation,
                outside_hu=self.outside_hu,
                antialias=self.antialias,
            )
        if self.form == "2.5d":
            hu = np.ascontiguousarray(np.moveaxis(hu, -1, 0))
            if len(self.size) == 2:
                return torch.from_numpy(hu)
        spatial = hu.shape[-2:] if self.form == "2.5d" else hu.shape
        middle = (np.array(spatial) - 1) / 2
        return along_patient(hu, self.spacing_mm, point, middle, volume)

    def _stock_patch(
        self, volume: CTVolume, point: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """The patch by MONAI's own transforms, and the point that it is centred on."""
        # Only a grid along R, A and S is diagonal; S, P and L are our axes (z, y, x).
        route = Compose(
            [
                Orientation("RAS", labels=None),
                Spacing(
                    self.spacing_mm,
                    diagonal=True,
                    mode=MONAI_MODES[self.interpolation],
                    padding_mode="border",
                ),
                Orientation("SPL", labels=None),
            ]
        )
        scan = route(whole_scan(volume))
        index_per_ras = np.linalg.inv(scan.affine.numpy())
        centre = (index_per_ras @ LPS_TO_RAS @ [*point, 1.0])[:3]
        shapes = plane_shapes(self.size, self.form)
        planes = []
        for shape in shapes:
            start = _first_voxel(centre, shape).astype(int)
            planes.append(_crop(np.asarray(scan[0]), start, shape, self.outside_hu))
        start = _first_voxel(centre, shapes[0])
        middle = start + (np.array(shapes[0]) - 1) / 2
        found = LPS_TO_RAS @ scan.affine.numpy() @ [*middle, 1.0]
        return assemble_planes(planes, self.form), found[:3]


def _first_voxel(centre: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """Where a patch around the centre begins; of two equally near voxels the lower one."""
    return np.asarray(np.ceil(centre - np.array(shape) / 2 - 1e-6))


def _crop(
    scan: NDArray[np.float32], start: NDArray[np.intp], shape: Sequence[int], outside_hu: float
) -> NDArray[np.float32]:
    patch = np.full(shape, outside_hu, np.float32)
    low = np.maximum(start, 0)
    high = np.minimum(start + shape, scan.shape)
    if (high > low).all():
        inside = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
        patch[inside] = scan[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return patch
