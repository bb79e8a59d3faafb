"""What a table of findings holds, in a few lines for people."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

SIZE_CLASSES_MM = (0.0, 4.0, 6.0, 8.0, 20.0, np.inf)
"""Ends of the diameter classes, those of common follow-up guidelines (Fleischner 2017 parts at 6
and 8 mm)."""

_UNKNOWN = "unknown"


def summarize_findings(table: pd.DataFrame) -> dict[str, Any]:
    """Counts of a findings table.

    Args:
        table: ``scan_id`` and, where known, ``patient_id``, ``label`` and ``diameter_mm``.

    Returns:
        Plain values: ``findings``, ``scans``, ``patients`` (None where unknown), ``labels`` (by
        label) and ``sizes`` (by diameter class, in each by label).
    """
    if "label" in table.columns:
        labels = table["label"].map(lambda v: _UNKNOWN if pd.isna(v) else str(v))
    else:
        labels = pd.Series(_UNKNOWN, table.index)
    if "diameter_mm" in table.columns:
        sizes = pd.cut(table["diameter_mm"], SIZE_CLASSES_MM, right=False, labels=_class_names())
        sizes = sizes.astype(object).where(table["diameter_mm"].notna(), _UNKNOWN)
    else:
        sizes = pd.Series(_UNKNOWN, table.index)
    order = [*_class_names(), _UNKNOWN]
    return {
        "findings": len(table),
        "scans": int(table["scan_id"].nunique()) if "scan_id" in table.columns else None,
        "patients": int(table["patient_id"].nunique()) if "patient_id" in table.columns else None,
        "labels": {str(k): int(n) for k, n in labels.value_counts().sort_index().items()},
        "sizes": {
            name: {
                str(k): int(n) for k, n in labels[sizes == name].value_counts().sort_index().items()
            }
            for name in order
            if (sizes == name).any()
        },
    }


def _class_names() -> list[str]:
    names = []
    for low, high in itertools.pairwise(SIZE_CLASSES_MM):
        names.append(f"{low:g} mm and more" if np.isinf(high) else f"{low:g} to < {high:g} mm")
    return names
