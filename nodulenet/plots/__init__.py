"""Figures: functions that take results and return a Matplotlib Figure, and never show it.

The names below load their module on first use, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.plots.calibration import calibration_figure, score_distribution_figure
    from nodulenet.plots.forest import interval_figure
    from nodulenet.plots.froc import froc_figure
    from nodulenet.plots.learning import learning_curves_figure
    from nodulenet.plots.montage import montage_figure
    from nodulenet.plots.planes import planes_figure
    from nodulenet.plots.render import figure_svg, save_figure, save_png
    from nodulenet.plots.roc import roc_figure

_HOMES = {
    "calibration_figure": "calibration",
    "figure_svg": "render",
    "froc_figure": "froc",
    "interval_figure": "forest",
    "learning_curves_figure": "learning",
    "montage_figure": "montage",
    "planes_figure": "planes",
    "roc_figure": "roc",
    "save_figure": "render",
    "save_png": "render",
    "score_distribution_figure": "calibration",
}

__all__ = [
    "calibration_figure",
    "figure_svg",
    "froc_figure",
    "interval_figure",
    "learning_curves_figure",
    "montage_figure",
    "planes_figure",
    "roc_figure",
    "save_figure",
    "save_png",
    "score_distribution_figure",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
