"""Opening scans inside a MONAI pipeline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

from monai.config import KeysCollection
from monai.transforms import MapTransform

from nodulenet.ct.open import open_ct
from nodulenet.ct.volume import CTVolume
from nodulenet.transforms.scan_tensor import whole_scan


class LoadCTd(MapTransform):
    """Opens scans: path -> :class:`~nodulenet.ct.volume.CTVolume`, or the whole scan as a tensor.

    A volume is lazy: no more is read than the patches cut from it need. An entry that is a
    CTVolume already is passed on.

    Args:
        keys: entries that hold paths.
        series_uid_key: entry that holds the DICOM series to choose; may be absent from an item.
            Defaults to None.
        irregular: "refuse" or "resample" tilted and unevenly spaced DICOM slices, as in
            ``open_ct``. Defaults to "refuse".
        strict_hu: whether values that cannot be HU are an error. Defaults to False.
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
        irregular: Literal["refuse", "resample"] = "refuse",
        strict_hu: bool = False,
        as_tensor: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.series_uid_key = series_uid_key
        self.irregular: Literal["refuse", "resample"] = irregular
        self.strict_hu = strict_hu
        self.as_tensor = as_tensor

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        uid = None if self.series_uid_key is None else item.get(self.series_uid_key)
        for key in self.key_iterator(item):
            entry = item[key]
            volume = entry if isinstance(entry, CTVolume) else self._open(entry, uid)
            item[key] = whole_scan(volume) if self.as_tensor else volume
        return item

    def _open(self, path: Any, series_uid: str | None) -> CTVolume:
        return open_ct(
            path, series_uid=series_uid, irregular=self.irregular, strict_hu=self.strict_hu
        )
