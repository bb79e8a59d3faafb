"""The numbers in a figure: what Matplotlib draws, read back from it as a table.

Taken from the artists and not from what a function was given, so that it serves every figure, also
those that somebody drew with own axes, and cannot tell anything else than the picture does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryLocator
from matplotlib.collections import FillBetweenPolyCollection, LineCollection, PathCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle, StepPatch
from matplotlib.ticker import FixedLocator

_NUMBERS = ("x", "y", "x_low", "x_high", "y_low", "y_high")
COLUMNS = ("panel", "title", "x_label", "y_label", "series", "kind", "category", *_NUMBERS)
# Drawn a second time to look better, e.g. the filled part of a histogram.
DECORATION = "-area"
# A line of two points that stands for an interval.
INTERVAL = "-interval"
_SERIES = re.compile(r"series-\d+")
# Ticks such as "1/8", which name no category.
_NUMBER = re.compile(r"[\s\d.,/eE+\N{MINUS SIGN}-]*")

_Row = dict[str, Any]


def figure_numbers(figure: Figure) -> pd.DataFrame:
    """What a figure shows, a row a point, interval, step or bar.

    Lines, scattered points, error bars, intervals (``vlines``, ``hlines``), bands
    (``fill_between``), steps (``stairs``), bars and histograms, and lines and zones across a panel
    (``axhline``, ``axvspan``) are read. Panels that show a picture (``imshow``) give no rows, nor
    do texts, shapes and what is invisible.

    Args:
        figure: Any figure, of this package or not.

    Returns:
        One row each, in the order of drawing by panel, with the columns

        - ``panel``: number of the axes, from 1; ``title``, ``x_label``, ``y_label``: of the axes;
        - ``series``: the label of the curve (that of the legend), else the label of what belongs
            to the same series (:mod:`nodulenet.plots` gives artists the gids ``series-<i>-...``),
            else the gid, else nothing;
        - ``kind``: ``line`` (its drawstyle, e.g. ``steps-pre``, where it has one), ``points``,
            ``interval``, ``band``, ``step``, ``bar``, ``reference`` (a line across the panel) or
            ``zone``;
        - ``category``: the text at the tick, where an axis has words at its ticks;
        - ``x``, ``y``, ``x_low``, ``x_high``, ``y_low``, ``y_high``: float64 in the units of the
            axes, NaN where a kind has none.

    Example:
        >>> figure = Figure()
        >>> _ = figure.add_subplot().plot([0, 1], [2, 3], label="a")
        >>> figure_numbers(figure)[["series", "kind", "x", "y"]].values.tolist()
        [['a', 'line', 0.0, 2.0], ['a', 'line', 1.0, 3.0]]
    """
    rows: list[_Row] = []
    panels = list(_panels(figure))
    elsewhere = {series: name for ax in reversed(panels) for series, name in _names(ax).items()}
    for number, ax in enumerate(panels, start=1):
        panel = _Panel.of(ax, elsewhere)
        heads: _Row = {
            "panel": number,
            "title": _plain(" ".join(ax.get_title(loc) for loc in ("left", "center", "right"))),
            "x_label": _plain(ax.get_xlabel()),
            "y_label": _plain(ax.get_ylabel()),
        }
        rows += [heads | row for row in panel.rows()]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["panel"] = table["panel"].astype("int64")
    words = [name for name in COLUMNS[1:] if name not in _NUMBERS]
    table[words] = table[words].astype("str")
    return table.astype(dict.fromkeys(_NUMBERS, "float64"))


def _panels(figure: Figure) -> Iterator[Axes]:
    for ax in figure.axes:
        yield ax
        yield from (child for child in ax.child_axes if isinstance(child, Axes))


@dataclass(frozen=True)
class _Panel:
    """One axes that shows data.

    Attributes:
        ax: The axes.
        names: Series of the gids -> label, in this panel, else in another of the figure.
        containers: id of an artist -> the bars or error bars that it is part of.
        categories: For x and y, position -> text at the tick.
    """

    ax: Axes
    names: Mapping[str, str]
    containers: Mapping[int, BarContainer | ErrorbarContainer]
    categories: tuple[Mapping[float, str], Mapping[float, str]]
    drawn: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, ax: Axes, elsewhere: Mapping[str, str]) -> _Panel:
        containers: dict[int, BarContainer | ErrorbarContainer] = {}
        for container in ax.containers:
            if isinstance(container, BarContainer):
                containers |= {id(bar): container for bar in container.patches}
            elif isinstance(container, ErrorbarContainer):
                line, caps, bars = container.lines
                parts = [*([line] if line is not None else []), *caps, *bars]
                containers |= {id(part): container for part in parts}
        names = {**elsewhere, **_names(ax)}
        return cls(ax, names, containers, (_categories(ax.xaxis), _categories(ax.yaxis)))

    def rows(self) -> Iterator[_Row]:
        if self.ax.images or not self.ax.get_visible():
            return
        for artist in self.ax.get_children():
            gid = artist.get_gid() or ""
            if not artist.get_visible() or gid.endswith(DECORATION):
                continue
            series = self._series(artist)
            for row in self._of(artist):
                yield {"series": series, "category": self._category(row)} | row

    def _of(self, artist: Artist) -> Iterator[_Row]:
        container = self.containers.get(id(artist))
        if container is not None:
            # Once, at the first of its parts.
            if id(container) not in self.drawn:
                self.drawn.add(id(container))
                yield from (
                    _bars(container) if isinstance(container, BarContainer) else _errors(container)
                )
        elif isinstance(artist, Line2D):
            yield from self._line(artist)
        elif isinstance(artist, PathCollection):
            yield from _points("points", np.ma.filled(artist.get_offsets(), np.nan))
        elif isinstance(artist, FillBetweenPolyCollection):
            yield from _band(artist)
        elif isinstance(artist, LineCollection):
            yield from _segments(artist)
        elif isinstance(artist, StepPatch):
            yield from _steps(artist)
        elif isinstance(artist, Rectangle):
            yield from self._zone(artist)

    def _line(self, line: Line2D) -> Iterator[_Row]:
        points = np.column_stack(
            [np.asarray(line.get_xdata(orig=False)), np.asarray(line.get_ydata(orig=False))]
        )
        in_x, in_y = self._in_data(line)
        if in_x and in_y and (line.get_gid() or "").endswith(INTERVAL):
            yield from _segment(points)
        elif in_x and in_y:
            drawn = str(line.get_linestyle()).lower() not in ("none", " ", "")
            # A line of a single point is its marker.
            style = str(line.get_drawstyle()) if drawn and len(points) != 1 else "points"
            yield from _points("line" if style == "default" else style, points)
        elif in_x or in_y:
            axis, column = ("x", 0) if in_x else ("y", 1)
            for value in np.unique(points[:, column]):
                yield {"kind": "reference", axis: value}

    def _zone(self, patch: Rectangle) -> Iterator[_Row]:
        in_x, in_y = self._in_data(patch)
        if in_x != in_y:
            (x, y), width, height = patch.get_xy(), patch.get_width(), patch.get_height()
            ends = sorted((x, x + width) if in_x else (y, y + height))
            axis = "x" if in_x else "y"
            yield {"kind": "zone", f"{axis}_low": ends[0], f"{axis}_high": ends[1]}

    def _in_data(self, artist: Line2D | Rectangle) -> tuple[bool, bool]:
        """Whether x and y of an artist are in the units of the axes."""
        transform = artist.get_transform()
        in_x, in_y = transform.contains_branch_seperately(self.ax.transData)
        return bool(in_x), bool(in_y)

    def _series(self, artist: Artist) -> str:
        container = self.containers.get(id(artist))
        gid = artist.get_gid() or ""
        series = _SERIES.match(gid)
        of_series = self.names.get(series.group(), "") if series else ""
        own = str(container.get_label() or "") if container is not None else ""
        named = "" if own.startswith("_") else _plain(own)
        return named or _label(artist) or of_series or gid

    def _category(self, row: _Row) -> str:
        texts = [
            known[row[axis]]
            for axis, known in zip("xy", self.categories, strict=True)
            if row.get(axis) in known
        ]
        return " ".join(texts)


def _points(kind: str, xy: Any) -> Iterator[_Row]:
    for x, y in np.asarray(xy, dtype=np.float64):
        yield {"kind": kind, "x": x, "y": y}


def _band(band: FillBetweenPolyCollection) -> Iterator[_Row]:
    upright = band.t_direction == "x"  # type: ignore[attr-defined]
    along, across = ("x", "y") if upright else ("y", "x")
    for path in band.get_paths():
        vertices = np.asarray(path.vertices, dtype=np.float64)
        if along == "y":
            vertices = vertices[:, ::-1]
        at, group = np.unique(vertices[:, 0], return_inverse=True)
        low, high = np.full(at.size, np.inf), np.full(at.size, -np.inf)
        np.minimum.at(low, group, vertices[:, 1])
        np.maximum.at(high, group, vertices[:, 1])
        for position, least, most in zip(at, low, high, strict=True):
            yield {"kind": "band", along: position, f"{across}_low": least, f"{across}_high": most}


def _segments(lines: LineCollection) -> Iterator[_Row]:
    for segment in lines.get_segments():
        yield from _segment(np.asarray(segment, dtype=np.float64))


def _segment(ends: npt.NDArray[Any]) -> Iterator[_Row]:
    if not len(ends):
        return
    (x_low, y_low), (x_high, y_high) = ends.min(axis=0), ends.max(axis=0)
    if len(ends) == 2 and x_low == x_high:
        yield {"kind": "interval", "x": x_low, "y_low": y_low, "y_high": y_high}
    elif len(ends) == 2 and y_low == y_high:
        yield {"kind": "interval", "y": y_low, "x_low": x_low, "x_high": x_high}
    else:
        yield from _points("line", ends)


def _steps(patch: StepPatch) -> Iterator[_Row]:
    values, edges, _ = patch.get_data()
    along, across = ("x", "y") if patch.orientation == "vertical" else ("y", "x")
    for value, low, high in zip(values, edges[:-1], edges[1:], strict=True):
        yield {"kind": "step", f"{along}_low": low, f"{along}_high": high, across: value}


def _bars(container: BarContainer) -> Iterator[_Row]:
    for bar in container.patches:
        x, y, width, height = bar.get_x(), bar.get_y(), bar.get_width(), bar.get_height()
        if container.orientation == "horizontal":
            yield {"kind": "bar", "y": y + height / 2, "x": x + width, "y_low": y} | {
                "y_high": y + height
            }
        else:
            yield {"kind": "bar", "x": x + width / 2, "y": y + height, "x_low": x} | {
                "x_high": x + width
            }


def _errors(container: ErrorbarContainer) -> Iterator[_Row]:
    line, _, collections = container.lines
    ends = [bars.get_segments() for bars in collections]
    # Matplotlib draws the horizontal ones first.
    axes = [axis for axis, has in (("x", container.has_xerr), ("y", container.has_yerr)) if has]
    if line is not None:
        xs, ys = np.asarray(line.get_xdata(orig=False)), np.asarray(line.get_ydata(orig=False))
        points = [{"x": float(x), "y": float(y)} for x, y in zip(xs, ys, strict=True)]
    else:
        points = [{} for _ in ends[0]]
    for index, point in enumerate(points):
        row: _Row = {"kind": "points"} | point
        for axis, segments in zip(axes, ends, strict=False):
            if len(segments) == len(points):
                values = np.asarray(segments[index], dtype=np.float64)
                if values.ndim != 2:  # nothing is drawn where a value or its error is missing
                    continue
                column = "xy".index(axis)
                row |= {f"{axis}_low": values[:, column].min()}
                row |= {f"{axis}_high": values[:, column].max()}
                if line is None:
                    other = "yx"[column]
                    row[other] = values[0, 1 - column]
        yield row


def _categories(axis: Axis) -> dict[float, str]:
    """Position -> text of an axis whose ticks were given words."""
    if not isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator):
        return {}
    places = [float(place) for place in axis.get_majorticklocs()]
    texts = axis.get_major_formatter().format_ticks(places)
    known = {p: _plain(t) for p, t in zip(places, map(str, texts), strict=True) if t.strip()}
    return {} if all(_NUMBER.fullmatch(text) for text in known.values()) else known


def _names(ax: Axes) -> dict[str, str]:
    """Series of the gids -> label, of those that have one."""
    names: dict[str, str] = {}
    for artist in ax.get_children():
        series = _SERIES.match(artist.get_gid() or "")
        if series and _label(artist):
            names.setdefault(series.group(), _label(artist))
    return names


def _label(artist: Artist) -> str:
    """The label of the legend, or nothing."""
    label = str(artist.get_label() or "")
    return "" if label.startswith("_") else _plain(label)


def _plain(text: str) -> str:
    """Text as it was before Matplotlib's marks were escaped and lines were broken."""
    return " ".join(text.replace(r"\$", "$").split())
