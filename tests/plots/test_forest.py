"""The forest plot draws the estimates it is given, and says which groups are small."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nodulenet.errors import UsageError
from nodulenet.plots.forest import forest_figure, interval_figure
from nodulenet.plots.render import figure_svg
from nodulenet.plots.style import MUTED, SERIES


def limits(low: float | None, high: float | None) -> dict[str, Any]:
    return {"low": low, "high": high}


def group(name: str, aucs: dict[str, float | None], **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "positives": 20,
        "negatives": 30,
        "small": False,
        "models": {
            model: {
                "auc": auc,
                "auc_interval": None if auc is None else limits(auc - 0.1, auc + 0.05),
            }
            for model, auc in aucs.items()
        },
        "size_auc": 0.7,
        "size_auc_interval": limits(0.6, 0.8),
    } | changes


def subgroups() -> list[dict[str, Any]]:
    return [
        {
            "column": "diameter_mm",
            "available": True,
            "groups": [
                group("below 6 mm", {"v2": 0.8, "_v1$": 0.75}),
                group("6 mm and above", {"v2": 0.9, "_v1$": 0.85}, small=True),
                group(
                    "unknown",
                    {"v2": None, "_v1$": None},
                    negatives=0,
                    size_auc=None,
                    size_auc_interval=None,
                ),
            ],
        },
        {"column": "kernel", "available": False, "why": "one group", "groups": []},
    ]


def drawn(figure: Figure, ending: str) -> dict[str, Line2D]:
    lines = {str(line.get_gid()): line for line in figure.axes[0].lines}
    return {gid: line for gid, line in lines.items() if gid.endswith(ending)}


def test_every_estimate_of_every_group_is_drawn_once() -> None:
    figure = forest_figure(subgroups(), overall={"v2": 0.86, "size alone": 0.72})
    values = drawn(figure, "-value")
    assert {gid: line.get_xdata()[0] for gid, line in values.items()} == {
        "series-0-group-0-value": 0.8,
        "series-1-group-0-value": 0.75,
        "series-2-group-0-value": 0.7,
        "series-0-group-1-value": 0.9,
        "series-1-group-1-value": 0.85,
        "series-2-group-1-value": 0.7,
    }
    interval = drawn(figure, "series-0-group-1-interval")["series-0-group-1-interval"]
    assert interval.get_xdata().tolist() == pytest.approx([0.8, 0.95])
    size = values["series-2-group-0-value"]
    assert (size.get_marker(), to_hex(size.get_color())) == ("s", MUTED)
    assert to_hex(values["series-1-group-0-value"].get_color()) == SERIES[1]
    lines = drawn(figure, "-overall")
    assert {gid: line.get_xdata()[0] for gid, line in lines.items()} == {
        "series-0-overall": 0.86,
        "series-2-overall": 0.72,
    }


def test_small_groups_are_hollow_and_named_and_one_class_is_said() -> None:
    figure = forest_figure(subgroups())
    values = drawn(figure, "-value")
    assert values["series-0-group-1-value"].get_markerfacecolor() == "white"
    assert values["series-0-group-0-value"].get_markerfacecolor() == SERIES[0]
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "diameter (mm)",
        "below 6",
        "6 and above, small",
        "unknown",
    ]
    texts = [text.get_text() for text in ax.texts]
    assert texts.count("20 / 30") == 2
    assert "one class only" in texts
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "v2",
        r" _v1\$",
        "size alone",
        "hollow: small group",
    ]
    # First row on top, none on another.
    positions = ax.get_yticks().tolist()
    assert positions == sorted(positions)
    assert ax.yaxis_inverted()


def test_one_model_has_its_numbers_beside() -> None:
    figure = forest_figure(subgroups(), models=["v2"])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "0.80 (0.70\N{EN DASH}0.85)" in texts
    assert not drawn(figure, "series-2-group-0-value")
    assert "_v1$" not in figure_svg(figure)


def test_the_legend_and_the_texts_cover_no_data() -> None:
    figure = forest_figure(subgroups(), overall={"v2": 0.86})
    figure.draw_without_rendering()
    ax = figure.axes[0]
    legend = ax.get_legend()
    assert legend is not None
    assert legend.get_window_extent().y0 >= ax.get_window_extent().y1 - 1
    right = ax.get_window_extent().x1
    beside = [t for t in ax.texts if "/" in t.get_text()]
    assert all(t.get_window_extent().x0 > right for t in beside)
    width, height = figure.get_size_inches() * figure.dpi
    for artist in [*beside, *ax.get_yticklabels(), legend]:
        box = artist.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= width + 1
        assert box.y0 >= -1
        assert box.y1 <= height + 1


def test_all_numbers_are_within_the_axis() -> None:
    columns = subgroups()
    columns[0]["groups"][0]["models"]["v2"] |= {"auc": 0.2, "auc_interval": limits(0.05, 0.4)}
    left, right = forest_figure(columns).axes[0].get_xlim()
    assert left < 0.05
    assert right > 0.95


def test_no_column_is_an_error() -> None:
    with pytest.raises(UsageError, match="no column of the subgroups is available"):
        forest_figure(subgroups()[1:])


def test_interval_figure_has_a_name_for_every_artist() -> None:
    own = Figure()
    ax = own.add_subplot()
    assert (
        interval_figure([("a", 0.1, -0.1, 0.2), ("b", 0.0, None, None)], reference=0.0, ax=ax)
        is own
    )
    assert [line.get_gid() for line in ax.lines] == [
        "series-0-interval",
        "series-0-value",
        "series-1-value",
        "reference",
    ]
    without = interval_figure([("a", 0.1, None, None)], reference=None)
    assert [line.get_gid() for line in without.axes[0].lines] == ["series-0-value"]
    assert forest_figure(subgroups(), ax=Figure().add_subplot()).axes[0].has_data()
