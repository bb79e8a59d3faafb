"""Numbers and lists as words of a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

CALIBRATIONS: Final = {
    "platt": "Platt scaling",
    "temperature": "temperature scaling",
    "isotonic": "isotonic regression",
}


def listed(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    items = list(words)
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else "".join(items)


def capital(text: str) -> str:
    """With a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]


def count(number: int) -> str:
    """``6,163``."""
    return f"{number:,}"


def number(value: float | str) -> str:
    """``6.5``, ``1e-05``; text as it is."""
    return value if isinstance(value, str) else f"{value:g}"


def span(values: Iterable[int]) -> str:
    """``700 to 702``, or ``700`` where all are the same."""
    numbers = list(values)
    low, high = min(numbers), max(numbers)
    return count(low) if low == high else f"{count(low)} to {count(high)}"


def cohort(counts: Mapping[str, Any]) -> str:
    """``6,163 findings of 2,120 patients``."""
    return f"{count(counts['findings'])} findings of {count(counts['patients'])} patients"
