"""The recipes as users start them: killed midway, they go on; two calls do the work once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

SMALL = [
    "source.phantom.scans=10",
    "patch.form=2d",
    "patch.size=[24,24]",
    "patch.spacing_mm=1.25",
    "folds.subsets_per_fold=5",
    "folds.inner_fraction=0.34",
    "models=[{name: squeezenodule_v1, normalization: batch}, {name: squeezenet_1.1}]",
    "train.epochs=2",
    "evaluate.bootstraps=200",
]


def start(folder: Path, repository: Path) -> subprocess.Popen[str]:
    overrides = [*SMALL, f"run={folder / 'run'}", f"source.root={folder / 'phantom'}"]
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.luna16", "--config", "configs/demo.yaml", *overrides],
        cwd=repository,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.long
def test_the_luna16_recipe_killed_midway_completes_without_repeating(
    tmp_path: Path, repository: Path
) -> None:
    process = start(tmp_path, repository)
    units = tmp_path / "run" / "units"
    deadline = time.monotonic() + 300
    while not list(units.rglob("unit.json")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    finished = {f: f.stat().st_mtime_ns for f in units.rglob("unit.json")}
    shards = {f: f.stat().st_mtime_ns for f in (tmp_path / "run/store").rglob("*.npy")}
    assert 1 <= len(finished) < 4
    again = start(tmp_path, repository)
    stdout, stderr = again.communicate(timeout=300)
    assert again.returncode == 0, stderr
    assert f"{len(finished)} before" in stderr
    assert "0 scans read now, 10 before" in stderr
    for file, before in (finished | shards).items():
        assert file.stat().st_mtime_ns == before
    assert len(list(units.rglob("unit.json"))) == 4
    run = tmp_path / "run"
    for name in ("report.html", "metrics.json", "predictions.csv", "manifest.json"):
        assert (run / name).is_file()
    assert "squeezenodule_v1" in stdout
    assert "squeezenet_1.1" in stdout
    assert {"squeezenodule_v1", "squeezenet_1.1"} <= set(
        json.loads((run / "metrics.json").read_text())["models"]
    )
    outer = pd.read_csv(run / "predictions.csv").query("split == 'outer'")
    assert outer.groupby("model")["finding_id"].nunique().nunique() == 1
