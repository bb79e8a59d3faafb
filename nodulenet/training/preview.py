"""What augmentation makes of patches, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.config.schema import Augmentation, Config
from nodulenet.errors import UsageError
from nodulenet.patches.store import PatchStore
from nodulenet.seeds import generator
from nodulenet.training.augmentation import BatchAugmentation
from nodulenet.training.model_inputs import model_inputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 4


def preview_figure(
    config: Config, store: PatchStore, *, count: int = 6, findings: Sequence[str] = ()
) -> Figure:
    """Stored patches beside ``count`` augmented ones each, as training makes them.

    Shown is the first window; of a cube and of neighbouring slices the middle slice, of orthogonal
    planes the axial one. The same configuration gives the same picture.

    Args:
        config: its ``patch`` and ``train.augment``.
        store: the patches.
        count: augmented patches a finding. Defaults to 6.
        findings: ids of those to be shown. Defaults to four that are spread over the store.

    Raises:
        UsageError: a finding that the store does not hold.
        ConfigError: poses would reach beyond the stored margin.
    """
    from nodulenet.plots.augmentation import augmentation_figure

    spec, augment = config.patch, config.train.augment
    names = store.index["finding_id"].astype(str)
    rows = _rows(names.tolist(), findings, store)
    stored = store.patches(rows)
    repeated = stored.repeat(count, axis=0)
    random = generator(config.seed, "augmentation preview")
    made = BatchAugmentation(spec, augment, store.values)(repeated, random)
    shown = _shown(made, spec)
    return augmentation_figure(
        _shown(model_inputs(stored, spec, store.values), spec),
        [shown[i : i + count] for i in range(0, len(shown), count)],
        names=[names.iloc[row][-22:] for row in rows],
        spacing_mm=(spec.spacing_mm[0], spec.spacing_mm[1]),
        title=f"{config.name}: the stored patch, then {settings_text(augment)}",
    )


def settings_text(augment: Augmentation) -> str:
    """What an augmentation does, in a line or two."""
    parts = [f"rotations {augment.rotations}", f"flips {'on' if augment.flips else 'off'}"]
    parts.append(f"shift {augment.shift_voxels:g} voxels")
    parts += [
        f"{name} {value:g}"
        for name, value in (
            ("zoom", augment.zoom),
            ("offset", augment.hu_offset),
            ("contrast", augment.hu_scale),
            ("blur", augment.blur),
            ("sharpen", augment.sharpen),
            ("noise", augment.noise),
        )
        if value
    ]
    return ", ".join(parts)


def _rows(names: list[str], findings: Sequence[str], store: PatchStore) -> npt.NDArray[np.int64]:
    if not findings:
        return np.unique(np.linspace(0, len(names) - 1, _ROWS).round().astype(np.int64))
    place = {name: row for row, name in enumerate(names)}
    absent = [name for name in findings if name not in place]
    if absent:
        raise UsageError(
            f"--findings: {store.path} has no patch of {absent[0]!r}; expected finding_id of its "
            f"{len(names)} findings, such as {names[0]!r}"
        )
    return np.array([place[name] for name in findings], dtype=np.int64)


def _shown(inputs: npt.NDArray[np.float32], spec: PatchSpec) -> list[npt.NDArray[np.float32]]:
    """One plane a patch, in the first window."""
    if spec.form == "3d":
        return list(inputs[:, spec.size[0] // 2, :, :, 0])
    plane = spec.size[0] // 2 if spec.neighbouring_slices else 0
    return list(inputs[..., plane * len(spec.windows)])
