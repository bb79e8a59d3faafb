"""What a method found: one number a voxel, and what has to be said with it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Explanation:
    """A map over a patch: above 0 what speaks for the positive class, below 0 what speaks against.

    Attributes:
        values: float32 in the patch's geometry without margin: (z, y, x), (y, x), or
            (3, rows, columns) of orthogonal planes as the store has them. The mean over the models.
        by_model: (models or folds, *values.shape), of which ``values`` is the mean.
        method: ``grad-cam`` or ``occlusion``.
        what: one line for captions, e.g. ``Grad-CAM at simpfire4 (6 x 6 cells), mean of 5 models``.
        unit: of the values, in words.
        facts: what was done, as JSON can hold it.
        notes: what a reader of the map must know.
    """

    values: Floats
    by_model: Floats
    method: str
    what: str
    unit: str
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def scaled(self) -> Floats:
        """The values over their largest absolute value: -1..1, or all 0."""
        largest = float(np.abs(self.values).max(initial=0.0))
        return self.values / np.float32(largest or 1.0)

    @property
    def agreement(self) -> float | None:
        """Mean rank correlation between the maps of any two models; None for one model."""
        pairs = list(combinations(self.by_model, 2))
        if not pairs:
            return None
        return float(np.mean([rank_correlation(a, b) for a, b in pairs]))


def rank_correlation(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    """Spearman's correlation of two maps over their voxels; 0 where one is the same everywhere."""
    first, second = (rankdata(m.ravel()) - (m.size + 1) / 2 for m in (a, b))
    length = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / length) if length else 0.0
