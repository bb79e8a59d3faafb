"""Results from tables of predictions, ours or anybody's: no Keras, no model, no scan needed.

The names below load their module on first use, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.evaluation.calibration import (
        PlattCalibration,
        TemperatureCalibration,
        fit_platt,
        fit_temperature,
    )
    from nodulenet.evaluation.compare import compare_models
    from nodulenet.evaluation.froc import FrocReference, FrocResult, evaluate_froc
    from nodulenet.evaluation.operating import OperatingPoint, operating_point
    from nodulenet.evaluation.summary import summarize
    from nodulenet.evaluation.table import read_predictions

_HOMES = {
    "FrocReference": "froc",
    "FrocResult": "froc",
    "OperatingPoint": "operating",
    "PlattCalibration": "calibration",
    "TemperatureCalibration": "calibration",
    "compare_models": "compare",
    "evaluate_froc": "froc",
    "fit_platt": "calibration",
    "fit_temperature": "calibration",
    "operating_point": "operating",
    "read_predictions": "table",
    "summarize": "summary",
}

__all__ = [
    "FrocReference",
    "FrocResult",
    "OperatingPoint",
    "PlattCalibration",
    "TemperatureCalibration",
    "compare_models",
    "evaluate_froc",
    "fit_platt",
    "fit_temperature",
    "operating_point",
    "read_predictions",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
