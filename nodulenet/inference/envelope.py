"""What training saw of sizes, scanners and values, and what of a new finding lies outside it.

Limits are the percentiles 0.5 and 99.5 of the training findings, so that each check alone warns
of about 1 % of findings like them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.findings.acquisition import KNOWN_ACQUISITION
from nodulenet.patches.store import PatchStore
from nodulenet.patches.values import Values
from nodulenet.training.exact_pose import cropped_body

PERCENTILES = (0.5, 99.5)
NUMBERS = {
    "diameter_mm": "diameter",
    "slice_thickness_mm": "slice thickness",
    "spacing_x_mm": "pixel spacing",
    "slice_spacing_mm": "slice spacing",
}
"""Columns with limits, and what people call them; all in mm."""
WORDS = {"manufacturer": "maker", "kernel": "kernel"}
"""Columns whose values are listed."""
_MOST_WORDS = 100
_MOST_PATCHES = 5000
VALUES = {"middle": "mean of the middle", "p05": "5th percentile", "p95": "95th percentile"}
"""Statistics of a patch, and what people call them."""


def training_envelope(
    findings: pd.DataFrame, store: PatchStore, positions: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Limits of the training findings.

    Args:
        findings: With whatever columns are known.
        store: The patches.
        positions: Of the training patches in it, (n,).

    Returns:
        JSON-ready: ``numbers`` (column -> low, high, findings), ``words`` (column -> value ->
        count) and ``values`` (statistic of a patch, in source values -> low, high).
    """
    acquisition = dict(_known_columns(findings))
    numbers = {}
    for name in NUMBERS:
        column = acquisition.get(name, name)
        if column not in findings.columns:
            continue
        values = pd.to_numeric(findings[column], errors="coerce").to_numpy(dtype=np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            numbers[name] = {**_limits(values), "findings": len(values)}
    words = {}
    for name in WORDS:
        column = acquisition.get(name, name)
        if column in findings.columns:
            counts = findings[column].dropna().astype(str).str.strip().value_counts()
            words[name] = {k: int(v) for k, v in counts.head(_MOST_WORDS).items()}
    step = max(1, len(positions) // _MOST_PATCHES)
    statistics = [
        patch_statistics(
            store.patches(positions[i : i + 256 * step : step]), store.spec, store.values
        )
        for i in range(0, len(positions), 256 * step)
    ]
    limits = {}
    if statistics:
        table = pd.concat(statistics, ignore_index=True)
        limits = {name: _limits(table[name].to_numpy()) for name in VALUES}
    return {"percentiles": list(PERCENTILES), "numbers": numbers, "words": words, "values": limits}


def patch_statistics(
    stored: npt.NDArray[np.int16], spec: PatchSpec, values: Values
) -> pd.DataFrame:
    """``middle, p05, p95`` of stored patches (n, *spec.stored_shape), in source values.

    The margin is left out: training may look at it, an answer does not.
    """
    inner = values.from_stored(cropped_body(stored, spec.size)).astype(np.float64)
    middle = tuple(slice(n // 3, n - n // 3) for n in inner.shape[-len(spec.size) :])
    centre = inner[(slice(None),) * (inner.ndim - len(middle)) + middle].reshape(len(inner), -1)
    flat = inner.reshape(len(inner), -1)
    low, high = np.percentile(flat, [5, 95], axis=1) if len(flat) else (np.empty(0), np.empty(0))
    return pd.DataFrame({"middle": centre.mean(axis=1), "p05": low, "p95": high})


def outside_envelope(
    envelope: Mapping[str, Any],
    findings: pd.DataFrame,
    statistics: pd.DataFrame | None = None,
    *,
    unit: str = "HU",
) -> list[list[str]]:
    """What of each finding lies outside: a list of sentences a row.

    Args:
        envelope: Of :func:`training_envelope`; empty says nothing of anybody.
        findings: One row a finding, with whatever is known of it.
        statistics: Of :func:`patch_statistics`, the same rows. Defaults to none.
        unit: Of the values. Defaults to ``HU``.
    """
    said: list[list[str]] = [[] for _ in range(len(findings))]
    acquisition = dict(_known_columns(findings))
    for name, limits in envelope.get("numbers", {}).items():
        column = acquisition.get(name, name)
        if column in findings.columns:
            _say_numbers(said, findings[column], limits, NUMBERS.get(name, name), "mm")
    for name, known in envelope.get("words", {}).items():
        column = acquisition.get(name, name)
        if column not in findings.columns or len(known) == _MOST_WORDS:
            continue
        for row, value in enumerate(findings[column]):
            if pd.notna(value) and str(value).strip() not in known:
                said[row].append(
                    f"{WORDS.get(name, name)} {str(value).strip()!r} is none of the training's "
                    f"{len(known)}"
                )
    if statistics is not None:
        for name, limits in envelope.get("values", {}).items():
            _say_numbers(said, statistics[name], limits, f"{VALUES[name]} of the patch", unit)
    return said


def _say_numbers(
    said: list[list[str]], column: pd.Series[Any], limits: Mapping[str, float], name: str, unit: str
) -> None:
    low, high = limits["low"], limits["high"]
    for row, value in enumerate(pd.to_numeric(column, errors="coerce")):
        # Rounding of headers and of the limits themselves is no difference.
        slack = 1e-6 + 1e-3 * max(abs(low), abs(high))
        if np.isfinite(value) and not low - slack <= value <= high + slack:
            said[row].append(
                f"{name} {value:.4g} {unit} lies outside the training's {low:.4g} to {high:.4g}"
            )


def _limits(values: npt.NDArray[np.float64]) -> dict[str, float]:
    low, high = np.percentile(values, PERCENTILES)
    return {"low": float(low), "high": float(high)}


def _known_columns(findings: pd.DataFrame) -> list[tuple[str, str]]:
    """Our name of each acquisition column, and what this table calls it."""
    found = []
    for names in KNOWN_ACQUISITION:
        there = [n for n in names if n in findings.columns]
        ours = [n for n in names if n in NUMBERS or n in WORDS]
        if there and ours:
            found.append((ours[0], there[0]))
    return found
