"""A random pose of a patch by one interpolation: any rotation, mirrors, zoom and shift."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import Affine, MapTransform, Randomizable

from nodulenet.ct.pose import PoseRange

if TYPE_CHECKING:
    from torch import Tensor


class RandAffinePosed(Randomizable, MapTransform):
    """A random pose of a patch, cut out of a larger one with one linear interpolation.

    MONAI's ``RandAffined`` draws Euler angles, which prefer some directions, and turns voxels.
    This draws from a :class:`PoseRange` and resamples with MONAI's ``Affine``.

    Args:
        keys: entries that hold a channel-first tensor or array, larger than ``size`` by all that
            the poses need: what lies outside would repeat the border.
        size: of the result, (z, y, x) or (y, x).
        poses: what is drawn.
        allow_missing_keys: as in MONAI. Defaults to False.

    Attributes:
        matrix, shift: the pose drawn last.
    """

    def __init__(
        self,
        keys: KeysCollection,
        size: Sequence[int],
        poses: PoseRange,
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.size = tuple(int(n) for n in size)
        self.poses = poses
        self.matrix = np.eye(len(self.size))
        self.shift = np.zeros(len(self.size))

    def randomize(self, data: Any = None) -> None:
        """Draws a pose."""
        del data
        (self.matrix,), (self.shift,) = self.poses.draw(self.R, 1)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        self.randomize()
        for key in self.key_iterator(item):
            item[key] = self._posed(item[key])
        return item

    def _posed(self, patch: Any) -> Tensor:
        axes = len(self.size)
        affine = np.eye(axes + 1)
        affine[:axes, :axes], affine[:axes, axes] = self.matrix, self.shift
        pose = Affine(
            affine=affine,
            spatial_size=self.size,
            mode="bilinear",
            padding_mode="border",
            dtype=np.float64,
            image_only=True,
        )
        return pose(patch)
