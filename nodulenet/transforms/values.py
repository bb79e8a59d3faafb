"""What happens to values: HU windows, and the arrays that Keras takes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from nodulenet.ct.windows import Window, resolve_windows


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
