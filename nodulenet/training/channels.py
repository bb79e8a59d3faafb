"""Values to the channels of the model's input: one a window, times the planes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.ct.windows import resolve_windows

Floats = npt.NDArray[np.float32]


class Channels:
    """Windows of patches into the model's input, channels last.

    Patches are (n, *size), of orthogonal planes (n, 3, rows, columns); the input is
    (n, *spec.input_shape). Of planes, all windows of the first come before those of the second.
    """

    def __init__(self, spec: PatchSpec) -> None:
        self._planes = spec.form == "2.5d"
        self._windows = resolve_windows(spec.windows)

    def write(self, values: Floats, inputs: Floats, scratch: Floats) -> None:
        """Fills ``inputs`` from source values; ``scratch`` has the shape of ``values``."""
        for (low, high), channel in zip(self._windows, self._channels(inputs), strict=True):
            np.subtract(values, np.float32(low), out=scratch)
            np.multiply(scratch, np.float32(1 / (high - low)), out=scratch)
            np.clip(scratch, 0, 1, out=channel)

    def _channels(self, inputs: Floats) -> Iterator[Floats]:
        """The part of the input that each window fills, a view in the shape of the patches."""
        count = len(self._windows)
        if not self._planes:
            yield from (inputs[..., window] for window in range(count))
            return
        apart = inputs.reshape(*inputs.shape[:-1], -1, count)
        yield from (np.moveaxis(apart[..., window], -1, 1) for window in range(count))
