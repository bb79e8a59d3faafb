"""Patches side by side, in a CT window, with a scale bar."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from nodulenet.ct.windows import Window, resolve_window
from nodulenet.errors import UsageError
from nodulenet.plots.style import FONT_SIZE, INK, literal

SCALE_BAR_MM = 10.0
# Tried in this order until one is short enough for the patch.
_BARS_MM = (SCALE_BAR_MM, 5.0, 2.0, 1.0)
_LONGEST_BAR = 0.7
# Blue and orange: apart for all eyes, and neither is a grey of the CT.
_AGAINST, _FOR = "#0072b2", "#e69f00"
_STRONGEST = 0.65


def montage_figure(
    patches: Sequence[npt.NDArray[np.floating] | npt.NDArray[np.integer]],
    *,
    captions: Sequence[str] | None = None,
    spacings_mm: Sequence[tuple[float, float]] | tuple[float, float] | None = None,
    window: Window = "lung",
    columns: int = 6,
    saliency: Sequence[npt.NDArray[np.floating] | None] | None = None,
) -> Figure:
    """A grid of two-dimensional patches in grey.

    Args:
        patches: HU, each (y, x).
        captions: One short text a patch, e.g. label and probability. Defaults to none.
        spacings_mm: Pixel size (x, y), one for all or one a patch; with it each patch gets true
            proportions and a scale bar of 10 mm (shorter in patches below 14.3 mm) with its
            length written above it. Defaults to none.
        window: A window of :mod:`nodulenet.ct.windows`. Defaults to ``"lung"``.
        columns: Patches in a row. Defaults to 6.
        saliency: One map a patch of its shape, -1..1, or None where there is none; laid over the
            patch in colour: orange speaks for the positive class, blue against it. Defaults to
            none.

    Returns:
        The figure.

    Raises:
        UsageError: no patches, or lists of different lengths, a patch that is not (y, x), or a
            saliency of another shape than its patch.
    """
    if not patches:
        raise UsageError("montage: no patches; give at least one (y, x) array of HU")
    pixels = _spacings(spacings_mm, len(patches))
    for given, what in ((captions, "captions"), (saliency, "saliency maps")):
        if given is not None and len(given) != len(patches):
            raise UsageError(
                f"montage: {len(given)} {what} for {len(patches)} patches; give one each"
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
        overlay = None if saliency is None else saliency[index]
        if overlay is not None and overlay.shape != patch.shape:
            raise UsageError(
                f"montage: saliency {index} has shape {overlay.shape}; expected that of its "
                f"patch, {patch.shape}"
            )
        ax = grid.flat[index]
        pixel = pixels[index]
        aspect = pixel[1] / pixel[0] if pixel else 1.0
        ax.imshow(patch, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
        if overlay is not None:
            add_saliency(ax, overlay, aspect=aspect)
        if pixel:
            add_scale_bar(ax, patch.shape[1] * pixel[0])
        if captions is not None:
            ax.set_title(literal(captions[index]), fontsize=FONT_SIZE - 1.5, color=INK, pad=2)
    return figure


def scale_bar_mm(width_mm: float) -> float:
    """Length of the scale bar of a picture of a width: 10 mm, or less where that is too long."""
    return next((bar for bar in _BARS_MM if bar <= _LONGEST_BAR * width_mm), _BARS_MM[-1])


def add_scale_bar(ax: Axes, width_mm: float) -> None:
    """A white bar at the lower left of a picture, with its length in mm above it.

    Args:
        ax: Axes with an image that fills them.
        width_mm: Width of the image.
    """
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    length = scale_bar_mm(width_mm)
    width, height = right - left, top - bottom
    x, y = left + 0.05 * width, bottom + 0.055 * height
    ax.add_patch(
        Rectangle(
            (x, y),
            length * width / width_mm,
            0.025 * height,
            facecolor="white",
            edgecolor="black",
            linewidth=0.3,
            gid="scale-bar",
        )
    )
    ax.text(
        x,
        y + 0.04 * height,
        f"{length:g} mm",
        ha="left",
        va="bottom",
        fontsize=FONT_SIZE - 2,
        color="white",
        path_effects=[withStroke(linewidth=1.2, foreground="black")],
        gid="scale-bar-length",
    )


def saliency_rgba(saliency: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Colours of a map: orange speaks for the positive class, blue against it.

    Args:
        saliency: Shape (rows, columns); beyond -1 and 1 it is cut off.

    Returns:
        (rows, columns, 4) in 0..1: the stronger, the less transparent.
    """
    strength = np.clip(np.asarray(saliency, dtype=np.float64), -1.0, 1.0)
    colours = np.empty((*strength.shape, 4))
    colours[..., :3] = np.where(strength[..., np.newaxis] < 0, to_rgb(_AGAINST), to_rgb(_FOR))
    colours[..., 3] = _STRONGEST * np.abs(strength)
    return colours


def add_saliency(
    ax: Axes,
    saliency: npt.NDArray[np.floating],
    *,
    aspect: float | None = None,
    extent: tuple[float, float, float, float] | None = None,
    interpolation: str = "nearest",
) -> None:
    """Lays a map of -1..1 over a picture: the stronger, the less transparent.

    Args:
        ax: Axes of the picture.
        saliency: Shape (rows, columns) of the picture; beyond -1 and 1 it is cut off.
        aspect: As of the picture. Defaults to that of the axes.
        extent: As of the picture. Defaults to pixels.
        interpolation: As of the picture. Defaults to "nearest".
    """
    colours = saliency_rgba(saliency)
    kept = ax.get_aspect() if aspect is None else aspect
    image = ax.imshow(colours, aspect=kept, extent=extent, interpolation=interpolation)
    image.set_gid("saliency")


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
