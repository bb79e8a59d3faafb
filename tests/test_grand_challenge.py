"""The contract of LUNA25's algorithm container, on a generated case with the challenge's shapes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nodulenet.inference.classify import classify
from nodulenet.training.run import ID_DTYPES, Run

FILE = "lung-nodule-malginancy-likelihoods.json"
POINT = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]


@pytest.fixture
def case(small_run: Run, tmp_path: Path) -> tuple[Path, pd.DataFrame, Path]:
    """``/input``, the points in it, and a model folder with a bundle that speaks of ratings."""
    rows = pd.read_csv(small_run.path / "predictions.csv", dtype=ID_DTYPES)
    rows = rows[(rows["split"] == "outer") & (rows["kind"] == "network")]
    uid = rows["scan_id"].iloc[0]
    points = rows[rows["scan_id"] == uid].head(4).reset_index(drop=True)
    root = tmp_path / "input"
    (root / "images" / "chest-ct").mkdir(parents=True)
    scan = next(small_run.config.source.root.glob(f"subset*/{uid}.mhd"))  # type: ignore[union-attr]
    sitk.WriteImage(sitk.ReadImage(str(scan)), str(root / "images" / "chest-ct" / f"{uid}.mha"))
    listed: list[dict[str, Any]] = [
        {"name": f"n{i}", "point": [float(v) for v in row]}
        for i, row in enumerate(points[POINT].to_numpy())
    ]
    listed.insert(1, {"name": "far", "point": [9999.0, 0.0, 0.0]})
    locations = {
        "name": "Points of interest",
        "type": "Multiple points",
        "points": listed,
        "version": {"major": 1, "minor": 0},
    }
    (root / "nodule-locations.json").write_text(json.dumps(locations))
    (root / "clinical-information-lung-ct.json").write_text('{"Age": 61, "Gender": "Male"}')
    model = tmp_path / "model"
    bundle = model / "bundle"
    shutil.copytree(small_run.path / "units", bundle / "units")
    content = json.loads((small_run.path / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps(content | {"label_meaning": "reader_rating"}))
    return root, points, model


def contained(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nodulenet.grand_challenge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_listed_point_is_handed_in_with_its_probability(
    case: tuple[Path, pd.DataFrame, Path], small_run: Run, tmp_path: Path
) -> None:
    root, points, model = case
    out = tmp_path / "output"
    for file in root.rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    done = contained("--input", root, "--output", out, "--model", model)
    assert done.returncode == 0, done.stderr
    content = json.loads((out / FILE).read_text())
    assert [f.name for f in out.iterdir()] == [FILE]
    assert content["type"] == "Multiple points"
    assert content["version"] == {"major": 1, "minor": 0}
    assert [p["name"] for p in content["points"]] == ["n0", "far", "n1", "n2", "n3"]
    found = [p["probability"] for p in content["points"] if p["name"] != "far"]
    expected = classify(
        next(root.glob("images/chest-ct/*.mha")), points[POINT].to_numpy(), model / "bundle"
    ).table["probability"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    training = json.loads((small_run.path / "bundle.json").read_text())["training"]
    share = training["positives"] / training["findings"]
    assert content["points"][1]["probability"] == pytest.approx(share)
    assert "finding far" in done.stderr
    assert "outside the scan" in done.stderr


def test_what_cannot_be_a_case_is_one_line(
    case: tuple[Path, pd.DataFrame, Path], small_run: Run, tmp_path: Path
) -> None:
    root, _, model = case
    wrong = {
        "expected one: what `nodulenet bundle": (root, tmp_path / "nothing"),
        "the challenge asks for malignancy": (root, small_run.path),
        "nodule-locations.json": (tmp_path / "nothing", model),
    }
    for message, (given, bundle) in wrong.items():
        done = contained("--input", given, "--output", tmp_path / "o", "--model", bundle)
        assert done.returncode == 3
        assert done.stderr.count("error:") == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
