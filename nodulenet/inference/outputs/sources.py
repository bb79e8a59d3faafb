"""What a writer gets beside the answers, and what it hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nodulenet.ct import CTVolume


class Saliency(NamedTuple):
    """What in a patch spoke for or against the positive class; a plain pair does as well."""

    values: npt.NDArray[np.floating[Any]]
    """(z, y, x), or (y, x) of an axial plane; above 0 for the positive class, below against it."""
    affine_lps: npt.NDArray[np.floating[Any]]
    """(4, 4), from index (x, y, z) to LPS mm."""


@dataclass(frozen=True)
class Sources:
    """What an answer was made from, for the writers that need it.

    Attributes:
        volume: the scan that the points lie in.
        saliency: maps by ``finding_id``; findings without one are shown without.
        dicom: folder or file of the DICOM series whose study an output belongs to: the input
            itself, or the series that a NIfTI file was made from.
    """

    volume: CTVolume | None = None
    saliency: Mapping[str, Saliency] = field(default_factory=dict)
    dicom: Path | None = None


@dataclass(frozen=True)
class Written:
    """What a writer wrote.

    Attributes:
        files: whole, in the order in which a reader wants them.
        notes: what the user should know of them, one line each.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
