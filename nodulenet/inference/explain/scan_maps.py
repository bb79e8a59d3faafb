"""Maps of all answered findings of a scan, as the finding sheet draws them."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.ct import CTVolume
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.inference.answers import Answers
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.cutting import cut_patches
from nodulenet.inference.explain.map_image import map_images
from nodulenet.inference.explain.occlusion import occlusion
from nodulenet.inference.outputs.sources import Saliency


def scan_maps(answers: Answers, volume: CTVolume, bundle: Bundle) -> dict[str, Saliency]:
    """An occlusion map of each finding, by ``finding_id``.

    Occlusion asks the bundle itself again and again with parts of the patch covered, so every
    engine serves, and test-time poses and stacks are explained as they answered. Of patches of
    three orthogonal planes the axial one has a map.

    Args:
        answers: of the scan.
        volume: the scan.
        bundle: what answered.
    """
    table, spec = answers.table, bundle.spec
    points = table[list(POINT_COLUMNS)].to_numpy(dtype=np.float64)
    stored = cut_patches(volume, points, spec)
    maps = {}
    for row, (name, point) in enumerate(zip(table["finding_id"].astype(str), points, strict=True)):
        answer = partial(_ask, bundle=bundle, model=answers.model, known=table.iloc[[row]])
        made = occlusion(answer, stored[row], spec, bundle.values)
        image = map_images(made.values, spec, point)[0]
        flat = len(image.values) == 1
        maps[name] = Saliency(image.values[0] if flat else image.values, image.affine_lps)
    return maps


def _ask(
    patches: npt.NDArray[np.int16], *, bundle: Bundle, model: str, known: pd.DataFrame
) -> npt.NDArray[np.float64]:
    """The answers for one finding's patch under its covers: a stack's covariates stay the same."""
    findings = known.loc[known.index.repeat(len(patches))]
    return bundle.predict(patches, model, findings=findings)
