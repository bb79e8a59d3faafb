"""Answers as files that other programs open: one module a format, one list of them.

The names below load their module on first use, so that importing the package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.inference.outputs.formats import (
        OUTPUTS,
        OutputFormat,
        chosen_formats,
        refuse_unfit,
        write_outputs,
    )
    from nodulenet.inference.outputs.sources import Saliency, Sources, Written

_HOMES = {
    "OUTPUTS": "formats",
    "OutputFormat": "formats",
    "Saliency": "sources",
    "Sources": "sources",
    "Written": "sources",
    "chosen_formats": "formats",
    "refuse_unfit": "formats",
    "write_outputs": "formats",
}

__all__ = [
    "OUTPUTS",
    "OutputFormat",
    "Saliency",
    "Sources",
    "Written",
    "chosen_formats",
    "refuse_unfit",
    "write_outputs",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
