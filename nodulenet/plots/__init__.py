"""Figures: functions that take results and return a Matplotlib Figure, and never show it.

Those of one panel take ``ax`` and then draw into your own figure. Letters are 8 pt at a journal's
column (``SINGLE_COLUMN_IN``, ``DOUBLE_COLUMN_IN`` inches wide), colours are told apart by all eyes
and dashes without colour. :func:`save_figure` writes SVG, PNG and the numbers as CSV.

The names below load their module on first use, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.plots.augmentation import augmentation_figure
    from nodulenet.plots.calibration import (
        calibration_figure,
        recalibration_figure,
        score_distribution_figure,
    )
    from nodulenet.plots.decision import decision_curve_figure
    from nodulenet.plots.difference import difference_figure
    from nodulenet.plots.forest import forest_figure, interval_figure
    from nodulenet.plots.froc import froc_figure
    from nodulenet.plots.learning import learning_curves_figure
    from nodulenet.plots.montage import montage_figure
    from nodulenet.plots.numbers import figure_numbers
    from nodulenet.plots.planes import planes_figure
    from nodulenet.plots.precision_recall import precision_recall_figure
    from nodulenet.plots.readers import agreement_figure, readers_figure
    from nodulenet.plots.render import (
        SavedFigure,
        figure_pixels,
        figure_svg,
        save_figure,
        save_pdf,
        save_png,
    )
    from nodulenet.plots.roc import OperatingMark, roc_figure
    from nodulenet.plots.slices import slice_at, slice_figure
    from nodulenet.plots.style import DOUBLE_COLUMN_IN, SINGLE_COLUMN_IN

_HOMES = {
    "DOUBLE_COLUMN_IN": "style",
    "OperatingMark": "roc",
    "agreement_figure": "readers",
    "SINGLE_COLUMN_IN": "style",
    "SavedFigure": "render",
    "augmentation_figure": "augmentation",
    "calibration_figure": "calibration",
    "decision_curve_figure": "decision",
    "difference_figure": "difference",
    "figure_numbers": "numbers",
    "figure_pixels": "render",
    "figure_svg": "render",
    "forest_figure": "forest",
    "froc_figure": "froc",
    "interval_figure": "forest",
    "learning_curves_figure": "learning",
    "montage_figure": "montage",
    "planes_figure": "planes",
    "precision_recall_figure": "precision_recall",
    "readers_figure": "readers",
    "recalibration_figure": "calibration",
    "roc_figure": "roc",
    "save_figure": "render",
    "save_pdf": "render",
    "save_png": "render",
    "score_distribution_figure": "calibration",
    "slice_at": "slices",
    "slice_figure": "slices",
}

__all__ = [
    "DOUBLE_COLUMN_IN",
    "SINGLE_COLUMN_IN",
    "OperatingMark",
    "SavedFigure",
    "agreement_figure",
    "augmentation_figure",
    "calibration_figure",
    "decision_curve_figure",
    "difference_figure",
    "figure_numbers",
    "figure_pixels",
    "figure_svg",
    "forest_figure",
    "froc_figure",
    "interval_figure",
    "learning_curves_figure",
    "montage_figure",
    "planes_figure",
    "precision_recall_figure",
    "readers_figure",
    "recalibration_figure",
    "roc_figure",
    "save_figure",
    "save_pdf",
    "save_png",
    "score_distribution_figure",
    "slice_at",
    "slice_figure",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
