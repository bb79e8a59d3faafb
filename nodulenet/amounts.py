"""Amounts as people read them: bytes, counts, durations."""

from __future__ import annotations


def bytes_text(count: float) -> str:
    """``4.3 GB``; units are powers of 1,000, as on the boxes of disks."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 1e3 * size else f"{count / size:,.0f} TB"
    return f"{count / 1e3:.3g} kB"


def duration_text(seconds: float) -> str:
    """``35 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 3600:,.0f} h"


def count_text(count: int, singular: str, plural: str | None = None) -> str:
    """``1 scan``, ``1,200 scans``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
