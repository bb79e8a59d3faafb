"""LUNA16 with a pool: what is not stored is streamed when it is scored, and counted by FROC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nodulenet.config.schema import Config
from nodulenet.ct import open_ct
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundle_content import write_bundle
from nodulenet.inference.classify import classify
from nodulenet.patches.prepare import prepare
from nodulenet.report.run import report_on_run
from nodulenet.training import kfold
from nodulenet.training.audit import audit_run
from nodulenet.training.run import Run


def test_every_held_out_candidate_is_scored_though_few_are_stored(
    small_run: Run, small_tree: dict[str, Any], tmp_path: Path
) -> None:
    tree = small_tree | {
        "run": str(tmp_path / "run"),
        "source": small_tree["source"] | {"negatives_per_positive": 2, "stream_rest": True},
        "models": [{"name": "squeezenodule_v1", "normalization": "batch", "test_poses": 2}],
        "train": {"epochs": 1, "batch_size": 32, "seeds": 2, "negatives_per_positive": 1},
    }
    config = Config.model_validate(tree)
    prepared = prepare(config)
    done = kfold.train(config)
    assert not done.failures
    assert audit_run(done.run).patients_ok
    every = pd.read_csv(Path(tree["source"]["root"]) / "candidates_V2.csv")
    assert len(prepared.store) < 0.6 * len(every)
    rows = done.predictions[done.predictions["split"] == "outer"]
    for name in ("squeezenodule_v1", "squeezenodule_v1+poses2"):
        own = rows[rows["model"] == name]
        assert sorted(own["finding_id"]) == sorted(f"candidate-{i}" for i in range(len(every)))
        assert own["probability"].between(0, 1).all()
    # A streamed candidate is answered as the fold's models answer a new scan there.
    own = rows[rows["model"] == "squeezenodule_v1"].set_index("finding_id")
    stored = set(prepared.store.index["finding_id"])
    streamed = next(f for f in own.index if f not in stored)
    found = own.loc[streamed]
    write_bundle(done.run, done.predictions, done.values)
    scan = next(Path(tree["source"]["root"]).glob(f"subset*/{found['scan_id']}.mhd"))
    point = found[["x_lps_mm", "y_lps_mm", "z_lps_mm"]].to_numpy(dtype=float)
    answer = classify(open_ct(scan), point, done.run.path).table.iloc[0]
    low, high = answer["fold_low"], answer["fold_high"]
    calibration = Bundle(done.run.path).model().calibration
    expected = calibration.apply(found["probability"]) if calibration else found["probability"]
    assert np.isclose(expected, [low, high], atol=1e-4).any()
    metrics = report_on_run(done.run).metrics
    froc = metrics["models"]["squeezenodule_v1"]["froc"]
    assert froc["available"]
    assert froc["candidates"] == len(every)
    again = kfold.train(config)
    assert (again.made, again.reused) == (0, 4)
    pd.testing.assert_frame_equal(again.predictions, done.predictions)
