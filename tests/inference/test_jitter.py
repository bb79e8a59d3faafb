"""Moved centres: nothing changes at 0 mm, more and more beyond, and by known distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from nodulenet.errors import UsageError
from nodulenet.inference import jitter
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.jitter import jitter_effect, jitter_lines
from nodulenet.patches.source import load_source
from nodulenet.patches.store import PatchStore
from nodulenet.training.run import ID_DTYPES, Run


def test_points_move_by_the_distance_and_answers_follow(
    small_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, source = Bundle(small_run.path), load_source(small_run.config)
    findings = pd.read_csv(small_run.path / "findings.csv", dtype=ID_DTYPES).head(120)
    moved: dict[float, list[float]] = {0.0: [], 1.0: [], 8.0: []}
    original = jitter._cut

    def watched(unit: Any, *rest: Any) -> Any:
        names, stored, places = original(unit, *rest)
        points = dict(zip(unit.finding_ids, unit.points_lps_mm, strict=True))
        directions = rest[-1]
        for name, place in zip(names, places, strict=True):
            radius = list(moved)[place]
            point = points[name] + radius * directions[name]
            moved[radius].append(float(np.linalg.norm(point - points[name])))
        return names, stored, places

    monkeypatch.setattr(jitter, "_cut", watched)
    effect = jitter_effect(
        bundle, "squeezenodule_v1", source, findings, [8, 1], seed=3, bootstraps=200
    )
    assert list(effect["moved_mm"]) == [0.0, 1.0, 8.0]
    for radius, distances in moved.items():
        np.testing.assert_allclose(distances, radius, atol=1e-9)
    store = PatchStore(next((small_run.path / "store").iterdir()))
    position = pd.Series(range(len(store)), index=store.index["finding_id"])
    raw = bundle.predict(store.patches(position[findings["finding_id"]].to_numpy())).mean(axis=0)
    assert effect["auc"][0] == pytest.approx(roc_auc_score(findings["label"], raw), abs=2e-3)
    assert effect["mean_change"][0] == 0
    assert 0 < effect["mean_change"][1] < effect["mean_change"][2]
    assert (effect["auc_low"] <= effect["auc"]).all()
    lines = jitter_lines(effect)
    assert list(lines) == [f"points moved by {r:g} mm" for r in moved]
    again = jitter_effect(
        bundle, "squeezenodule_v1", source, findings, [8, 1], seed=3, bootstraps=200
    )
    pd.testing.assert_frame_equal(again, effect)


def test_impossible_distances_are_refused() -> None:
    for radii in ([-1.0], [25.0], [float("nan")]):
        with pytest.raises(UsageError, match="expected distances from 0 to 20"):
            jitter.check_radii(radii)
