"""MONAI dictionary transforms over the kernel of :mod:`nodulenet.ct`.

They compose with MONAI's own. A scan stays lazy until a patch is cut from it::

    Compose([
        LoadCTd("ct"),                                              # path -> CTVolume
        ExtractNodulePatchd("ct", "point_lps_mm", (32, 48, 48), (1, 1, 1)),   # -> MetaTensor, HU
        RandFlipd("ct", prob=0.5, spatial_axis=2),
        WindowHUd("ct", ["lung", "mediastinum"]),                   # HU -> [0, 1], a channel each
        ToKerasd("ct"),                                             # -> NumPy, channels last
    ])

Tensors are channel first with the spatial axes (z, y, x), array z rising to the head, y to the
back, x to the patient's left. Their affine says so: MONAI's affines map an array index, whatever
its axis order, to RAS millimetres, so its columns are the steps along z, y and x. ``pixdim`` of
MONAI's ``Spacingd`` is in array order too: (z, y, x).

Importing this module imports MONAI (about 3.5 s), without TensorFlow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Hashable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nodulenet.ct.open import open_ct
from nodulenet.ct.patch import Form, Interpolation, extract_patch
from nodulenet.ct.volume import LPS_TO_RAS, CTVolume
from nodulenet.ct.windows import Window, resolve_windows
from nodulenet.errors import UsageError

_TENSORBOARD = ("tensorboard", "torch.utils.tensorboard")


def import_monai() -> Any:
    """Imports MONAI without TensorFlow.

    ``import monai`` asks for torch's TensorBoard writer, and the tensorboard package behind it
    imports TensorFlow wherever that is installed (4-5 s, 500 MB). For the time of the import
    both are declared absent, which MONAI handles; only ``monai.handlers``' and
    ``monai.visualize``'s own TensorBoard writing is thereby off. ``torch.utils.tensorboard``
    itself and Keras' TensorBoard callback work as ever afterwards.

    Returns:
        The module ``monai``.
    """
    absent = [name for name in _TENSORBOARD if name not in sys.modules]
    for name in absent:
        # None makes an import of that name raise ModuleNotFoundError.
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        return import_module("monai")
    finally:
        for name in absent:
            del sys.modules[name]


import_monai()

import torch  # noqa: E402
from monai.config import KeysCollection  # noqa: E402
from monai.data import MetaTensor  # noqa: E402
from monai.transforms import MapTransform, Randomizable  # noqa: E402

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ExtractNodulePatchd",
    "LoadCTd",
    "RandPosePlanesd",
    "ToKerasd",
    "WindowHUd",
    "import_monai",
]


class LoadCTd(MapTransform):
    """Opens scans: path -> :class:`~nodulenet.ct.volume.CTVolume`, or the whole scan as a tensor.

    A volume is lazy: no more is read than the patches cut from it need. An entry that is a
    CTVolume already is passed on.

    Args:
        keys: entries that hold paths.
        series_uid_key: entry that holds the DICOM series to choose; may be absent from an item.
            Defaults to None.
        as_tensor: whether to read the whole scan into a float32 MetaTensor (1, z, y, x) in HU,
            for MONAI's stock whole-volume transforms. Defaults to False.
        allow_missing_keys: as in MONAI. Defaults to False.

    Raises:
        ScanError: a scan cannot be read (and its kinds, see ``open_ct``).
    """

    def __init__(
        self,
        keys: KeysCollection,
        series_uid_key: Hashable | None = None,
        *,
        as_tensor: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.series_uid_key = series_uid_key
        self.as_tensor = as_tensor

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        uid = None if self.series_uid_key is None else item.get(self.series_uid_key)
        for key in self.key_iterator(item):
            entry = item[key]
            volume = entry if isinstance(entry, CTVolume) else open_ct(entry, series_uid=uid)
            item[key] = _whole_scan(volume) if self.as_tensor else volume
        return item


class ExtractNodulePatchd(MapTransform):
    """Cuts the patch around a point: CTVolume -> MetaTensor in HU, float32, channel first.

    The patch is resampled straight from the scan, centred on the point itself, by
    :func:`nodulenet.ct.patch.extract_patch`; its arguments are the same here.

    Args:
        keys: entries that hold a CTVolume.
        point_key: entry that holds the point, (x, y, z) in LPS mm.
        size: voxels: (z, y, x) for "3d", (y, x) for "2d", (rows, columns) for "2.5d".
        spacing_mm: (x, y, z) in mm.
        form: "3d", "2d" or "2.5d". Defaults to "3d".
        interpolation: "linear" or "bspline". Defaults to "linear".
        outside_hu: HU outside the scan. Defaults to -1024.
        antialias: as in ``extract_patch``. Defaults to False.
        allow_missing_keys: as in MONAI. Defaults to False.

    Each entry becomes (1, z, y, x) for "3d" and (1, y, x) for "2d", with a true affine: 4 x 4 to
    RAS mm in both (for "2d" its columns are the steps along y, x and z). "2.5d" gives a plain
    tensor (3, rows, columns): three planes have no common affine.

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
            return torch.from_numpy(np.ascontiguousarray(np.moveaxis(hu, -1, 0)))
        # Steps along the array's axes, in LPS mm: z, y, x (2d: y, x and the plane's normal z).
        axes = [2, 1, 0] if hu.ndim == 3 else [1, 0, 2]
        lps = np.eye(4)
        lps[:3, :3] = np.diag(self.spacing_mm)[:, axes]
        centre = np.zeros(3)
        centre[: hu.ndim] = (np.array(hu.shape) - 1) / 2
        lps[:3, 3] = point - lps[:3, :3] @ centre
        return _meta_tensor(hu, LPS_TO_RAS @ lps, volume)


