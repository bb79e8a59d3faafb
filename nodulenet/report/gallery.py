"""The gallery: which findings it shows, and their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.errors import PredictionsError, RunError, UsageError
from nodulenet.evaluation.table import outer_rows
from nodulenet.report.content import GalleryItem, Pixels, Plane

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SALIENCY = "saliency"


def select_gallery(
    predictions: pd.DataFrame, model: str, *, mistakes: int = 8, successes: int = 4
) -> pd.DataFrame:
    """The most confident mistakes and the most typical successes of a model.

    Half of each kind are positives, half negatives, as far as there are any. A mistake is the
    more confident the further its probability lies on the wrong side of 0.5; a success is the
    more typical the nearer it lies to the median of its class's successes. Findings of other
    patients go before a second finding of the same patient.

    Args:
        predictions: A validated predictions table.
        model: Name of the model.
        mistakes: How many mistakes. Defaults to 8.
        successes: How many successes. Defaults to 4.

    Returns:
        The chosen outer rows with a further column ``kind`` (``mistake`` or ``success``), the
        mistakes first, each kind from the most to the least telling.

    Raises:
        PredictionsError: the model has no outer rows.
    """
    rows = outer_rows(predictions)
    rows = rows[rows["model"] == model]
    if rows.empty:
        raise PredictionsError(f"gallery: model {model!r} has no outer rows; name one that has")
    called = rows["probability"] >= 0.5
    wrong = rows[called != (rows["label"] == 1)]
    right = rows[called == (rows["label"] == 1)]
    confident = (wrong["probability"] - 0.5).abs()
    middle = right.groupby("label")["probability"].transform("median")
    typical = -(right["probability"] - middle).abs()
    return pd.concat(
        [
            _both_classes(wrong, confident, mistakes).assign(kind="mistake"),
            _both_classes(right, typical, successes).assign(kind="success"),
        ]
    )


def planes_of(
    patch: Pixels,
    spacing_mm: tuple[float, float, float],
    *,
    saliency: npt.NDArray[np.floating[Any]] | None = None,
) -> tuple[Plane, Plane, Plane]:
    """The axial, coronal and sagittal plane through the centre of a patch.

    As radiologists look at them: the patient's right, or anterior in the sagittal plane, on the
    left, the head up. With an even number of slices a plane is the mean of the middle two.

    Args:
        patch: HU (z, y, x) along the patient's axes, without margin.
        spacing_mm: (x, y, z).
        saliency: Of the patch's shape. Defaults to none.

    Raises:
        UsageError: not three axes, or a saliency of another shape.
    """
    # Matplotlib is loaded with the module.
    from nodulenet.plots.planes import middle_planes

    if np.ndim(patch) != 3:
        raise UsageError(f"gallery: patch of shape {np.shape(patch)}; expected (z, y, x)")
    if saliency is not None and saliency.shape != patch.shape:
        raise UsageError(
            f"gallery: saliency of shape {saliency.shape} on a patch of shape {patch.shape}; give "
            "both of the same patch without margin"
        )
    x, y, z = spacing_mm
    images = middle_planes(patch)
    maps = (None, None, None) if saliency is None else middle_planes(saliency)
    return (
        Plane(name="axial", image_hu=images[0], spacing_mm=(x, y), saliency=maps[0]),
        Plane(name="coronal", image_hu=images[1], spacing_mm=(x, z), saliency=maps[1]),
        Plane(name="sagittal", image_hu=images[2], spacing_mm=(y, z), saliency=maps[2]),
    )


def saliency_path(folder: str | Path, model: str, finding_id: str) -> Path:
    """Where a run keeps the saliency of a finding: ``saliency/MODEL/FINDING_ID.npy``.

    What no file name can hold or would lead elsewhere (``/``, ``\\``, a name of dots alone) is
    written as in web addresses, ``%2F`` and so on.

    Args:
        folder: The run directory.
        model: Name of the model.
        finding_id: The finding.
    """
    return Path(folder) / SALIENCY / _file_name(model) / f"{_file_name(finding_id)}.npy"


def read_saliency(
    folder: str | Path, model: str, finding_id: str, shape: Sequence[int]
) -> npt.NDArray[np.float32] | None:
    """The saliency of a finding, scaled so that its largest absolute value is 1.

    Args:
        folder: The run directory.
        model: Name of the model.
        finding_id: The finding.
        shape: Of the patch without margin, (z, y, x) or (y, x).

    Returns:
        float32 of ``shape``, -1..1, all 0 where the map is; None where the run has none.

    Raises:
        RunError: the file is no array of finite numbers, or of another shape.
    """
    path = saliency_path(folder, model, finding_id)
    if not path.is_file():
        return None
    remedy = "write it again for the patches of this run, or remove it"
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise RunError(f"{path}: is not readable as .npy ({error}); {remedy}") from error
    if not isinstance(found, np.ndarray) or found.shape != tuple(shape):
        raise RunError(
            f"{path}: has shape {getattr(found, 'shape', 'unknown')}; expected {tuple(shape)}, "
            f"that of the patch without margin; {remedy}"
        )
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise RunError(f"{path}: holds {found.dtype} values that are not all finite; {remedy}")
    largest = float(np.abs(found.astype(np.float64)).max(initial=0.0))
    return (found / (largest or 1.0)).astype(np.float32)


def picture_caption(item: GalleryItem, class_names: Sequence[str]) -> str:
    """Label and probability and, where it is known, the size below them, e.g. for a montage.

    Args:
        item: The picture.
        class_names: Name of the negative and of the positive class.
    """
    caption = item.caption
    text = (
        f"{class_names[int(caption['label'])]}\n"
        f"P({class_names[1]}) {float(caption['probability']):.2f}"
    )
    size = caption.get("diameter_mm")
    known = isinstance(size, int | float | np.number) and np.isfinite(size) and size > 0
    return f"{text}\n{float(size):.1f} mm" if known and size is not None else text


def gallery_figure(items: Sequence[GalleryItem], class_names: Sequence[str]) -> Figure:
    """A montage of pictures with their captions and scale bars; 3D patches in their three planes.

    Args:
        items: The pictures. Where all have planes, each takes three places of a row of six.
        class_names: Name of the negative and of the positive class.

    Raises:
        UsageError: no items.
    """
    from nodulenet.plots.montage import montage_figure

    in_planes = bool(items) and all(item.planes for item in items)
    pictures: list[tuple[Pixels, tuple[float, float], Any, str]] = []
    for item in items:
        text = picture_caption(item, class_names)
        if in_planes:
            # The caption stands over the first of the three; the others say what they are.
            pictures += [
                (p.image_hu, p.spacing_mm, p.saliency, text if p.name == "axial" else p.name)
                for p in item.planes
            ]
        else:
            pictures.append((item.image_hu, item.spacing_mm, item.saliency, text))
    return montage_figure(
        [image for image, _, _, _ in pictures],
        captions=[text for _, _, _, text in pictures],
        spacings_mm=[spacing for _, spacing, _, _ in pictures],
        saliency=[overlay for _, _, overlay, _ in pictures],
        columns=6,
    )


def _file_name(name: str) -> str:
    safe = name.replace("%", "%25").replace("/", "%2F").replace("\\", "%5C").replace("\0", "%00")
    return safe if safe.strip(".") else safe.replace(".", "%2E")


def _both_classes(rows: pd.DataFrame, merit: pd.Series[float], count: int) -> pd.DataFrame:
    """The best rows, positives and negatives in turn, first one of each patient."""
    ranked = rows.assign(merit=merit).sort_values(
        ["merit", "finding_id"], ascending=[False, True], kind="stable"
    )
    again = ranked.groupby("patient_id").cumcount()
    ranked = ranked.assign(again=again)
    ranked = ranked.sort_values(["again", "merit"], ascending=[True, False], kind="stable")
    turn = ranked.groupby("label").cumcount()
    chosen = ranked.assign(turn=turn).sort_values("turn", kind="stable").head(count)
    return chosen.drop(columns=["merit", "again", "turn"])
