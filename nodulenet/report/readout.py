"""What a curve says at each of its points, for the readout that the page's script offers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from nodulenet.evaluation.arrays import Floats

# Closer points cannot be told apart with a pointer.
_MOST_POINTS = 250


@dataclass(frozen=True)
class ReadableCurve:
    """One curve of a figure.

    Attributes:
        name: For the reader.
        x: In the units of the axis, shape (n,).
        y: As x.
        text: From the position of a point to what is read there.
    """

    name: str
    x: Floats
    y: Floats
    text: Callable[[int], str]


def readout(ax: Axes, curves: Sequence[ReadableCurve]) -> str:
    """JSON for the page's script: of each curve its name and ``[x, y, text]`` of its points.

    Args:
        ax: The axes, already laid out as they were saved.
        curves: In the order of the figure's series.

    Returns:
        x and y are in the coordinates of the figure's SVG, whose unit is 1/72 inch.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    height = figure.get_figheight() * 72
    series = []
    for curve in curves:
        finite = np.flatnonzero(np.isfinite(curve.x) & np.isfinite(curve.y))
        chosen = finite[_spread(curve.x[finite], curve.y[finite])]
        at = ax.transData.transform(np.stack([curve.x[chosen], curve.y[chosen]], axis=1))
        at *= 72 / figure.dpi
        points = [
            [round(float(x), 1), round(height - float(y), 1), curve.text(int(index))]
            for index, (x, y) in zip(chosen, at, strict=True)
        ]
        series.append({"name": curve.name, "points": points})
    return json.dumps({"series": series}, ensure_ascii=True)


def _spread(x: Floats, y: Floats) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Positions of points about equally far apart along the curve."""
    if x.size <= _MOST_POINTS:
        return np.arange(x.size)
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.linspace(0, length[-1], _MOST_POINTS)
    return np.unique(np.searchsorted(length, wanted).clip(0, x.size - 1))
