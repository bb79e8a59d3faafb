"""One look for all figures: 8 pt, quiet axes, colours that all eyes can tell apart."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#1f2328"
MUTED = "#59636e"
GRID = "#d1d9e0"
# Okabe M., Ito K., Color Universal Design, 2008; in the order that stays apart longest.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# Told apart by the dashes too: in black and white, and by eyes that see few colours.
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "solid",
    (0, (5, 1.5)),
    (0, (2, 1.2)),
    (0, (7, 1.5, 1.5, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (1, 1)),
)
FONT_SIZE = 8.0
# Widths of journals' columns in inches (89 and 183 mm), so that 8 pt stay 8 pt in print.
SINGLE_COLUMN_IN = 3.5
DOUBLE_COLUMN_IN = 7.2
LINE_WIDTH = 1.6


def series_style(index: int) -> tuple[str, str | tuple[int, tuple[float, ...]]]:
    """Colour and dashes of the nth series."""
    return SERIES[index % len(SERIES)], DASHES[index % len(DASHES)]


def axes_for(ax: Axes | None, *, width: float, height: float) -> tuple[Figure, Axes]:
    """The given axes with their figure, or new ones of a size in inches; no pyplot involved."""
    if ax is None:
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0.0)
        ax = figure.add_subplot()
    else:
        owner = ax.get_figure(root=True)
        assert owner is not None
        figure = owner
    dress(ax)
    return figure, ax


def dress(ax: Axes) -> None:
    """Sets fonts, spines, ticks and grid of axes."""
    ax.set_facecolor("none")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(MUTED)
        ax.spines[side].set_linewidth(0.8)
    ax.tick_params(labelsize=FONT_SIZE, colors=MUTED, labelcolor=INK, width=0.8, length=3)
    ax.grid(True, color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)


def name_axes(ax: Axes, x: str, y: str, title: str = "") -> None:
    """Labels of both axes and, where wanted, a title, in one size."""
    ax.set_xlabel(x, fontsize=FONT_SIZE, color=INK)
    ax.set_ylabel(y, fontsize=FONT_SIZE, color=INK)
    if title:
        ax.set_title(title, fontsize=FONT_SIZE, color=INK, loc="left", fontweight="bold")


def add_legend(ax: Axes, location: Any = "lower right") -> None:
    """A legend without a box that would need a background."""
    ax.legend(
        loc=location,
        fontsize=FONT_SIZE,
        frameon=False,
        labelcolor=INK,
        handlelength=2.4,
        borderaxespad=0.3,
    )


def literal(text: str) -> str:
    """Text that Matplotlib takes as it is: no mathematics, not hidden for an underscore."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
