"""What is looked at interactively, in Jupyter; needs ``nodulenet[notebooks]``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.notebook.slice_browser import SliceBrowser, browse_slices

__all__ = ["SliceBrowser", "browse_slices"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from nodulenet.notebook import slice_browser

        return getattr(slice_browser, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
