"""A report's content with everything in it: two models, inner rows, FROC, subgroups, a gallery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nodulenet.config.schema import EvaluateConfig
from nodulenet.evaluation import read_predictions, summarize
from nodulenet.evaluation.froc import FrocReference
from nodulenet.report import GalleryItem, ReportContent, select_gallery

SETTINGS = EvaluateConfig(bootstraps=100, prevalences=[0.01], margin=0.05)


@pytest.fixture(scope="session")
def make_content() -> Callable[..., ReportContent]:
    """``make_content(models=("v2", "v1x"), **changes)``."""
    return content


@pytest.fixture(scope="session")
def make_predictions() -> Callable[..., pd.DataFrame]:
    """``make_predictions(model="v2", n=120)``: outer rows of one model."""
    return predictions


def predictions(model: str = "v2", n: int = 120) -> pd.DataFrame:
    random = np.random.default_rng(len(model))
    label = np.arange(n) % 3 == 0
    return pd.DataFrame(
        {
            "finding_id": [f"f{i}" for i in range(n)],
            "patient_id": [f"p{i // 2}" for i in range(n)],
            "fold": (np.arange(n) // 2) % 3,
            "model": model,
            "split": "outer",
            "label": label.astype(int),
            "probability": 1 / (1 + np.exp(-random.normal(2.0 * label - 1, 1.0))),
            "diameter_mm": np.random.default_rng(1).uniform(3, 20, n) + 5 * label,
            "scan_id": [f"s{i // 4}" for i in range(n)],
            "x_lps_mm": np.arange(n) * 40.0,
            "y_lps_mm": 0.0,
            "z_lps_mm": 0.0,
        }
    )


def content(models: tuple[str, ...] = ("v2", "v1x"), **changes: Any) -> ReportContent:
    rows = pd.concat([predictions(m) for m in models])
    inner = rows.assign(split="inner", fold=(rows["fold"] + 1) % 3)
    table = read_predictions(pd.concat([rows, inner]))
    positives = predictions()[lambda t: t["label"] == 1]
    reference = FrocReference(positives, None, [f"s{i}" for i in range(30)])
    history = pd.DataFrame(
        {"epoch": [1, 2], "loss": [0.7, 0.5], "val_loss": [0.7, 0.6], "val_auc": [0.6, 0.8]}
    )
    patch = np.random.default_rng(0).normal(-700, 200, (32, 40))
    chosen = select_gallery(table, models[0], mistakes=2, successes=2)
    values: dict[str, Any] = {
        "title": "A report",
        "label_meaning": "candidate",
        "metrics": summarize(table, SETTINGS, froc=reference),
        "predictions": table,
        "histories": {m: {0: history, 1: history.iloc[:1]} for m in models},
        "config_yaml": "seed: 0\nname: demo\n",
        "versions": {"keras": "3.15.1"},
        "command": "nodulenet train configs/demo.yaml",
        "seed": 0,
        "data_facts": {"Source": "phantom"},
        "failures": [{"scan": "s9", "reason": "unreadable"}],
        "warnings": ["one slice is missing"],
        "gallery": [
            GalleryItem(
                image_hu=patch,
                spacing_mm=(0.5, 1.0),
                kind=row.kind,
                caption={"label": row.label, "probability": row.probability, "diameter_mm": 7.25},
            )
            for row in chosen.itertuples()
        ],
        "limitations": ["Synthetic scans."],
    }
    return ReportContent(**(values | changes))
