"""The gallery of a run: mistakes and successes with their patches, while the store is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.patches.store import PatchStore
from nodulenet.report.content import GalleryItem, Plane
from nodulenet.report.gallery import planes_of, read_saliency, select_gallery

_CAPTION = ("label", "probability", "finding_id", "fold", "model", "diameter_mm")


def run_gallery(
    folder: Path,
    model: str,
    predictions: pd.DataFrame,
    store: PatchStore,
    *,
    mistakes: int = 8,
    successes: int = 4,
) -> list[GalleryItem]:
    """Mistakes and successes of a model, with the saliency maps that the run holds.

    Args:
        folder: The run, where ``saliency/`` would lie.
        model: Name of the model; without predictions of it there is no gallery.
        predictions: Validated predictions.
        store: The patches, in HU.
        mistakes, successes: How many, as of :func:`nodulenet.report.gallery.select_gallery`.
            Default to 8 and 4.

    Raises:
        RunError: a saliency map of another shape than its patch.
    """
    if model not in set(predictions["model"]):
        return []
    shown = [c for c in _CAPTION if c != "fold" or predictions["fold"].nunique() > 1]
    position = {f: i for i, f in enumerate(store.index["finding_id"])}
    items = []
    chosen = select_gallery(predictions, model, mistakes=mistakes, successes=successes)
    for _, row in chosen.iterrows():
        finding = row["finding_id"]
        if finding not in position:
            continue
        patch = patch_without_margin(store, position[finding])
        saliency = read_saliency(folder, model, finding, patch.shape)
        items.append(
            patch_item(
                patch,
                saliency,
                store.spec,
                kind=row["kind"],
                caption={k: row[k] for k in shown if k in row and not pd.isna(row[k])},
            )
        )
    return items


def patch_item(
    patch: npt.NDArray[np.int16],
    saliency: npt.NDArray[np.float32] | None,
    spec: PatchSpec,
    **facts: Any,
) -> GalleryItem:
    """A patch of any form: three planes where it has three, else its middle axial slice.

    Args:
        patch: HU without margin, as the store has it: (z, y, x), (y, x), or (3, y, x).
        saliency: -1..1, of the same shape, or None.
        spec: What the patch is.
        facts: ``kind`` and ``caption`` of the item.
    """
    x, y, z = spec.spacing_xyz_mm
    planes: tuple[Plane, ...]
    if spec.form == "3d":
        planes = planes_of(patch, (x, y, z), saliency=saliency)
    elif spec.orthogonal_planes:
        planes = _stored_planes(patch, saliency, spec)
    else:
        middle = patch if patch.ndim == 2 else patch[len(patch) // 2]
        seen = saliency if saliency is None or saliency.ndim == 2 else saliency[len(saliency) // 2]
        return GalleryItem(image_hu=middle, saliency=seen, spacing_mm=(x, y), **facts)
    axial = planes[0]
    return GalleryItem(
        image_hu=axial.image_hu,
        saliency=axial.saliency,
        spacing_mm=axial.spacing_mm,
        planes=planes,
        **facts,
    )


def _stored_planes(
    patch: npt.NDArray[np.int16], saliency: npt.NDArray[np.float32] | None, spec: PatchSpec
) -> tuple[Plane, ...]:
    """Orthogonal planes as the store has them: (y, x), (z, x) and (z, y), z rising."""
    x, y, z = spec.spacing_xyz_mm
    maps = (None, None, None) if saliency is None else saliency
    return (
        Plane(name="axial", image_hu=patch[0], spacing_mm=(x, y), saliency=maps[0]),
        # Shown with the head up.
        Plane(name="coronal", image_hu=patch[1][::-1], spacing_mm=(x, z), saliency=_up(maps[1])),
        Plane(name="sagittal", image_hu=patch[2][::-1], spacing_mm=(y, z), saliency=_up(maps[2])),
    )


def _up(plane: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | None:
    return None if plane is None else plane[::-1]


def patch_without_margin(store: PatchStore, position: int) -> npt.NDArray[np.int16]:
    """A patch of a store as a model sees its middle: (z, y, x), (y, x), or (3, y, x), int16.

    Args:
        store: The patches.
        position: Row of ``store.index``.
    """
    patch: npt.NDArray[np.int16] = store.patches([position])[0]
    m = store.spec.margin_voxels
    inner = tuple(slice(m, n - m) for n in patch.shape)
    return patch[(slice(None), *inner[1:]) if store.spec.orthogonal_planes else inner]
