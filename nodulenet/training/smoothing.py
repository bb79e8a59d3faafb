"""Gaussian blur of many patches, each with its own sigma, as products with small matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Where the Gaussian ends, as in scipy.ndimage.
_TRUNCATE_SIGMAS = 4.0
# Multiplications up to which OpenBLAS, NumPy's linear algebra, uses one thread.
_SMALL = 2**18

Floats = npt.NDArray[np.float32]


def gaussian_matrices(sigmas: npt.NDArray[np.float64], size: int) -> Floats:
    """Matrices (n, size, size) that blur an axis, each with its sigma; the border is repeated.

    As ``scipy.ndimage.gaussian_filter1d(..., mode="nearest")``.
    """
    distance = np.arange(size + 1)
    positive = np.maximum(sigmas, 1e-3)[:, None]
    weights = np.exp(-0.5 * (distance / positive) ** 2)
    weights[distance > np.floor(_TRUNCATE_SIGMAS * positive + 0.5)] = 0
    # What lies a distance or more away, on one side; the kernel may be wider than the patch.
    reach = int(_TRUNCATE_SIGMAS * positive.max() + 0.5)
    far = np.arange(size + 1, max(size + 1, reach + 1))
    beyond = np.exp(-0.5 * (far / positive) ** 2)
    beyond[far > np.floor(_TRUNCATE_SIGMAS * positive + 0.5)] = 0
    tails = np.cumsum(weights[:, ::-1], axis=1)[:, ::-1] + beyond.sum(axis=1, keepdims=True)
    total = 2 * tails[:, :1] - weights[:, :1]
    index = np.arange(size)
    matrices = weights[:, np.abs(index[:, None] - index)]
    matrices[:, :, 0] += tails[:, index + 1]
    matrices[:, :, -1] += tails[:, size - index]
    return (matrices / total[..., None]).astype(np.float32)


class Blur:
    """Blurs a batch along its last axes, each patch with its own sigma.

    The matrix products are so small that the linear algebra library computes each on one thread:
    the result does not depend on how many there are, and nobody waits for busy cores.

    Args:
        sigmas: (n,) in voxels.
        sizes: of the two or three axes.
    """

    def __init__(self, sigmas: npt.NDArray[np.float64], sizes: Sequence[int]) -> None:
        of_size = {size: gaussian_matrices(sigmas, size) for size in set(sizes)}
        *leading, before, last = (of_size[size] for size in sizes)
        # A matrix of each patch for all that stands between its number and the axes multiplied.
        self._first = leading[0][:, None] if leading else None
        self._before = before
        self._last = np.ascontiguousarray(last.swapaxes(-2, -1))

    def __call__(self, patches: Floats, group: slice, out: Floats, scratch: Floats) -> None:
        """Fills ``out`` with patches blurred.

        Args:
            patches: those of ``group``, (group, ..., *axes), with at most one axis between.
            group: which rows of the batch they are.
            out, scratch: in the shape of ``patches``.
        """
        between = (slice(None), *(None,) * (patches.ndim - 3))
        before, last = self._before[group][between], self._last[group][between]
        if self._first is None:
            _product(patches, last, scratch)
            _product(before, scratch, out)
            return
        _product(patches, last, out)
        _product(before, out, scratch)
        _product(self._first[group], scratch.swapaxes(-3, -2), out.swapaxes(-3, -2))


def _product(left: Floats, right: Floats, out: Floats) -> None:
    rows, inner, columns = *left.shape[-2:], right.shape[-1]
    block = max(b for b in range(1, rows + 1) if rows % b == 0 and b * inner * columns <= _SMALL)
    for first in range(0, rows, block):
        piece = slice(first, first + block)
        np.matmul(left[..., piece, :], right, out=out[..., piece, :])
