"""Scans and patches as MONAI's MetaTensor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from nodulenet.ct.volume import LPS_TO_RAS, CTVolume

if TYPE_CHECKING:
    from torch import Tensor


def whole_scan(volume: CTVolume) -> Tensor:
    """The scan as it is stored, float32 (1, z, y, x), with its own direction in the affine."""
    hu = volume.array().astype(np.float32)
    return meta_tensor(hu, volume.affine_ras[:, [2, 1, 0, 3]], volume)


def along_patient(
    hu: NDArray[np.float32],
    spacing_mm: NDArray[np.float64],
    point_lps_mm: NDArray[np.float64],
    index_of_point: NDArray[np.float64],
    volume: CTVolume,
) -> Tensor:
    """HU on a grid along the patient's axes as a tensor with a true affine.

    Args:
        hu: (z, y, x) or a plane (y, x), which becomes one channel; or (z, y, x) of which z are
            channels, where ``index_of_point`` has two numbers.
        spacing_mm: (x, y, z).
        point_lps_mm: (x, y, z) of a point.
        index_of_point: where the point lies in the array: (z, y, x) or (y, x).
        volume: the scan it was cut from.
    """
    # Steps along the array's axes, in LPS mm: z, y, x (a plane: y, x and its normal z).
    axes = [2, 1, 0] if len(index_of_point) == 3 else [1, 0, 2]
    lps = np.eye(4)
    lps[:3, :3] = np.diag(spacing_mm)[:, axes]
    index = np.zeros(3)
    index[: len(index_of_point)] = index_of_point
    lps[:3, 3] = point_lps_mm - lps[:3, :3] @ index
    return meta_tensor(hu, LPS_TO_RAS @ lps, volume, spatial=len(index_of_point))


def meta_tensor(
    hu: NDArray[np.float32],
    affine_ras: NDArray[np.float64],
    volume: CTVolume,
    *,
    spatial: int | None = None,
) -> Tensor:
    """Channel-first MetaTensor with the metadata that MONAI's writers look for.

    With as many axes as ``spatial`` (default: all) it gets a channel axis in front.
    """
    channel_first = hu[None] if spatial is None or hu.ndim == spatial else hu
    affine = torch.as_tensor(affine_ras, dtype=torch.float64)
    meta = {
        "original_affine": affine.clone(),
        "space": "RAS",
        "spatial_shape": np.array(channel_first.shape[1:]),
        "original_channel_dim": "no_channel" if channel_first.ndim > hu.ndim else 0,
        "filename_or_obj": os.fspath(volume.source) if volume.source else volume.series_uid,
        "series_uid": volume.series_uid,
    }
    return MetaTensor(
        torch.from_numpy(np.ascontiguousarray(channel_first)), affine=affine, meta=meta
    )
