"""Numbers as a reader wants them; used as filters in the template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

MISSING = "–"  # noqa: RUF001
_MINUS = "−"  # noqa: RUF001
_KEEP = "\N{NO-BREAK SPACE}"


def number(value: float | None, digits: int = 3) -> str:
    """A fixed number of digits, a true minus sign; a dash for None."""
    if value is None:
        return MISSING
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", _MINUS)


def signed(value: float | None, digits: int = 3) -> str:
    """As :func:`number`, with a plus sign where it is positive."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and float(f"{value:.{digits}f}") else text


def interval(limits: Mapping[str, Any] | None, digits: int = 3) -> str:
    """``0.912 to 0.945``; where there is none, "no interval" that tells the reason when asked."""
    if limits is None:
        return MISSING
    if limits["low"] is None or limits["high"] is None:
        why = limits.get("note") or "not defined"
        return Markup('<abbr title="{}">no interval</abbr>').format(why)
    # With spaces that do not break: an interval over two lines is hard to read.
    return f"{number(limits['low'], digits)}{_KEEP}to{_KEEP}{number(limits['high'], digits)}"


def target(value: float) -> str:
    """A share that somebody asked for, as per cent, with every digit of it."""
    return f"{100 * value:.10g} %"


def with_level(limits: Mapping[str, Any], level: str) -> str:
    """``95 % interval 0.912 to 0.945``, or why there is none."""
    if limits["low"] is None:
        return f"no {level} interval: {limits.get('note') or 'not defined'}"
    return f"{level} interval {interval(limits)}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent."""
    return MISSING if value is None else f"{100 * value:.{digits}f} %"


def breakable(value: object) -> Markup:
    """Text that may be broken after an underscore, a hyphen, a dot or a slash."""
    parts = re.split(r"(?<=[_./-])", str(value))
    return Markup("<wbr>").join(parts)


def count(value: Any) -> str:
    """Whole numbers with a thin space between thousands; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    return f"{value:,}".replace(",", " ")


def short(value: float | None) -> str:
    """A large number with three digits and a unit: ``12.3 M``; a dash for None."""
    if value is None:
        return MISSING
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:#.3g}".rstrip(".") + f" {unit}"
    return f"{value:.3g}"


def between(limits: Sequence[int]) -> str:
    """``702``, or ``700 to 702`` where smallest and largest differ."""
    low, high = limits
    return count(low) if low == high else f"{count(low)}{_KEEP}to{_KEEP}{count(high)}"


def p_value(value: float | None) -> str:
    """A p-value as papers print it."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def spread(over_folds: Mapping[str, Any], name: str) -> str:
    """``0.912 ± 0.021``: mean and standard deviation of a metric over folds."""
    sd = over_folds[f"{name}_sd"]
    text = number(over_folds[f"{name}_mean"]) + ("" if sd is None else f" ± {number(sd)}")
    defined, folds = over_folds["folds_with_auc"], over_folds["folds"]
    # A fold with one class has no AUC; its Brier score it has.
    return text if name == "brier" or defined == folds else f"{text} ({defined} of {folds} folds)"


def rule(point: Mapping[str, Any]) -> str:
    """How the threshold of an operating point was chosen."""
    if point["kind"] == "fixed":
        return "Fixed beforehand"
    name = str(point["name"])
    return name[:1].upper() + name[1:]


def plural(value: int, one: str, many: str = "") -> str:
    """``1 slice``, ``2 slices``."""
    return f"{count(value)} {one if value == 1 else many or f'{one}s'}"


def verdict(comparison: Mapping[str, Any]) -> str:
    """What the bootstrap interval of a difference allows to say."""
    limits = comparison["patient_bootstrap"]
    if limits["low"] is None:
        return "cannot be told"
    if limits["low"] > 0:
        return "higher"
    if limits["high"] < 0:
        return "lower"
    return "not shown to differ"
