"""The CSV of a figure holds what is drawn, so that a stranger can draw and count it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score

from nodulenet.errors import UsageError
from nodulenet.evaluation.calibration import reliability_bins
from nodulenet.evaluation.roc import roc_curve
from nodulenet.plots import (
    OperatingMark,
    calibration_figure,
    figure_numbers,
    interval_figure,
    montage_figure,
    roc_figure,
    save_figure,
    score_distribution_figure,
)


def data(n: int = 700) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = (random.random(n) < 0.4).astype(int)
    return labels, (1 / (1 + np.exp(-random.normal(2 * labels - 1, 1.5)))).round(2)  # with ties


def rows(table: pd.DataFrame, kind: str, series: str | None = None) -> pd.DataFrame:
    found = table[table["kind"] == kind]
    return found if series is None else found[found["series"] == series]


def test_the_csv_of_a_roc_has_the_auc_of_scikit_learn(tmp_path: Path) -> None:
    labels, p = data()
    figure = roc_figure(
        {"_v1 $x$": roc_curve(labels, p), "size": roc_curve(labels, -p)},
        labels={"_v1 $x$": "_v1 $x$, with a text so long that the legend breaks it in two"},
        points={"size": [OperatingMark(0.25, 0.5, "Youden")]},
        others=[OperatingMark(0.1, 0.7, "reader A")],
    )
    saved = save_figure(figure, tmp_path / "v2.1")
    assert {path.name for path in tmp_path.iterdir()} == {"v2.1.svg", "v2.1.png", "v2.1.csv"}
    table = pd.read_csv(saved.csv)  # type: ignore[arg-type]
    name = "_v1 $x$, with a text so long that the legend breaks it in two"
    for series, score in ((name, p), ("size", -p)):
        line = rows(table, "line", series)
        area = np.trapezoid(line["y"], line["x"])
        assert area == pytest.approx(roc_auc_score(labels, score), abs=1e-12)
    points = rows(table, "points").set_index("series")[["x", "y"]]
    assert points.loc["size, Youden"].tolist() == [0.25, 0.5]
    assert points.loc["reader A"].tolist() == [0.1, 0.7]
    assert table["x_label"].unique().tolist() == ["1 - specificity"]
    # The numbers lose no digit on the way through the file.
    assert table["x"].to_numpy().tolist() == figure_numbers(figure)["x"].to_numpy().tolist()
    # What a mark is labelled for the table must not stand in the legend twice.
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore
    assert texts[1:] == ["size", "Youden", "reader A"]


def test_intervals_counts_and_words_at_ticks_are_told() -> None:
    labels, p = data()
    bins = [b for b in reliability_bins(labels, p) if b.count]
    table = figure_numbers(calibration_figure({"m": bins}, labels={"m": "my model"}))
    intervals = rows(table, "interval", "my model")
    assert intervals["y_low"].tolist() == [b.interval.low for b in bins]
    assert intervals["y_high"].tolist() == [b.interval.high for b in bins]
    strip = rows(table, "step", "my model")
    assert (strip["panel"].tolist(), strip["y"].tolist()) == (
        [2] * len(bins),
        [b.count for b in bins],
    )
    table = figure_numbers(interval_figure([("a", 0.9, 0.8, 0.95), ("size", 0.7, None, None)]))
    assert rows(table, "interval")[["category", "x_low", "x_high"]].values.tolist() == [
        ["a", 0.8, 0.95]
    ]
    assert rows(table, "points")[["category", "x"]].values.tolist() == [["a", 0.9], ["size", 0.7]]
    assert rows(table, "reference")["x"].tolist() == [0.5]
    shares = figure_numbers(score_distribution_figure(labels, p)).groupby("series")["y"].sum()
    assert shares.tolist() == pytest.approx([1, 1])  # not twice for line and filled area


def test_figures_that_others_drew_are_read_too() -> None:
    values = np.random.default_rng(0).normal(size=50)
    figure = Figure()
    (a, b), (c, d) = figure.subplots(2, 2)
    counts, edges, _ = a.hist(values, bins=7, label="h")
    b.errorbar([1, 2], [3, 4], xerr=[[0.1, 0.2], [0.3, 0.4]], yerr=0.5, capsize=2, label="e")
    c.fill_between([0, 1, 2], [0, 1, 0], [2, 2, 5], label="band")
    c.axvspan(0.5, 0.7)
    c.scatter([1, 2], [5, 6], label="dots").set_visible(False)
    c.step([0, 1], [2, 3], where="post", label="s")
    d.barh(["x", "y"], [3, 2], label="b")
    d.imshow(np.zeros((2, 2)))
    b.bar(["p", "q"], [7, 8])
    table = figure_numbers(figure)
    bars = rows(table, "bar", "h")
    assert bars["y"].tolist() == counts.tolist()
    assert bars["x_low"].tolist() == pytest.approx(edges[:-1])
    assert rows(table, "points").iloc[:, -6:].values.tolist() == [
        pytest.approx([1, 3, 0.9, 1.3, 2.5, 3.5]),
        pytest.approx([2, 4, 1.8, 2.4, 3.5, 4.5]),
    ]
    band = rows(table, "band", "band")
    assert band[["x", "y_low", "y_high"]].values.tolist() == [[0, 0, 2], [1, 1, 2], [2, 0, 5]]
    assert rows(table, "zone")[["x_low", "x_high"]].values.tolist() == pytest.approx(
        np.array([[0.5, 0.7]])
    )
    assert rows(table, "steps-post", "s")["y"].tolist() == [2, 3]
    assert 4 not in set(table["panel"])  # shows a picture
    assert set(table["kind"]) == {"bar", "points", "band", "zone", "steps-post"}


def test_pictures_have_no_csv_and_nobodys_table_is_overwritten(tmp_path: Path) -> None:
    labels, p = data(50)
    pictures = montage_figure([np.zeros((4, 4))], spacings_mm=(1, 1))
    assert save_figure(roc_figure({"m": roc_curve(labels, p)}), tmp_path / "a.png").csv
    assert save_figure(pictures, tmp_path / "a").csv is None
    assert not (tmp_path / "a.csv").exists()  # it told of the figure before
    (tmp_path / "mine.csv").write_text("label,probability\n")
    with pytest.raises(UsageError, match=r"mine\.csv: holds something else"):
        save_figure(pictures, tmp_path / "mine")
    assert (tmp_path / "mine.csv").read_text() == "label,probability\n"
    assert not (tmp_path / "mine.svg").exists()


def test_a_value_that_is_missing_and_words_that_are_numbers_do_no_harm() -> None:
    figure = Figure()
    ax = figure.add_subplot()
    ax.errorbar([1, 2, 3], [3.0, float("nan"), 4.0], yerr=[0.5, 0.5, 0.25])
    figure.add_subplot().boxplot([[1, 2, 3]])
    rows = figure_numbers(figure)
    points = rows[(rows["panel"] == 1) & (rows["kind"] == "points")]
    assert list(points["y_low"].dropna()) == [2.5, 3.75]
