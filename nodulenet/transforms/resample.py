"""Whole scans on an isotropic grid, for those who want them. A patch needs none."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LazyTransform, MapTransform, Spacing

from nodulenet.ct.patch import resample_scan
from nodulenet.ct.resampling import Interpolation
from nodulenet.ct.volume import CTVolume
from nodulenet.errors import UsageError
from nodulenet.transforms.scan_tensor import along_patient

if TYPE_CHECKING:
    from torch import Tensor

MONAI_MODES: dict[Interpolation, str | int] = {"linear": "bilinear", "bspline": 3}
"""MONAI's names of our interpolations."""


class ResampleIsotropicd(MapTransform, LazyTransform):
    """The whole scan with equal spacing along all axes: -> MetaTensor (1, z, y, x), HU, float32.

    A CTVolume is resampled by our kernel along the patient's axes
    (:func:`nodulenet.ct.patch.resample_scan`). A MetaTensor, such as ``LoadCTd(as_tensor=True)``
    or MONAI's own ``LoadImaged`` makes, is handed to MONAI's ``Spacing``, keeps its axes, and
    supports lazy resampling: in ``Compose(..., lazy=True)`` it is fused with the spatial transforms
    of MONAI that follow. To cut patches neither is needed: ``ExtractNodulePatchd`` resamples
    only what it cuts.

    Args:
        keys: entries that hold a CTVolume or a channel-first MetaTensor.
        spacing_mm: of all axes, in mm. Defaults to 1.
        interpolation: "linear" or "bspline". Defaults to "linear".
        antialias: as in ``extract_patch``; for a CTVolume only. Defaults to False.
        allow_missing_keys: as in MONAI. Defaults to False.
        lazy: as in MONAI; tensors only. Defaults to False.

    Raises:
        UsageError: the entry is neither, or antialiasing of a MetaTensor, which MONAI lacks.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: float = 1.0,
        *,
        interpolation: Interpolation = "linear",
        antialias: bool = False,
        allow_missing_keys: bool = False,
        lazy: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        LazyTransform.__init__(self, lazy)
        if not (np.isfinite(spacing_mm) and spacing_mm > 0):
            raise UsageError(f"spacing_mm is {spacing_mm!r}; expected one positive number in mm")
        if interpolation not in MONAI_MODES:
            raise UsageError(f"interpolation is {interpolation!r}; expected 'linear' or 'bspline'")
        self.spacing_mm = float(spacing_mm)
        self.interpolation: Interpolation = interpolation
        self.antialias = antialias
        self._spacing = Spacing(
            self.spacing_mm, mode=MONAI_MODES[interpolation], padding_mode="border"
        )

    def __call__(
        self, data: Mapping[Hashable, Any], lazy: bool | None = None
    ) -> dict[Hashable, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self._resampled(key, item[key], self.lazy if lazy is None else lazy)
        return item

    def _resampled(self, key: Hashable, entry: Any, lazy: bool) -> Tensor:
        if isinstance(entry, MetaTensor):
            if self.antialias:
                raise UsageError(
                    f"entry {key!r} is a MetaTensor, for which MONAI has no antialiasing; expected "
                    "a CTVolume (LoadCTd without as_tensor), or antialias=False"
                )
            return self._spacing(entry, lazy=lazy)
        if not isinstance(entry, CTVolume):
            raise UsageError(
                f"entry {key!r} is a {type(entry).__name__}; expected a CTVolume or a MetaTensor; "
                "put LoadCTd before ResampleIsotropicd"
            )
        spacing = np.full(3, self.spacing_mm)
        hu, first = resample_scan(
            entry, spacing, interpolation=self.interpolation, antialias=self.antialias
        )
        return along_patient(hu, spacing, first, np.zeros(3), entry)
