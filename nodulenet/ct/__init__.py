"""Reading CT: scans as HU volumes in LPS millimetres, patches at a point, HU windows.

Nothing heavy is loaded before one of these names is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nodulenet.ct.open import open_ct
    from nodulenet.ct.patch import extract_patch, extract_patches
    from nodulenet.ct.volume import CTVolume
    from nodulenet.ct.windows import WINDOWS, apply_window

__all__ = ["WINDOWS", "CTVolume", "apply_window", "extract_patch", "extract_patches", "open_ct"]

_HOME = {
    "CTVolume": "volume",
    "open_ct": "open",
    "extract_patch": "patch",
    "extract_patches": "patch",
    "WINDOWS": "windows",
    "apply_window": "windows",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"nodulenet.ct.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
