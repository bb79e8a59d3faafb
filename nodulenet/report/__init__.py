"""The report: one self-contained HTML file from metrics, predictions and histories.

The names below load their module on first use, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.report.content import GalleryItem, ReportContent
    from nodulenet.report.gallery import select_gallery
    from nodulenet.report.html import write_report

_HOMES = {
    "GalleryItem": "content",
    "ReportContent": "content",
    "select_gallery": "gallery",
    "write_report": "html",
}

__all__ = ["GalleryItem", "ReportContent", "select_gallery", "write_report"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
