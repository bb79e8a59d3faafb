"""A patch beside itself with a map of what a model's answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from nodulenet.ct.windows import Window, resolve_window
from nodulenet.errors import UsageError
from nodulenet.plots.montage import add_saliency, add_scale_bar, saliency_rgba
from nodulenet.plots.planes import PLANES, middle_planes
from nodulenet.plots.style import FONT_SIZE, INK, MUTED, axes_for, literal

Picture = npt.NDArray[np.floating[Any]]

CONTOUR = 0.5
"""The lines are drawn at half of the strongest value, for and against."""

_LETTERS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
_LETTER_PLACES = ((0.07, 0.5), (0.93, 0.5), (0.5, 0.93), (0.5, 0.07))
# Light and dark: the lines stay apart from each other and from every grey of the CT.
_FOR_LINE, _AGAINST_LINE = "#ffc447", "#56b4e9"


@dataclass(frozen=True)
class ExplainedPlane:
    """A plane of a patch as it is shown, rows from top to bottom, with its map.

    Attributes:
        name: ``axial``, ``coronal`` or ``sagittal``.
        image: HU (rows, columns).
        saliency: -1..1, of the same shape.
        spacing_mm: across and down.
    """

    name: str
    image: Picture
    saliency: Picture
    spacing_mm: tuple[float, float]


def explained_planes(
    values: npt.NDArray[Any],
    saliency: npt.NDArray[np.floating[Any]],
    spacing_mm: tuple[float, float, float],
    *,
    kind: Literal["body", "planes"] = "body",
) -> list[ExplainedPlane]:
    """The planes of a patch through its centre, as radiologists look at them.

    Args:
        values: HU without margin: a body (z, y, x) or one axial plane (y, x), or orthogonal planes
            (3, rows, columns): (y, x), (z, x), (z, y), z rising.
        saliency: -1..1, of the same shape.
        spacing_mm: (x, y, z).
        kind: what three axes are. Defaults to "body".

    Raises:
        UsageError: another number of axes, or shapes that differ.
    """
    if values.shape != saliency.shape or values.ndim not in (2, 3):
        raise UsageError(
            f"explanation: patch of shape {values.shape} with a map of {saliency.shape}; expected "
            f"the same shape, (z, y, x), (y, x) or (3, rows, columns), both without margin"
        )
    x, y, z = spacing_mm
    if values.ndim == 2:
        return [ExplainedPlane("axial", values, saliency, (x, y))]
    if kind == "planes":
        images, maps = ((a[0], a[1][::-1], a[2][::-1]) for a in (values, saliency))
    else:
        images, maps = middle_planes(values), middle_planes(saliency)
    spacings = ((x, y), (x, z), (y, z))
    return [ExplainedPlane(*given) for given in zip(PLANES, images, maps, spacings, strict=True)]


def draw_explained(
    plane: ExplainedPlane,
    *,
    window: Window = "lung",
    with_map: bool = True,
    ax: Axes | None = None,
) -> Figure:
    """One plane in true proportions, with its map: orange speaks for the positive class.

    The map is a tint and, so that it can be told without colours, lines at half of the strongest
    value: solid for, dashed against. The patient's right is on the left, in the sagittal plane
    anterior is; the head is up.

    Args:
        plane: the plane.
        window: a window of :mod:`nodulenet.ct.windows`. Defaults to "lung".
        with_map: False draws the plane alone. Defaults to True.
        ax: where to. Defaults to a new figure.

    Returns:
        The figure.
    """
    figure, ax = axes_for(ax, width=2.6, height=2.6)
    low, high = resolve_window(window)
    rows, columns = plane.image.shape
    half_x, half_y = columns * plane.spacing_mm[0] / 2, rows * plane.spacing_mm[1] / 2
    extent = (-half_x, half_x, half_y, -half_y)
    ax.grid(visible=False)
    ax.set_axis_off()
    ax.imshow(plane.image, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="nearest")
    if with_map:
        add_saliency(ax, plane.saliency, extent=extent)
        _add_lines(ax, plane.saliency, (half_x, half_y))
        ax.set_xlim(-half_x, half_x)
        ax.set_ylim(half_y, -half_y)
    for (x, y), letter in zip(_LETTER_PLACES, _LETTERS[plane.name], strict=True):
        ax.text(
            x,
            y,
            letter,
            transform=ax.transAxes,
            ha="center",
            va="center",
            fontsize=FONT_SIZE - 0.5,
            color="white",
            path_effects=[withStroke(linewidth=1.5, foreground="black")],
        )
    add_scale_bar(ax, 2 * half_x)
    return figure


def explanation_figure(
    planes: Sequence[ExplainedPlane],
    *,
    title: str,
    says: Sequence[str],
    positive: str,
    window: Window = "lung",
    strongest: float | None = None,
    unit: str = "",
) -> Figure:
    """Every plane as it is and with its map, and below what the map is.

    Args:
        planes: of :func:`explained_planes`.
        title: above, e.g. the scan, the point and the answer.
        says: lines below: method and layer, what the probability means, what must be known.
        positive: name of the positive class.
        window: a window of :mod:`nodulenet.ct.windows`. Defaults to "lung".
        strongest: what a map's 1 stands for, for the scale. Defaults to none, shares of it.
        unit: of ``strongest``. Defaults to none.

    Raises:
        UsageError: no planes.
    """
    if not planes:
        raise UsageError("explanation: no planes; give at least one")
    one = len(planes) == 1
    lines = [line for text in says for line in _wrapped(text, 84 if one else 126)]
    names = _wrapped(title, 70 if one else 108)
    top, bottom = 0.19 * len(names) + 0.18, 0.58 + 0.15 * len(lines)
    width, tall = (5.4, 2.6) if one else (7.8, 5.1)
    figure = Figure(figsize=(width, tall + top + bottom))
    figure.patch.set_alpha(0.0)
    height = tall + top + bottom
    grid = figure.add_gridspec(
        1 if one else 2,
        2 if one else len(planes),
        left=0.012,
        right=0.988,
        top=1 - (top + 0.02) / height,
        bottom=(bottom + 0.05) / height,
        wspace=0.03,
        hspace=0.03,
    )
    for index, plane in enumerate(planes):
        for with_map in (False, True):
            place = (0, int(with_map)) if one else (int(with_map), index)
            ax = figure.add_subplot(grid[place])
            draw_explained(plane, window=window, with_map=with_map, ax=ax)
            if not with_map or one:
                text = f"{plane.name}, with the map" if with_map else plane.name
                ax.set_title(text, fontsize=FONT_SIZE, color=INK, pad=2)
    figure.text(
        0.012,
        1 - 0.05 / height,
        literal("\n".join(names)),
        fontsize=FONT_SIZE + 1,
        color=INK,
        va="top",
    )
    scale = figure.add_axes((0.3, (bottom - 0.3) / height, 0.4, 0.12 / height))
    _draw_scale(scale, positive, strongest, unit)
    figure.text(
        0.012,
        0.05 / height,
        literal("\n".join(lines)),
        fontsize=FONT_SIZE,
        color=MUTED,
        va="bottom",
        linespacing=1.3,
    )
    return figure


def _add_lines(ax: Axes, saliency: Picture, half_mm: tuple[float, float]) -> None:
    rows, columns = saliency.shape
    if min(rows, columns) < 2:
        return
    x = (np.arange(columns) + 0.5) / columns * 2 * half_mm[0] - half_mm[0]
    y = (np.arange(rows) + 0.5) / rows * 2 * half_mm[1] - half_mm[1]
    for level, colour, style in ((CONTOUR, _FOR_LINE, "-"), (-CONTOUR, _AGAINST_LINE, "--")):
        if saliency.min() < level < saliency.max():
            lines = ax.contour(
                x, y, saliency, levels=[level], colors=colour, linestyles=style, linewidths=1.1
            )
            lines.set_gid("saliency-line")


def _draw_scale(ax: Axes, positive: str, strongest: float | None, unit: str) -> None:
    """The tint from -1 to 1 over the grey of the middle of the window."""
    shares = np.linspace(-1, 1, 201)[np.newaxis]
    extent = (-1.0, 1.0, 0.0, 1.0)
    ax.imshow([[0.5]], cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto")
    ax.imshow(saliency_rgba(shares), extent=extent, aspect="auto")
    for level, colour, style in ((CONTOUR, _FOR_LINE, "-"), (-CONTOUR, _AGAINST_LINE, "--")):
        ax.axvline(level, color=colour, linestyle=style, linewidth=1.1)
    ax.set_yticks([])
    ax.set_xticks([-1, -CONTOUR, 0, CONTOUR, 1])
    if strongest is not None:
        ax.set_xticklabels([_signed(share * strongest) for share in ax.get_xticks()])
    ax.tick_params(labelsize=FONT_SIZE - 1, colors=MUTED, labelcolor=INK, width=0.6, length=2)
    for spine in ax.spines.values():
        spine.set_linewidth(0.6)
        spine.set_color(MUTED)
    for x, side, text in ((-1.05, "right", "against"), (1.05, "left", "for")):
        ax.text(x, 0.5, text, ha=side, va="center", fontsize=FONT_SIZE, color=INK)
    what = f"what speaks for and against “{positive}”" + (f": {unit}" if unit else "")
    ax.set_title(literal(what), fontsize=FONT_SIZE, color=INK, pad=3)


def _signed(value: float) -> str:
    return f"{value:+.2g}" if value else "0"


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width) or [""]
