"""Findings that are predicted more than once by one model, as in repeated k-fold.

Each repeat is a prediction, but not another finding. Intervals and tests that take rows as
independent would shrink with every repeat, so they are withheld there; resampling whole patients
keeps the repeats of a patient together and stays right.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

NOTE = "findings are predicted repeatedly, so rows are not independent: see the patient bootstrap"
_INDEPENDENT = ("DeLong", "paired DeLong", "Wilson", "Wald", "log", "logit", "adjusted logit")
# DeLong's, and McNemar's, which are plain "p_value" in what they stand in.
_TESTS = ("delong_p_value", "delong_p_holm", "p_value", "p_holm")


def repeated(rows: pd.DataFrame) -> bool:
    """Whether a model has several rows of one finding.

    Args:
        rows: ``finding_id`` and, where there are several, ``model``.
    """
    key = [column for column in ("model", "finding_id") if column in rows.columns]
    return bool(rows.duplicated(key).any())


def withhold(content: Any) -> Any:
    """JSON-ready content without the intervals and tests that take rows as independent."""
    if isinstance(content, dict):
        if {"low", "high", "method"} <= content.keys() and content["method"] in _INDEPENDENT:
            return content | {"low": None, "high": None, "note": NOTE}
        return {key: None if key in _TESTS else withhold(value) for key, value in content.items()}
    if isinstance(content, list):
        return [withhold(value) for value in content]
    return content
