"""How source values become the int16 of the store and back; HU pass unchanged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

ValueKind = Literal["hu", "intensity"]
_INT16 = np.iinfo(np.int16)
_LOWEST = -1024  # a CTVolume lifts what is lower
# Float intensities are spread over this many steps: finer than any display, within int16.
_STEPS = 30_000


@dataclass(frozen=True)
class Values:
    """``value = stored * scale + offset``; HU and whole-number intensities have scale 1."""

    kind: ValueKind = "hu"
    scale: float = 1.0
    offset: float = 0.0

    @classmethod
    def of_intensities(cls, array: npt.NDArray[Any]) -> Values:
        """The scale for plain intensities: none for whole numbers that fit, else the range."""
        low, high = float(array.min()), float(array.max())
        if not np.issubdtype(array.dtype, np.floating) and low >= _LOWEST and high <= _INT16.max:
            return cls("intensity")
        return cls("intensity", max(high - low, 1e-12) / _STEPS, low)

    def to_stored(self, values: npt.ArrayLike) -> npt.NDArray[np.int16]:
        """Rounded to int16; values beyond its range are cut, as those of CT outliers are."""
        array = np.asarray(values)
        if (self.scale, self.offset) != (1.0, 0.0):
            array = (array.astype(np.float64) - self.offset) / self.scale
        return np.clip(np.rint(array), _INT16.min, _INT16.max).astype(np.int16)

    def from_stored(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Source values as float32."""
        values = stored.astype(np.float32)
        if (self.scale, self.offset) == (1.0, 0.0):
            return values
        return values * np.float32(self.scale) + np.float32(self.offset)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
