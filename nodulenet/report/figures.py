"""The figures of a report: drawn once, put into the page and written beside it."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from nodulenet.ct.windows import apply_window
from nodulenet.evaluation.calibration import reliability_bins
from nodulenet.evaluation.roc import RocCurve, roc_curve
from nodulenet.evaluation.table import outer_rows
from nodulenet.plots.calibration import calibration_figure, score_distribution_figure
from nodulenet.plots.forest import Row, interval_figure
from nodulenet.plots.froc import froc_figure
from nodulenet.plots.learning import learning_curves_figure, loss_figure, validation_auc_figure
from nodulenet.plots.montage import SCALE_BAR_MM, montage_figure
from nodulenet.plots.render import figure_svg, save_figure
from nodulenet.plots.roc import roc_figure
from nodulenet.report.content import GalleryItem, ReportContent
from nodulenet.report.format import number
from nodulenet.report.svg import inline_svg

MOST_GALLERY_ITEMS = 24
_PNG_SIDE = 256


@dataclass(frozen=True, kw_only=True)
class ReportFigure:
    """A figure in the page.

    Attributes:
        svg: The element.
        caption: Text below it.
    """

    svg: Markup
    caption: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A gallery patch in the page.

    Attributes:
        source: The PNG as a data URI.
        alt: Text in its place.
        aspect: Width by height in millimetres, for CSS.
        bar_percent: Length of the scale bar in per cent of the width.
        item: The gallery item.
    """

    source: str
    alt: str
    aspect: str
    bar_percent: float
    item: GalleryItem


class FigureBook:
    """Draws the figures of one report and writes each into a folder."""

    def __init__(self, content: ReportContent, folder: Path) -> None:
        self._content = content
        self._folder = folder
        self._rows = outer_rows(content.predictions)
        self._names: set[str] = set()

    def headline(self) -> ReportFigure | None:
        """AUC of every model and of the size alone, with intervals."""
        metrics = self._content.metrics
        rows: list[Row] = []
        for model, result in metrics["models"].items():
            value = result["pooled"]["auc"]
            if value is not None:
                limits = value["patient_bootstrap"]
                rows.append((model, value["value"], limits["low"], limits["high"]))
        size = metrics["size_only"]
        muted: list[str] = []
        if size["available"]:
            limits = size["auc"]["patient_bootstrap"]
            muted.append(f"{size['column']} alone")
            rows.append((muted[0], size["auc"]["value"], limits["low"], limits["high"]))
        if not rows:
            return None
        spoken = "; ".join(f"{r[0]} {number(r[1])}" for r in rows)
        return self._add(
            interval_figure(rows, x_label="AUC, pooled out-of-fold", muted=muted),
            "auc",
            f"AUC with intervals. {spoken}.",
            "Pooled out-of-fold AUC with 95 % patient-bootstrap intervals; the dotted line is "
            "chance" + (", the grey square the size alone." if muted else "."),
        )

    def roc(self) -> ReportFigure | None:
        """ROC curves of all models and, where it is given, of the size alone."""
        curves: dict[str, RocCurve] = {}
        labels: dict[str, str] = {}
        for model, rows in self._by_model():
            if rows["label"].nunique() > 1:
                value = self._content.metrics["models"][model]["pooled"]["auc"]
                curves[model] = roc_curve(rows["label"], rows["probability"])
                labels[model] = f"{model} (AUC {number(value['value'])})"
        if not curves:
            return None
        size = self._content.metrics["size_only"]
        muted: list[str] = []
        if size["available"]:
            column = size["column"]
            findings = self._rows.drop_duplicates("finding_id")
            known = findings[findings[column].gt(0) & np.isfinite(findings[column])]
            name = f"{column} alone"
            curves[name] = roc_curve(known["label"], known[column])
            labels[name] = f"{name} (AUC {number(size['auc']['value'])})"
            muted = [name]
        return self._add(
            roc_figure(curves, labels=labels, muted=muted),
            "roc",
            f"ROC curves. {'; '.join(labels.values())}.",
            "ROC of the pooled outer rows, with the AUC in the legend.",
        )

    def calibration(self) -> ReportFigure:
        """Reliability diagram of all models."""
        bins = {m: reliability_bins(r["label"], r["probability"]) for m, r in self._by_model()}
        spoken = "; ".join(
            f"{m}: expected calibration error "
            f"{number(self._content.metrics['models'][m]['pooled']['ece'])}"
            for m in bins
        )
        return self._add(
            calibration_figure(bins),
            "calibration",
            f"Reliability diagram. {spoken}.",
            "Observed share of positives in ten bins of equal width, with Wilson intervals; "
            "larger markers hold more rows; on the dotted line a probability means what it says.",
        )

    def distributions(self) -> list[ReportFigure]:
        """Distribution of the probabilities, a figure a model."""
        names = self._content.meaning.class_names
        return [
            self._add(
                score_distribution_figure(rows["label"], rows["probability"], class_names=names),
                f"probabilities-{model}",
                f"Histogram of the probabilities of {model} by class.",
                f"{model}: probabilities of the outer rows by class.",
            )
            for model, rows in self._by_model()
        ]

    def learning(self) -> list[tuple[str, list[ReportFigure]]]:
        """Loss and validation AUC of each model that has histories."""
        pages = []
        for model, histories in self._content.histories.items():
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
            "Sensitivity against false positives per scan, with the 95 % band of the scan "
            "bootstrap.",
        )

    def pictures(self) -> dict[str, list[Picture]]:
        """Gallery patches by kind; the montages are written beside the report."""
        groups: dict[str, list[Picture]] = {}
        for kind, name in (("mistake", "mistakes"), ("success", "successes")):
            items = [i for i in self._content.gallery if i.kind == kind][:MOST_GALLERY_ITEMS]
            if items:
                groups[kind] = [self._picture(item) for item in items]
                self._write(
                    montage_figure(
                        [item.image_hu for item in items],
                        captions=[
                            f"{self._class_name(item)}, {number(item.caption['probability'], 2)}"
                            for item in items
                        ],
                        spacings_mm=[item.spacing_mm for item in items],
                        columns=min(6, len(items)),
                    ),
                    f"gallery-{name}",
                )
        return groups

    def _by_model(self) -> list[tuple[str, pd.DataFrame]]:
        rows = self._rows
        return [(m, rows[rows["model"] == m]) for m in self._content.metrics["models"]]

    def _class_name(self, item: GalleryItem) -> str:
        return self._content.meaning.class_names[int(item.caption["label"])]

    def _picture(self, item: GalleryItem) -> Picture:
        height, width = item.image_hu.shape
        x_mm, y_mm = item.spacing_mm
        grey = np.round(apply_window(item.image_hu, "lung") * 255).astype(np.uint8)
        image = Image.fromarray(grey)
        image.thumbnail((_PNG_SIDE, _PNG_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", optimize=True)
        called = number(item.caption["probability"], 2)
        return Picture(
            source=f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}",
            alt=f"CT patch, lung window, {width * x_mm:.0f} mm wide: {self._class_name(item)}, "
            f"probability {called}",
            aspect=f"{width * x_mm:.4g} / {height * y_mm:.4g}",
            bar_percent=100 * SCALE_BAR_MM / (width * x_mm),
            item=item,
        )

    def _add(self, figure: Figure, name: str, description: str, caption: str) -> ReportFigure:
        name = self._unique(name)
        path = save_figure(figure, self._folder / f"{name}.svg")[0]
        svg = inline_svg(
            path.read_text(encoding="utf-8"), name=f"f-{name}", description=description
        )
        return ReportFigure(svg=svg, caption=caption)

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


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "figure"
