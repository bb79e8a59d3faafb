"""HU windows: ranges of Hounsfield units mapped to [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nodulenet.errors import UsageError

Window: TypeAlias = str | tuple[float, float] | list[float]
"""A name of :data:`WINDOWS`, or (lowest, highest) HU."""

WINDOWS: dict[str, tuple[float, float]] = {
    # Setio et al., IEEE Trans Med Imaging 35:1160-1169, 2016, section III: intensities "rescaled
    # from (-1000, 400 HU) to (0, 1)" - the range most LUNA16 entries took over.
    "luna16": (-1000.0, 400.0),
    "lung": (-1000.0, 400.0),
    # Radiopaedia, "Windowing (CT)": chest mediastinum W 350 L 50, bone W 1800 L 400.
    "mediastinum": (-125.0, 225.0),
    "bone": (-500.0, 1300.0),
}
"""Named windows, (lowest, highest) HU."""


def resolve_window(window: Window) -> tuple[float, float]:
    """(lowest, highest) HU of a window given by name or by its two ends.

    Raises:
        UsageError: an unknown name, or ends that are not finite and rising.
    """
    if isinstance(window, str):
        if window not in WINDOWS:
            raise UsageError(
                f"window is {window!r}; expected one of {', '.join(sorted(WINDOWS))} or two "
                "numbers (lowest HU, highest HU)"
            )
        return WINDOWS[window]
    ends = [] if not isinstance(window, tuple | list) else [float(value) for value in window]
    if len(ends) != 2 or not np.isfinite(ends).all() or ends[0] >= ends[1]:
        raise UsageError(
            f"window is {window!r}; expected two rising numbers (lowest HU, highest HU), such as "
            "(-1000, 400)"
        )
    return ends[0], ends[1]


def resolve_windows(windows: Window | Sequence[Window]) -> tuple[tuple[float, float], ...]:
    """All windows as (lowest, highest) HU, a single one as a tuple of one."""
    if _is_single(windows):
        return (resolve_window(windows),)  # type: ignore[arg-type]
    if not windows:
        raise UsageError("windows is empty; expected at least one window, such as 'lung'")
    return tuple(resolve_window(window) for window in windows)  # type: ignore[arg-type]


def apply_window(hu: ArrayLike, windows: Window | Sequence[Window]) -> NDArray[np.float32]:
    """HU to [0, 1] by one or several windows.

    Args:
        hu: array of HU, any shape and real dtype.
        windows: a name, two ends (lowest, highest) HU, or a sequence of such windows.

    Returns:
        float32 in [0, 1]: of the same shape for a single window, with the windows as a new last
        axis for a sequence (also a sequence of one).

    Raises:
        UsageError: an unknown or impossible window.

    Example:
        >>> apply_window([-1000, -300, 400], "lung").tolist()
        [0.0, 0.5, 1.0]
        >>> apply_window([-1000, -300, 400], ["lung", (-300, 400)]).shape
        (3, 2)
    """
    values = np.asarray(hu, dtype=np.float32)
    mapped = [
        np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
        for low, high in resolve_windows(windows)
    ]
    return mapped[0] if _is_single(windows) else np.stack(mapped, axis=-1)


def _is_single(windows: Window | Sequence[Window]) -> bool:
    if isinstance(windows, str):
        return True
    return len(windows) == 2 and all(isinstance(end, int | float | np.number) for end in windows)
