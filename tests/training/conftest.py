"""A small archive of patches with a bright blob in the positives, prepared in moments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

SIZE = 24
FINDINGS = 160


def write_blobs(folder: Path, count: int = FINDINGS, seed: int = 0) -> None:
    """``patches.npz`` and ``table.csv``: two findings a patient, half of them positive."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    y, x = np.mgrid[:32, :32] - 15.5
    blob = 700 * np.exp(-(y**2 + x**2) / 18)
    hu = rng.normal(-850, 60, (count, 32, 32)) + label[:, None, None] * blob
    np.savez(folder / "patches.npz", hu=np.clip(hu, -1024, 3000).astype(np.int16))
    pd.DataFrame(
        {
            "patient_id": [f"p{i // 2:03d}" for i in rng.permutation(count)],
            "label": label,
            "shuffled": rng.permutation(label),
            "rating": np.where(label, 4.0, 2.0) + rng.integers(-1, 2, count) * 0.5,
            "diameter_mm": rng.uniform(4, 20, count),
            "maker": rng.choice(["A", "B", "C"], count),
        }
    ).to_csv(folder / "table.csv", index=False)


def blob_tree(folder: Path, **more: Any) -> dict[str, Any]:
    """A configuration of them as a plain tree."""
    tree: dict[str, Any] = {
        "name": "blobs",
        "run": str(folder / "run"),
        "store": str(folder / "store"),
        "seed": 5,
        "label_meaning": "outcome",
        "source": {
            "kind": "patches",
            "archive": str(folder / "patches.npz"),
            "table": str(folder / "table.csv"),
            "spacing_mm": [1.0, 1.0],
            "columns": {"label": "label", "diameter_mm": "diameter_mm"},
        },
        "patch": {"form": "2d", "size": [SIZE, SIZE], "spacing_mm": 1.0, "margin_voxels": 3},
        "folds": {
            "kind": "grouped",
            "count": 2,
            "inner_fraction": 0.25,
            "least_of_each_label": 2,
        },
        "models": [{"name": "squeezenodule_v1", "normalization": "batch"}],
        "baselines": [],
        "train": {"epochs": 3, "batch_size": 16},
        "evaluate": {"bootstraps": 200},
    }
    return tree | more


Tree = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the archive and its prepared store."""
    from nodulenet.config.schema import Config
    from nodulenet.patches.prepare import prepare

    folder = tmp_path_factory.mktemp("blobs")
    write_blobs(folder)
    prepare(Config.model_validate(blob_tree(folder)))
    return folder


@pytest.fixture(scope="session")
def tree_of(blobs: Path) -> Tree:
    """``tree_of(run, **changes)``: a configuration of the prepared blobs as a plain tree."""
    return lambda run, **more: blob_tree(blobs, run=str(run), **more)
