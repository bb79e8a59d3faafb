"""A page of A4 to write on with Matplotlib, in millimetres from its upper left corner."""

from __future__ import annotations

import re
import warnings
from bisect import bisect_right
from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle

from nodulenet.plots.style import INK

WIDTH_MM, HEIGHT_MM = 210.0, 297.0
MARGIN_MM = 13.0
INNER_MM = WIDTH_MM - 2 * MARGIN_MM

_MM_PER_INCH = 25.4
_MM_PER_POINT = _MM_PER_INCH / 72
_LINE_HEIGHT = 1.32
_FAMILY = "DejaVu Sans"  # comes with Matplotlib, so that the page is the same everywhere
_NUMBER_AND_UNIT = re.compile(r"(\d) (%|mm\b)")
_UNITS = 64.0  # the font library counts in 64ths of a point


class Page:
    """One page, as a figure.

    Attributes:
        figure: the figure, A4.
    """

    def __init__(self) -> None:
        self.figure = Figure(figsize=(WIDTH_MM / _MM_PER_INCH, HEIGHT_MM / _MM_PER_INCH))
        self.figure.patch.set_facecolor("white")

    def write(
        self,
        lines: list[str],
        x_mm: float,
        y_mm: float,
        *,
        size: float,
        bold: bool = False,
        colour: str = INK,
        align: str = "left",
    ) -> None:
        """Writes lines below each other, the first one's upper edge at ``y_mm``."""
        for i, line in enumerate(lines):
            baseline = y_mm + (i + 0.8) * line_mm(size)
            self.figure.text(
                x_mm / WIDTH_MM,
                1.0 - baseline / HEIGHT_MM,
                line,
                fontsize=size,
                fontfamily=_FAMILY,
                fontweight="bold" if bold else "normal",
                color=colour,
                ha=align,
                va="baseline",
                parse_math=False,
            )

    def box(
        self, x_mm: float, y_mm: float, width_mm: float, height_mm: float, **style: Any
    ) -> None:
        """Draws a rectangle behind what is written."""
        self.figure.add_artist(
            Rectangle(
                (x_mm / WIDTH_MM, 1.0 - (y_mm + height_mm) / HEIGHT_MM),
                width_mm / WIDTH_MM,
                height_mm / HEIGHT_MM,
                transform=self.figure.transFigure,
                zorder=-1,
                **style,
            )
        )

    def axes(self, x_mm: float, y_mm: float, width_mm: float, height_mm: float) -> Axes:
        """Axes without frame and ticks for a picture."""
        ax = self.figure.add_axes(
            (
                x_mm / WIDTH_MM,
                1.0 - (y_mm + height_mm) / HEIGHT_MM,
                width_mm / WIDTH_MM,
                height_mm / HEIGHT_MM,
            )
        )
        ax.set_axis_off()
        return ax


def line_mm(size: float) -> float:
    """Height of a line of text of a size in points."""
    return size * _LINE_HEIGHT * _MM_PER_POINT


def wrapped(text: str, width_mm: float, size: float, *, bold: bool = False) -> list[str]:
    """The text in lines that are no wider than that; longer words are cut.

    A number stays with its unit.
    """
    lines: list[str] = []
    line = ""
    for word in _NUMBER_AND_UNIT.sub("\\1\N{NO-BREAK SPACE}\\2", text).split(" "):
        longer = f"{line} {word}" if line else word
        if text_mm(longer, size, bold=bold) <= width_mm:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while text_mm(line, size, bold=bold) > width_mm and len(line) > 1:
            cut = _letters_that_fit(line, width_mm, size, bold=bold)
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line] if line else lines


def _letters_that_fit(word: str, width_mm: float, size: float, *, bold: bool) -> int:
    """How many letters, at least one, are no wider than that."""
    widths = range(len(word) + 1)
    fit = bisect_right(widths, width_mm, key=lambda n: text_mm(word[:n], size, bold=bold))
    return max(1, fit - 1)


@lru_cache(maxsize=20_000)
def text_mm(text: str, size: float, *, bold: bool = False) -> float:
    """Width of a line of text."""
    font = get_font(findfont(FontProperties(family=_FAMILY, weight="bold" if bold else "normal")))
    font.set_size(size, 72)
    with warnings.catch_warnings():
        # Letters that the font lacks become boxes, here as on the page.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        font.set_text(text, 0.0)
    width, _ = font.get_width_height()
    return float(width) / _UNITS * _MM_PER_POINT
