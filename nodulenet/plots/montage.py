"""Patches side by side, in a CT window, with a scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nodulenet.ct.windows import Window, resolve_window
from nodulenet.errors import UsageError
from nodulenet.plots.style import FONT_SIZE, INK, literal

SCALE_BAR_MM = 10.0


def montage_figure(
    patches: Sequence[npt.NDArray[np.floating] | npt.NDArray[np.integer]],
    *,
    captions: Sequence[str] | None = None,
    spacings_mm: Sequence[tuple[float, float]] | tuple[float, float] | None = None,
    window: Window = "lung",
    columns: int = 6,
) -> Figure:
    """A grid of two-dimensional patches in grey.

    Args:
        patches: HU, each (y, x).
        captions: One short text a patch, e.g. label and probability. Defaults to none.
        spacings_mm: Pixel size (x, y), one for all or one a patch; with it each patch gets a
            scale bar of 10 mm and true proportions. Defaults to none.
        window: A window of :mod:`nodulenet.ct.windows`. Defaults to ``"lung"``.
        columns: Patches in a row. Defaults to 6.

    Returns:
        The figure.

    Raises:
        UsageError: no patches, or lists of different lengths, or a patch that is not (y, x).
    """
    if not patches:
        raise UsageError("montage: no patches; give at least one (y, x) array of HU")
    pixels = _spacings(spacings_mm, len(patches))
    if captions is not None and len(captions) != len(patches):
        raise UsageError(
            f"montage: {len(captions)} captions for {len(patches)} patches; give one each"
        )
    columns = min(columns, len(patches))
    rows = math.ceil(len(patches) / columns)
    low, high = resolve_window(window)
    figure = Figure(figsize=(1.25 * columns, 1.42 * rows), layout="constrained")
    figure.patch.set_alpha(0.0)
    grid = figure.subplots(rows, columns, squeeze=False)
    for ax in grid.flat:
        ax.set_axis_off()
    for index, patch in enumerate(patches):
        if patch.ndim != 2:
            raise UsageError(
                f"montage: patch {index} has shape {patch.shape}; expected (y, x): take a slice"
            )
        ax = grid.flat[index]
        pixel = pixels[index]
        aspect = pixel[1] / pixel[0] if pixel else 1.0
        ax.imshow(patch, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
        if pixel:
            height, width = patch.shape
            ax.add_patch(
                Rectangle(
                    (0.05 * width, 0.92 * height),
                    SCALE_BAR_MM / pixel[0],
                    0.025 * height,
                    facecolor="white",
                    edgecolor="black",
                    linewidth=0.3,
                )
            )
        if captions is not None:
            ax.set_title(literal(captions[index]), fontsize=FONT_SIZE - 1.5, color=INK, pad=2)
    return figure


def _spacings(
    given: Sequence[tuple[float, float]] | tuple[float, float] | None, count: int
) -> list[tuple[float, float] | None]:
    if given is None:
        return [None] * count
    array = np.asarray(given, dtype=np.float64)
    if array.shape == (2,):
        return [(float(array[0]), float(array[1]))] * count
    if array.shape != (count, 2):
        raise UsageError(
            f"montage: spacings_mm of shape {array.shape} for {count} patches; give (x, y) once "
            "or once a patch"
        )
    return [(float(x), float(y)) for x, y in array]