class WindowHUd(MapTransform):
    """HU to [0, 1] by one or several windows, as channels.

    A tensor of C channels becomes one of C x windows channels: all windows of the first channel,
    then of the second. Affine and metadata stay.

    Args:
        keys: entries that hold a channel-first tensor or array in HU.
        windows: a name, two ends (lowest, highest) HU, or a sequence of such windows.
        allow_missing_keys: as in MONAI. Defaults to False.

    Raises:
        UsageError: an unknown or impossible window.
    """

    def __init__(
        self,
        keys: KeysCollection,
        windows: Window | Sequence[Window] = "lung",
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.windows = resolve_windows(windows)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            hu = torch.as_tensor(item[key]).to(torch.float32)
            mapped = [((hu - low) / (high - low)).clamp(0.0, 1.0) for low, high in self.windows]
            item[key] = torch.stack(mapped, dim=1).flatten(0, 1)
        return item


class ToKerasd(MapTransform):
    """Channel-first tensors to what Keras takes: float32 NumPy arrays, channels last.

    Args:
        keys: entries that hold a channel-first tensor or array.
        allow_missing_keys: as in MONAI. Defaults to False.
    """

    def __init__(self, keys: KeysCollection, *, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            entry = item[key]
            values = entry.detach().cpu().numpy() if isinstance(entry, torch.Tensor) else entry
            item[key] = np.ascontiguousarray(np.moveaxis(values, 0, -1), dtype=np.float32)
        return item


class RandPosePlanesd(Randomizable, MapTransform):
    """Shifts, mirrors and turns the three planes of a "2.5d" patch as one body.

    The planes (axial (y, x), coronal (z, x), sagittal (z, y)) of a mirrored or turned nodule are
    what this gives: a mirror along x acts on axial and coronal, a turn about z exchanges coronal
    and sagittal. Mirroring or turning all planes alike would mix z with x and y.

    Args:
        keys: entries that hold a tensor or array (3, rows, columns).
        size: (rows, columns) of the result; what is more is the room for shifts.
        flips: whether to mirror along x, y and z, each with probability 0.5. Defaults to True.
        rotations: whether to turn about z by 0, 90, 180 or 270 degrees; needs rows equal to
            columns and equal spacing along x and y. Defaults to True.
        max_shift: largest shift along each axis, in voxels. Defaults to 0.
        allow_missing_keys: as in MONAI. Defaults to False.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int],
        *,
        flips: bool = True,
        rotations: bool = True,
        max_shift: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.size = (int(size[0]), int(size[1]))
        self.flips, self.rotations, self.max_shift = flips, rotations, max_shift
        self._shift_zyx = (0, 0, 0)
        self._flip_zyx = (False, False, False)
        self._turns = 0

    def randomize(self, data: Any = None) -> None:
        """Draws shift, mirrors and turn."""
        del data
        z, y, x = self.R.randint(-self.max_shift, self.max_shift + 1, size=3)
        self._shift_zyx = (int(z), int(y), int(x))
        z, y, x = self.R.rand(3) < 0.5
        self._flip_zyx = (bool(z), bool(y), bool(x)) if self.flips else (False, False, False)
        turns = int(self.R.randint(4))
        self._turns = turns if self.rotations else 0

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        self.randomize()
        for key in self.key_iterator(item):
            item[key] = self._pose(torch.as_tensor(item[key]))
        return item

    def _pose(self, planes: Tensor) -> Tensor:
        (z, y, x), (flip_z, flip_y, flip_x) = self._shift_zyx, self._flip_zyx
        axial, coronal, sagittal = (
            self._crop(plane, rows, columns)
            for plane, rows, columns in zip(planes, (y, z, z), (x, x, y), strict=True)
        )
        axial = _mirrored(axial, flip_y, flip_x)
        coronal = _mirrored(coronal, flip_z, flip_x)
        sagittal = _mirrored(sagittal, flip_z, flip_y)
        for _ in range(self._turns):
            # As torch.rot90 of the volume over (y, x): x runs where y ran, y where x ran back.
            axial, coronal, sagittal = torch.rot90(axial), sagittal, coronal.flip(1)
        return torch.stack([axial, coronal, sagittal])

    def _crop(self, plane: Tensor, shift_rows: int, shift_columns: int) -> Tensor:
        rows, columns = self.size
        top = (plane.shape[0] - rows) // 2 + shift_rows
        left = (plane.shape[1] - columns) // 2 + shift_columns
        return plane[top : top + rows, left : left + columns]


def _mirrored(plane: Tensor, rows: bool, columns: bool) -> Tensor:
    return plane.flip([axis for axis, on in enumerate((rows, columns)) if on])


def _whole_scan(volume: CTVolume) -> Tensor:
    return _meta_tensor(
        volume.array().astype(np.float32), volume.affine_ras[:, [2, 1, 0, 3]], volume
    )


def _meta_tensor(
    hu: NDArray[np.float32], affine_ras: NDArray[np.float64], volume: CTVolume
) -> Tensor:
    """(1, ...) MetaTensor with the metadata that MONAI's writers look for."""
    affine = torch.as_tensor(affine_ras, dtype=torch.float64)
    meta = {
        "original_affine": affine.clone(),
        "space": "RAS",
        "spatial_shape": np.array(hu.shape),
        "original_channel_dim": "no_channel",
        "filename_or_obj": os.fspath(volume.source) if volume.source else volume.series_uid,
        "series_uid": volume.series_uid,
    }
    return MetaTensor(torch.from_numpy(hu[None]), affine=affine, meta=meta)
