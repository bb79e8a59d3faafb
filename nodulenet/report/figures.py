"""The figures of a report: drawn once, put into the page and written beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from nodulenet.evaluation.calibration import ReliabilityBin
from nodulenet.evaluation.interval import Interval
from nodulenet.evaluation.kinds import is_baseline
from nodulenet.evaluation.precision_recall import PrecisionRecallCurve, precision_recall_curve
from nodulenet.evaluation.roc import RocCurve, roc_curve
from nodulenet.evaluation.sizes import known_sizes, with_sizes
from nodulenet.evaluation.table import outer_rows
from nodulenet.plots.calibration import (
    calibration_figure,
    recalibration_figure,
    score_distribution_figure,
)
from nodulenet.plots.difference import difference_figure
from nodulenet.plots.forest import Row, forest_figure, interval_figure
from nodulenet.plots.froc import froc_figure
from nodulenet.plots.learning import learning_curves_figure, loss_figure, validation_auc_figure
from nodulenet.plots.precision_recall import precision_recall_figure
from nodulenet.plots.render import figure_svg, save_figure
from nodulenet.plots.roc import OperatingMark, roc_figure
from nodulenet.report.content import ReportContent
from nodulenet.report.format import number, percent, signed
from nodulenet.report.gallery import gallery_figure
from nodulenet.report.pictures import Picture, picture
from nodulenet.report.readout import ReadableCurve, readout
from nodulenet.report.svg import inline_svg

MOST_GALLERY_ITEMS = 24
# More differences than this are a table, not a figure.
MOST_PAIRS = 12


@dataclass(frozen=True, kw_only=True)
class ReportFigure:
    """A figure in the page.

    Attributes:
        svg: The element.
        caption: Text below it.
        curves: What its curves say at their points, for the page's script; empty for none.
    """

    svg: Markup
    caption: str
    curves: str = ""


@dataclass(frozen=True)
class _Score:
    """What a curve is drawn of."""

    name: str
    label: pd.Series[int]
    values: pd.Series[float]
    auc: float
    average_precision: float


class FigureBook:
    """Draws the figures of one report and writes each into a folder."""

    def __init__(self, content: ReportContent, folder: Path) -> None:
        self._content = content
        self._folder = folder
        self._rows = outer_rows(content.predictions)
        self._names: set[str] = set()
        # Baselines stand in tables, and in the figure that compares all.
        models = content.metrics["models"]
        contenders = [m for m, result in models.items() if not is_baseline(result["kind"])]
        self._shown = {m: models[m] for m in contenders or models}

    def headline(self) -> ReportFigure | None:
        """AUC of every model and of the size alone, with intervals."""
        metrics = self._content.metrics
        rows: list[Row] = []
        muted: list[str] = []
        for model, result in metrics["models"].items():
            value = result["pooled"]["auc"]
            if value is not None:
                limits = value["patient_bootstrap"]
                rows.append((model, value["value"], limits["low"], limits["high"]))
                if model not in self._shown:
                    muted.append(model)
        size = metrics["size_only"]
        if size["available"]:
            limits = size["auc"]["patient_bootstrap"]
            muted.append(f"{size['column']} alone")
            rows.append((muted[-1], size["auc"]["value"], limits["low"], limits["high"]))
        if not rows:
            return None
        spoken = "; ".join(f"{r[0]} {number(r[1])}" for r in rows)
        return self._add(
            interval_figure(rows, x_label=f"AUC, pooled {self._rows_called}", muted=muted),
            "auc",
            f"AUC with intervals. {spoken}.",
            f"Pooled AUC with {self._level} patient-bootstrap intervals; the dotted line is "
            "chance" + (", grey squares are no networks." if muted else "."),
        )

    def roc(self) -> ReportFigure | None:
        """ROC curves of all models and, where it is given, of the size alone."""
        curves: dict[str, RocCurve] = {}
        labels: dict[str, str] = {}
        for score in self._scores():
            curves[score.name] = roc_curve(score.label, score.values)
            labels[score.name] = f"{score.name} (AUC {number(score.auc)})"
        if not curves:
            return None
        return self._add(
            roc_figure(
                curves,
                labels=labels,
                points={m: p for m, p in self._working_points().items() if m in curves},
                muted=self._muted(),
            ),
            "roc",
            f"ROC curves. {'; '.join(labels.values())}.",
            f"ROC of the pooled {self._rows_called}, with the AUC in the legend."
            + (
                " A point of thresholds that were chosen elsewhere, fold by fold, need not lie on "
                "the curve."
                if len(self._content.metrics["data"]["folds"]) > 1
                else ""
            ),
            [
                ReadableCurve(name, c.false_positive_rate, c.sensitivity, partial(_roc_text, c))
                for name, c in curves.items()
            ],
        )

    def precision_recall(self) -> ReportFigure | None:
        """Precision-recall curves of all models and, where it is given, of the size alone."""
        curves: dict[str, PrecisionRecallCurve] = {}
        labels: dict[str, str] = {}
        for score in self._scores():
            curves[score.name] = precision_recall_curve(score.label, score.values)
            labels[score.name] = f"{score.name} (AP {number(score.average_precision)})"
        if not curves:
            return None
        data = self._content.metrics["data"]
        prevalence = data["positives"] / data["findings"]
        return self._add(
            precision_recall_figure(
                curves, labels=labels, muted=self._muted(), prevalence=prevalence
            ),
            "precision-recall",
            f"Precision-recall curves. {'; '.join(labels.values())}.",
            f"Precision and recall of the pooled {self._rows_called}; the dotted line is the share "
            "of positives here, which chance reaches. AP: average precision.",
            [
                ReadableCurve(name, c.recall, c.precision, partial(_recall_text, c))
                for name, c in curves.items()
            ],
        )

    def calibration(self) -> ReportFigure:
        """Reliability diagram of all models."""
        results = self._shown
        bins = {m: _bins(result["calibration"]["bins"]) for m, result in results.items()}
        spoken = "; ".join(
            f"{m}: expected calibration error {number(result['calibration']['ece'])}"
            for m, result in results.items()
        )
        return self._add(
            calibration_figure(bins, of=self._content.meaning.class_names[1]),
            "calibration",
            f"Reliability diagram. {spoken}.",
            "Observed share of positives in ten bins of equal width, with Wilson intervals; "
            "larger markers hold more rows; on the dotted line the probability "
            f"{self._content.meaning.probability_of} is what it says.",
        )

    def recalibration(self) -> list[ReportFigure]:
        """Reliability before and after each calibration, a figure a model."""
        drawn = []
        for model, result in self._shown.items():
            own = result["recalibration"]
            after = {m: _bins(r["bins"]) for m, r in own["after"].items() if r["available"]}
            if own["available"]:
                drawn.append(
                    self._add(
                        recalibration_figure(
                            _bins(own["before"]["bins"]),
                            after,
                            titles={m: m.capitalize() for m in after},
                            columns=4,
                            of=self._content.meaning.class_names[1],
                        ),
                        f"recalibration-{model}",
                        f"Reliability diagrams of {model} before and after {', '.join(after)}.",
                        f"{model}: before, and after each calibration (before in grey).",
                    )
                )
        return drawn

    def distributions(self) -> list[ReportFigure]:
        """Distribution of the probabilities, a figure a model."""
        names = self._content.meaning.class_names
        of = self._content.meaning.probability_of
        return [
            self._add(
                score_distribution_figure(rows["label"], rows["probability"], class_names=names),
                f"probabilities-{model}",
                f"Histogram by class of the probability {of} that {model} gives.",
                f"{model}: the probability {of}, of the outer rows by class.",
            )
            for model, rows in self._by_model()
        ]

    def learning(self) -> list[tuple[str, list[ReportFigure]]]:
        """Loss and validation AUC of each model that has histories."""
        pages = []
        for model in self._content.metrics["models"]:
            histories = self._content.histories.get(model)
            if not histories:
                continue
            self._write(learning_curves_figure(histories), f"learning-{model}")
            folds = f"{len(histories)} folds" if len(histories) > 1 else "one fold"
            pages.append(
                (
                    model,
                    [
                        self._inline(
                            figure_svg(loss_figure(histories)),
                            f"loss-{model}",
                            f"Training and validation loss of {model} by epoch, {folds}.",
                            "Loss by epoch: each fold thin, their mean thick.",
                        ),
                        self._inline(
                            figure_svg(validation_auc_figure(histories)),
                            f"val-auc-{model}",
                            f"Validation AUC of {model} by epoch, {folds}.",
                            "AUC on the inner validation part, by epoch.",
                        ),
                    ],
                )
            )
        return pages

    def froc(self) -> ReportFigure | None:
        """FROC curves of the models that have one."""
        curves, labels = {}, {}
        for model, result in self._content.metrics["models"].items():
            froc = result["froc"]
            if froc and froc["available"]:
                curves[model] = pd.DataFrame(froc["curve"]).astype("float64")
                labels[model] = f"{model}, CPM {number(froc['cpm'])}"
        if not curves:
            return None
        return self._add(
            froc_figure(curves, labels=labels),
            "froc",
            f"FROC curves. {'; '.join(labels.values())}.",
            f"Sensitivity against false positives per scan, with the {self._level} band of the "
            "scan bootstrap.",
            [
                ReadableCurve(
                    name,
                    curve["fp_rate"].to_numpy(),
                    curve["sensitivity"].to_numpy(),
                    partial(_froc_text, curve),
                )
                for name, curve in curves.items()
            ],
        )

    def differences(self) -> ReportFigure | None:
        """AUC differences of the models to each other and to the size alone."""
        metrics = self._content.metrics
        size = metrics["size_only"]
        rows = [r for r in metrics["comparisons"] if r["available"]]
        if len(rows) > MOST_PAIRS and size["available"]:
            rows = []  # they stand in the table
        rows += [
            {**r, "second": f"{r['second']} alone"}
            for r in size.get("comparisons", ())
            if r["available"]
        ]
        if not rows:
            return None
        spoken = "; ".join(
            f"{r['first']} minus {r['second']} {signed(r['difference'])}" for r in rows
        )
        return self._add(
            difference_figure(rows),
            "differences",
            f"Differences of AUC. {spoken}.",
            f"Differences of AUC on the same findings, with {self._level} paired patient-bootstrap "
            "intervals; p of the same bootstrap, corrected by Holm where several pairs were "
            "compared"
            + (
                f"; the {len(metrics['comparisons'])} pairs of models are in the table."
                if len(metrics["comparisons"]) > MOST_PAIRS and size["available"]
                else "."
            ),
        )

    def forests(self) -> list[ReportFigure]:
        """AUC in the groups of each column, a figure a column."""
        metrics = self._content.metrics
        overall = {
            model: result["pooled"]["auc"]["value"]
            for model, result in self._shown.items()
            if result["pooled"]["auc"]
        }
        size = metrics["size_only"]
        if size["available"]:
            overall[f"{size['column']} alone"] = size["auc"]["value"]
        drawn = []
        for column in metrics["subgroups"]:
            if not column["available"]:
                continue
            name = str(column["column"])
            called = name.removesuffix("_mm").replace("_", " ")
            figure = forest_figure(
                [column],
                models=list(self._shown),
                overall=overall,
                size_name=f"{size['column']} alone",
            )
            spoken = "; ".join(f"{g['name']}: {_group_text(g)}" for g in column["groups"])
            drawn.append(
                self._add(
                    figure,
                    f"subgroups-{name}",
                    f"AUC by {called}. {spoken}.",
                    f"AUC by {called}, with {self._level} patient-bootstrap "
                    "intervals; dashed: all findings; at the right positives / negatives.",
                )
            )
        return drawn

    def pictures(self) -> dict[str, list[Picture]]:
        """Gallery patches by kind; the montages are written beside the report."""
        groups: dict[str, list[Picture]] = {}
        names = self._content.meaning.class_names
        for kind, name in (("mistake", "mistakes"), ("success", "successes")):
            items = [i for i in self._content.gallery if i.kind == kind][:MOST_GALLERY_ITEMS]
            if items:
                groups[kind] = [picture(i, names) for i in items]
                self._write(gallery_figure(items, names), f"gallery-{name}")
        return groups

    @property
    def _level(self) -> str:
        return f"{100 * self._content.metrics['settings']['level']:g} %"

    @property
    def _rows_called(self) -> str:
        return "outer rows" if len(self._content.metrics["data"]["folds"]) > 1 else "rows"

    def _scores(self) -> list[_Score]:
        """All that is drawn as a curve: models with rows of both classes, then the size alone."""
        found = []
        for model, rows in self._by_model():
            pooled = self._content.metrics["models"][model]["pooled"]
            if pooled["auc"] is not None:
                found.append(
                    _Score(
                        model,
                        rows["label"],
                        rows["probability"],
                        pooled["auc"]["value"],
                        pooled["average_precision"],
                    )
                )
        size = self._content.metrics["size_only"]
        if found and size["available"]:
            column = size["column"]
            findings = with_sizes(self._rows, column).drop_duplicates("finding_id")
            known = findings[known_sizes(findings, column)]
            found.append(
                _Score(
                    f"{column} alone",
                    known["label"],
                    known[column],
                    size["auc"]["value"],
                    size["average_precision"],
                )
            )
        return found

    def _working_points(self) -> dict[str, list[OperatingMark]]:
        """Where models are compared and groups counted."""
        metrics = self._content.metrics
        name = metrics["settings"]["working_point"]
        marks: dict[str, list[OperatingMark]] = {}
        for model, result in self._shown.items():
            point = next(p for p in result["operating_points"] if p["name"] == name)
            sensitivity, specificity = point["sensitivity"]["value"], point["specificity"]["value"]
            if sensitivity is not None and specificity is not None:
                text = f"{name} ({point['chosen_on']})"
                marks[model] = [OperatingMark(1 - specificity, sensitivity, text)]
        return marks

    def _muted(self) -> list[str]:
        size = self._content.metrics["size_only"]
        return [f"{size['column']} alone"] if size["available"] else []

    def _by_model(self) -> list[tuple[str, pd.DataFrame]]:
        rows = self._rows
        return [(m, rows[rows["model"] == m]) for m in self._shown]

    def _add(
        self,
        figure: Figure,
        name: str,
        description: str,
        caption: str,
        curves: Sequence[ReadableCurve] = (),
    ) -> ReportFigure:
        name = self._unique(name)
        path = save_figure(figure, self._folder / f"{name}.svg")[0]
        svg = inline_svg(
            path.read_text(encoding="utf-8"), name=f"f-{name}", description=description
        )
        read = readout(figure.axes[0], curves) if curves else ""
        return ReportFigure(svg=svg, caption=caption, curves=read)

    def _inline(self, text: str, name: str, description: str, caption: str) -> ReportFigure:
        svg = inline_svg(text, name=f"f-{self._unique(name)}", description=description)
        return ReportFigure(svg=svg, caption=caption)

    def _write(self, figure: Figure, name: str) -> None:
        save_figure(figure, self._folder / f"{self._unique(name)}.svg")

    def _unique(self, name: str) -> str:
        """An identifier and file name that no other figure has, whatever models are called."""
        base = _file_name(name)
        unique, number_ = base, 2
        while unique in self._names:
            unique, number_ = f"{base}-{number_}", number_ + 1
        self._names.add(unique)
        return unique


def _bins(rows: Iterable[Mapping[str, Any]]) -> list[ReliabilityBin]:
    """The bins of metrics.json."""
    return [ReliabilityBin(**{**row, "interval": Interval(**row["interval"])}) for row in rows]


def _roc_text(curve: RocCurve, at: int) -> str:
    return (
        f"sensitivity {percent(curve.sensitivity[at])}, "
        f"specificity {percent(1 - curve.false_positive_rate[at])}, "
        f"threshold {_threshold(curve.thresholds[at])}"
    )


def _recall_text(curve: PrecisionRecallCurve, at: int) -> str:
    return (
        f"precision {percent(curve.precision[at])}, recall {percent(curve.recall[at])}, "
        f"threshold {_threshold(curve.thresholds[at])}"
    )


def _froc_text(curve: pd.DataFrame, at: int) -> str:
    row = curve.iloc[at]
    band = f" ({percent(row['low'])} to {percent(row['high'])})" if row["low"] >= 0 else ""
    return f"sensitivity {percent(row['sensitivity'])}{band} at {row['fp_rate']:.3g} a scan"


def _group_text(group: Mapping[str, Any]) -> str:
    return ", ".join(f"{m} {number(own['auc'])}" for m, own in group["models"].items())


def _threshold(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "above all"


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "figure"
