"""Results from tables of predictions, ours or anybody's: no Keras, no model, no scan needed.

The names below load their module on first use, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.config.schema import EvaluateConfig
    from nodulenet.evaluation.calibration import calibration_measures
    from nodulenet.evaluation.calibrators import (
        IsotonicCalibration,
        PlattCalibration,
        TemperatureCalibration,
        fit_isotonic,
        fit_platt,
        fit_temperature,
        read_calibration,
    )
    from nodulenet.evaluation.compare import compare_all, compare_models
    from nodulenet.evaluation.decision import DecisionCurve, decision_curve
    from nodulenet.evaluation.froc import FrocReference, FrocResult, evaluate_froc
    from nodulenet.evaluation.operating import OperatingPoint, operating_point
    from nodulenet.evaluation.recalibration import recalibrate
    from nodulenet.evaluation.subgroups import subgroup_results
    from nodulenet.evaluation.summary import summarize
    from nodulenet.evaluation.table import read_predictions

_HOMES = {
    "DecisionCurve": "nodulenet.evaluation.decision",
    "EvaluateConfig": "nodulenet.config.schema",
    "FrocReference": "nodulenet.evaluation.froc",
    "FrocResult": "nodulenet.evaluation.froc",
    "IsotonicCalibration": "nodulenet.evaluation.calibrators",
    "OperatingPoint": "nodulenet.evaluation.operating",
    "PlattCalibration": "nodulenet.evaluation.calibrators",
    "TemperatureCalibration": "nodulenet.evaluation.calibrators",
    "calibration_measures": "nodulenet.evaluation.calibration",
    "compare_all": "nodulenet.evaluation.compare",
    "compare_models": "nodulenet.evaluation.compare",
    "decision_curve": "nodulenet.evaluation.decision",
    "evaluate_froc": "nodulenet.evaluation.froc",
    "fit_isotonic": "nodulenet.evaluation.calibrators",
    "fit_platt": "nodulenet.evaluation.calibrators",
    "fit_temperature": "nodulenet.evaluation.calibrators",
    "operating_point": "nodulenet.evaluation.operating",
    "read_calibration": "nodulenet.evaluation.calibrators",
    "read_predictions": "nodulenet.evaluation.table",
    "recalibrate": "nodulenet.evaluation.recalibration",
    "subgroup_results": "nodulenet.evaluation.subgroups",
    "summarize": "nodulenet.evaluation.summary",
}

__all__ = [
    "DecisionCurve",
    "EvaluateConfig",
    "FrocReference",
    "FrocResult",
    "IsotonicCalibration",
    "OperatingPoint",
    "PlattCalibration",
    "TemperatureCalibration",
    "calibration_measures",
    "compare_all",
    "compare_models",
    "decision_curve",
    "evaluate_froc",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "operating_point",
    "read_calibration",
    "read_predictions",
    "recalibrate",
    "subgroup_results",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
