"""An answer in words: the one place where sheets and point lists take their sentences from."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from nodulenet.inference.answers import INDETERMINATE, Answers

RESEARCH_USE_ONLY = "Research use only: not a medical device, not for decisions about patients."

UNKNOWN = "not known"
NOT_GIVEN = "not given"


def probability_text(value: float) -> str:
    """``81.3 %``; never 0 % or 100 %, which nobody can know."""
    if not math.isfinite(value):
        return NOT_GIVEN
    if value < 0.001:
        return "under 0.1 %"
    return "over 99.9 %" if value > 0.999 else f"{100 * value:.1f} %"


def share_text(value: float | None) -> str:
    """``81.3 %``; a share that was counted may be 0 % or 100 %."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def between_text(row: dict[str, Any]) -> str:
    """``70.1 % to 88.0 %``: lowest and highest of the fold models."""
    low, high = number_of(row, "fold_low"), number_of(row, "fold_high")
    if low is None or high is None:
        return NOT_GIVEN
    first, last = probability_text(low), probability_text(high)
    return first if first == last else f"{first} to {last}"


def range_text(row: dict[str, Any]) -> str:
    """The range over the fold models, called a range."""
    between = between_text(row)
    if between == NOT_GIVEN:
        return between
    return f"{between} (range over the fold models, not an interval)"


def call_text(row: dict[str, Any], answers: Answers) -> str:
    """The class at the operating point, and how good that point was where it was not chosen."""
    call, point = text_of(row, "call"), answers.operating_point
    if not call:
        return f"{NOT_GIVEN}: no operating point"
    if point is None:
        return call
    return (
        f"{call}, at the operating point “{point.name}” (threshold "
        f"{probability_text(point.threshold)}; out of fold: sensitivity "
        f"{share_text(point.sensitivity)}, specificity {share_text(point.specificity)})"
    )


def conformal_text(row: dict[str, Any], answers: Answers) -> str:
    """The conformal answer and the miss rate that it was made for."""
    found = text_of(row, "conformal")
    if not found:
        return NOT_GIVEN
    negative, positive = answers.class_names
    if found == INDETERMINATE:
        found = f"{INDETERMINATE}: neither “{negative}” nor “{positive}” is ruled out"
    if answers.miss_rate is None:
        return found
    return f"{found} (made to miss at most {100 * answers.miss_rate:.3g} % of either class)"


def diameter_text(row: dict[str, Any]) -> str:
    """``8.2 mm``, or that it is not known."""
    diameter = number_of(row, "diameter_mm")
    return f"{diameter:.1f} mm" if diameter is not None and diameter > 0 else UNKNOWN


def position_text(row: dict[str, Any]) -> str:
    """The point in LPS mm, with signs that can be copied."""
    places = [number_of(row, f"{axis}_lps_mm") for axis in "xyz"]
    shown = ", ".join("?" if p is None else f"{p:.1f}" for p in places)
    return f"{shown} (x, y, z in LPS mm)"


def model_text(answers: Answers) -> str:
    """What answered: model, bundle, version."""
    bundle = answers.bundle
    parts = [plain(answers.model)]
    if bundle.get("name"):
        short = f" ({str(bundle['hash'])[:12]})" if bundle.get("hash") else ""
        parts.append(f"bundle {plain(bundle['name'])}{short}")
    if bundle.get("nodulenet"):
        parts.append(f"NoduleNet {bundle['nodulenet']}")
    return ", ".join(parts)


def rows_of(answers: Answers) -> list[dict[str, Any]]:
    """The findings, one dictionary each."""
    return [
        {str(column): value for column, value in row.items()}
        for row in answers.table.to_dict("records")
    ]


def number_of(row: dict[str, Any], column: str) -> float | None:
    """A number that is there and finite, or None."""
    value = row.get(column)
    if value is None or isinstance(value, str) or pd.isna(value):
        return None
    return float(value) if math.isfinite(float(value)) else None


def text_of(row: dict[str, Any], column: str) -> str:
    """A text on one line that every encoding can hold; empty where there is none."""
    value = row.get(column)
    return "" if value is None or (not isinstance(value, str) and pd.isna(value)) else plain(value)


def plain(value: object) -> str:
    """One line without control characters, which would change how its neighbours are read."""
    shown = str(value).encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in _spaced(shown))


def _spaced(text: str) -> str:
    return " ".join(text.split())
