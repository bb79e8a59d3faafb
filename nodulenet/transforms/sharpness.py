"""Softer or sharper patches, as from another reconstruction kernel."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import convert_to_dst_type
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from torch import Tensor


class RandSharpnessd(Randomizable, MapTransform):
    """Blurs by a Gaussian or sharpens by unsharp masking; where both are allowed, a coin decides.

    MONAI's ``RandGaussianSmoothd`` draws a sigma for every axis and takes 0 for what lies beyond
    the border, soft tissue in HU; this has one sigma and repeats the border.

    Args:
        keys: entries that hold a channel-first tensor or array.
        blur: largest sigma in voxels, drawn evenly from 0 on.
        sharpen: largest gain ``g`` of ``v + g (v - blurred v)``, drawn evenly from 0 on; the
            blurred copy has ``unsharp_sigma``.
        unsharp_sigma: in voxels. Defaults to 1.
        axes: of the array, the channel being axis 0. Defaults to all but that.
        allow_missing_keys: as in MONAI. Defaults to False.

    Attributes:
        sigma, gain: drawn last; exactly one of them is None.
    """

    def __init__(
        self,
        keys: KeysCollection,
        blur: float = 0.0,
        sharpen: float = 0.0,
        *,
        unsharp_sigma: float = 1.0,
        axes: Sequence[int] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.blur, self.sharpen = float(blur), float(sharpen)
        self.unsharp_sigma = float(unsharp_sigma)
        self.axes = None if axes is None else tuple(axes)
        self.sigma: float | None = 0.0
        self.gain: float | None = None

    def randomize(self, data: Any = None) -> None:
        """Draws which of the two, and how much."""
        del data
        blurs = not self.sharpen or (self.blur > 0 and self.R.uniform() < 0.5)
        self.sigma = float(self.R.uniform(0, self.blur)) if blurs else None
        self.gain = None if blurs else float(self.R.uniform(0, self.sharpen))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        self.randomize()
        for key in self.key_iterator(item):
            item[key] = self._changed(item[key])
        return item

    def _changed(self, patch: Any) -> Tensor:
        values = np.asarray(patch, dtype=np.float64)
        blurred = gaussian_filter(
            values,
            self.unsharp_sigma if self.sigma is None else self.sigma,
            mode="nearest",
            axes=self.axes or tuple(range(1, values.ndim)),
        )
        result = blurred if self.gain is None else values + self.gain * (values - blurred)
        return convert_to_dst_type(result.astype(np.float32), patch)[0]
