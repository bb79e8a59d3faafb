"""The difference plot: what is drawn is what was computed."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure

from nodulenet.errors import UsageError
from nodulenet.plots.difference import difference_figure
from nodulenet.plots.render import figure_svg


def row(
    first: str, value: float, low: float | None, high: float | None, p: float | None, tests: int = 3
) -> dict[str, Any]:
    return {
        "first": first,
        "second": "v_$1",
        "available": True,
        "difference": value,
        "patient_bootstrap": {"low": low, "high": high, "level": 0.95, "method": "m"},
        "bootstrap_p_value": p,
        "bootstrap_p_holm": None if p is None else min(1.0, tests * p),
        "tests_in_family": tests,
    }


ROWS = [
    row("v2", 0.03, 0.01, 0.05, 0.0001),
    row("v3", -0.04, -0.09, 0.01, 0.04),
    row("v4", 0.0, None, None, None),
    {"first": "v5", "second": "v_$1", "available": False, "why": "no rows"},
]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_points_intervals_and_p_values() -> None:
    figure = difference_figure(ROWS)
    ax = figure.axes[0]
    assert len(ax.get_yticklabels()) == 3
    assert ax.get_yticklabels()[0].get_text() == "v2 \N{MINUS SIGN} v_\\$1"
    drawn = [tuple(map(float, line.get_xdata())) for line in ax.lines]
    assert (0.01, 0.05) in drawn
    assert (-0.09, 0.01) in drawn
    assert {(0.03,), (-0.04,), (0.0,)} <= set(drawn)
    assert (0.0, 0.0) in drawn  # the line of no difference
    assert texts(figure) == ["p < 0.001 (Holm)", "p = 0.120 (Holm)", "no test"]
    left, right = ax.get_xlim()
    assert left < -0.09 < 0.05 < right
    assert "p = 0.120 (Holm)" in figure_svg(figure)


def test_one_pair_is_not_said_to_be_corrected() -> None:
    assert texts(difference_figure([row("v2", 0.03, 0.01, 0.05, 0.02, tests=1)])) == ["p = 0.020"]


def test_the_margin_is_a_line_and_a_shade_and_in_view() -> None:
    ax = difference_figure(ROWS[:1], margin=0.1).axes[0]
    (line,) = [found for found in ax.lines if found.get_gid() == "margin"]
    assert list(line.get_xdata()) == [-0.1, -0.1]
    (zone,) = [found for found in ax.patches if found.get_gid() == "margin-zone"]
    assert zone.get_x() + zone.get_width() == pytest.approx(-0.1)
    assert ax.get_xlim()[0] < -0.1
    assert zone.get_x() <= ax.get_xlim()[0]
    from_rows = [ROWS[0] | {"non_inferiority": {"margin": 0.07}}]
    gids = {found.get_gid(): found for found in difference_figure(from_rows).axes[0].lines}
    assert list(gids["margin"].get_xdata()) == [-0.07, -0.07]
    assert "margin" not in {found.get_gid() for found in difference_figure(ROWS).axes[0].lines}


def test_nothing_to_draw_is_said() -> None:
    for rows in ([], ROWS[3:]):
        with pytest.raises(UsageError, match="no comparison is available"):
            difference_figure(rows)
