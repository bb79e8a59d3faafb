"""Results from tables of predictions, ours or anybody's: no Keras, no model, no scan needed.

The names below load their module on first use, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.config.schema import EvaluateConfig
    from nodulenet.evaluation.agreement import agreement_table, reader_agreement
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
    from nodulenet.evaluation.consensus import ConsensusRule, reader_consensus
    from nodulenet.evaluation.decision import DecisionCurve, decision_curve
    from nodulenet.evaluation.froc import FrocReference, FrocResult, evaluate_froc
    from nodulenet.evaluation.lung_rads import lung_rads_row, read_lung_rads
    from nodulenet.evaluation.mrmc_files import mrmc_table, write_imrmc, write_mrmcaov
    from nodulenet.evaluation.operating import OperatingPoint, operating_point
    from nodulenet.evaluation.ratings import Ratings, read_ratings
    from nodulenet.evaluation.readers import (
        ReaderComparison,
        finding_scores,
        finding_values,
        model_against_readers,
    )
    from nodulenet.evaluation.recalibration import recalibrate
    from nodulenet.evaluation.subgroups import subgroup_results
    from nodulenet.evaluation.summary import summarize
    from nodulenet.evaluation.table import read_predictions

_HOMES = {
    "ConsensusRule": "nodulenet.evaluation.consensus",
    "DecisionCurve": "nodulenet.evaluation.decision",
    "EvaluateConfig": "nodulenet.config.schema",
    "FrocReference": "nodulenet.evaluation.froc",
    "FrocResult": "nodulenet.evaluation.froc",
    "IsotonicCalibration": "nodulenet.evaluation.calibrators",
    "OperatingPoint": "nodulenet.evaluation.operating",
    "PlattCalibration": "nodulenet.evaluation.calibrators",
    "Ratings": "nodulenet.evaluation.ratings",
    "ReaderComparison": "nodulenet.evaluation.readers",
    "TemperatureCalibration": "nodulenet.evaluation.calibrators",
    "agreement_table": "nodulenet.evaluation.agreement",
    "calibration_measures": "nodulenet.evaluation.calibration",
    "compare_all": "nodulenet.evaluation.compare",
    "compare_models": "nodulenet.evaluation.compare",
    "decision_curve": "nodulenet.evaluation.decision",
    "evaluate_froc": "nodulenet.evaluation.froc",
    "finding_scores": "nodulenet.evaluation.readers",
    "finding_values": "nodulenet.evaluation.readers",
    "fit_isotonic": "nodulenet.evaluation.calibrators",
    "fit_platt": "nodulenet.evaluation.calibrators",
    "fit_temperature": "nodulenet.evaluation.calibrators",
    "lung_rads_row": "nodulenet.evaluation.lung_rads",
    "model_against_readers": "nodulenet.evaluation.readers",
    "mrmc_table": "nodulenet.evaluation.mrmc_files",
    "operating_point": "nodulenet.evaluation.operating",
    "read_calibration": "nodulenet.evaluation.calibrators",
    "read_lung_rads": "nodulenet.evaluation.lung_rads",
    "read_predictions": "nodulenet.evaluation.table",
    "read_ratings": "nodulenet.evaluation.ratings",
    "reader_agreement": "nodulenet.evaluation.agreement",
    "reader_consensus": "nodulenet.evaluation.consensus",
    "recalibrate": "nodulenet.evaluation.recalibration",
    "subgroup_results": "nodulenet.evaluation.subgroups",
    "summarize": "nodulenet.evaluation.summary",
    "write_imrmc": "nodulenet.evaluation.mrmc_files",
    "write_mrmcaov": "nodulenet.evaluation.mrmc_files",
}

__all__ = [
    "ConsensusRule",
    "DecisionCurve",
    "EvaluateConfig",
    "FrocReference",
    "FrocResult",
    "IsotonicCalibration",
    "OperatingPoint",
    "PlattCalibration",
    "Ratings",
    "ReaderComparison",
    "TemperatureCalibration",
    "agreement_table",
    "calibration_measures",
    "compare_all",
    "compare_models",
    "decision_curve",
    "evaluate_froc",
    "finding_scores",
    "finding_values",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "lung_rads_row",
    "model_against_readers",
    "mrmc_table",
    "operating_point",
    "read_calibration",
    "read_lung_rads",
    "read_predictions",
    "read_ratings",
    "reader_agreement",
    "reader_consensus",
    "recalibrate",
    "subgroup_results",
    "summarize",
    "write_imrmc",
    "write_mrmcaov",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
