"""Random poses of three orthogonal planes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable

if TYPE_CHECKING:
    from torch import Tensor


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
