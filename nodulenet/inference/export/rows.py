"""The patches that an export is checked on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.errors import NoduleNetError
from nodulenet.inference.engines import Floats
from nodulenet.patches.store import PatchStore
from nodulenet.seeds import generator
from nodulenet.training.run import ID_DTYPES, Run

_GENERATED = 64
# Inputs are float32 and kept for all models.
_MOST_BYTES = 2**29


@dataclass(frozen=True)
class ParityPatches:
    """Inputs of the models, in groups: each fold's held-out patches, or one group for all models.

    Attributes:
        inputs: by fold, float32 (n, *spec.input_shape); under None those for every model.
        labels: 0 or 1 of them; empty where they have none.
        words: how many, and what they are.
    """

    inputs: Mapping[int | None, Floats]
    labels: Mapping[int | None, npt.NDArray[np.int64]]
    words: str


def parity_patches(
    spec: PatchSpec,
    model: str,
    folds: Sequence[int],
    run: str | Path | None,
    *,
    most: int,
    seed: int,
) -> ParityPatches:
    """Out-of-fold patches of a run, while it has them, else generated ones without labels.

    Args:
        spec: what patches are.
        model: key of the model in the run.
        folds: those of the files that are compared.
        run: the run directory, or None.
        most: patches at most, fewer of large ones; of more, some are drawn of each fold and label.
        seed: of the draw and of what is generated.
    """
    if run is not None:
        found = _of_run(Path(run), spec, model, folds, most, seed)
        if found is not None:
            return found
    return _generated(spec, seed)


def _of_run(
    folder: Path, spec: PatchSpec, model: str, folds: Sequence[int], most: int, seed: int
) -> ParityPatches | None:
    from nodulenet.training.model_inputs import model_inputs

    try:
        run = Run.open(folder)
        store = PatchStore(run.config.store_path / run.manifest()["stages"]["train"]["store"])
        predictions = pd.read_csv(folder / "predictions.csv", dtype=ID_DTYPES)
        position = pd.Series(range(len(store)), index=store.index["finding_id"])
    except (NoduleNetError, OSError, KeyError):
        return None  # a bundle is no run, and a run may be moved without its patches
    mine = predictions["model"] == model
    rows = predictions[mine & (predictions["split"] == "outer")]
    rows = rows.drop_duplicates(["finding_id", "fold"])
    rows = rows[rows["finding_id"].isin(position.index)]
    if store.spec.stored_shape != spec.stored_shape or rows.empty:
        return None
    fitting = max(1, _MOST_BYTES // (4 * int(np.prod(spec.input_shape))))
    rows = _draw(rows, min(most, fitting), seed)
    wanted = set(folds)
    # Of a model that is no fold's, such as one trained on everything, each patch says as much.
    groups = (
        {fold: rows[rows["fold"] == fold] for fold in sorted(wanted)}
        if wanted <= set(rows["fold"])
        else {None: rows}
    )
    inputs: dict[int | None, Floats] = {}
    labels: dict[int | None, npt.NDArray[np.int64]] = {}
    for fold, part in groups.items():
        stored = store.patches(position[part["finding_id"]].to_numpy())
        inputs[fold] = model_inputs(stored, spec, store.values)
        labels[fold] = part["label"].to_numpy(dtype=np.int64)
    count = sum(map(len, inputs.values()))
    words = "out-of-fold patches of the run" if None not in groups else "patches of the run"
    return ParityPatches(inputs, labels, f"{count} {words}")


def _draw(rows: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """At most so many rows, of each fold and label its share and at least one."""
    if len(rows) <= most:
        return rows
    random = generator(seed, "parity")
    share = most / len(rows)
    parts = [
        part.iloc[np.sort(random.permutation(len(part))[: max(1, int(len(part) * share))])]
        for _, part in rows.groupby(["fold", "label"])
    ]
    return pd.concat(parts)


def _generated(spec: PatchSpec, seed: int) -> ParityPatches:
    """Smooth blobs of many sizes on noise, in [0, 1] as windowed patches are."""
    from scipy.ndimage import gaussian_filter

    random = generator(seed, "parity")
    shape = spec.input_shape
    inputs = np.empty((_GENERATED, *shape), dtype=np.float32)
    for i in range(_GENERATED):
        noise = random.normal(size=shape)
        width = 0.5 + 3 * i / _GENERATED
        smooth = gaussian_filter(noise, [*[width] * (len(shape) - 1), 0])
        inputs[i] = np.clip(0.5 + smooth / (4 * smooth.std()) + 0.02 * noise, 0, 1)
    return ParityPatches({None: inputs}, {}, f"{_GENERATED} generated patches")
