"""Patches beside what augmentation makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from nodulenet.errors import UsageError
from nodulenet.plots.montage import montage_figure
from nodulenet.plots.style import FONT_SIZE, INK, literal


def augmentation_figure(
    originals: Sequence[npt.NDArray[np.floating]],
    augmented: Sequence[Sequence[npt.NDArray[np.floating]]],
    *,
    names: Sequence[str],
    spacing_mm: tuple[float, float],
    title: str = "",
) -> Figure:
    """A row a patch: the original, then augmented ones, as the model sees them.

    Args:
        originals: Windowed to 0..1, each (y, x).
        augmented: For each original equally many patches of its shape.
        names: Of the originals, written above them.
        spacing_mm: Pixel size (x, y).
        title: Above all. Defaults to none.

    Returns:
        The figure.

    Raises:
        UsageError: lists of different lengths.
    """
    counts = {len(patches) for patches in augmented}
    if len(counts) != 1 or not len(originals) == len(augmented) == len(names):
        raise UsageError(
            f"augmentation: {len(originals)} originals, {len(names)} names and "
            f"{[len(patches) for patches in augmented]} augmented; give a name and as many "
            f"augmented patches for each original"
        )
    (count,) = counts
    captions = [text for name in names for text in (name, *[""] * count)]
    figure = montage_figure(
        [patch for row in zip(originals, augmented, strict=True) for patch in (row[0], *row[1])],
        captions=captions,
        spacings_mm=spacing_mm,
        window=(0.0, 1.0),
        columns=1 + count,
    )
    if title:
        figure.suptitle(literal(title), fontsize=FONT_SIZE - 1, color=INK)
    return figure
