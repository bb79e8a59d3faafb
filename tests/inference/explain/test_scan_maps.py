"""Maps of a scan's findings for the sheet: occlusion of the very answers, in the right place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from nodulenet.cli.main import app
from nodulenet.ct import open_ct
from nodulenet.errors import UsageError
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.classify import classify
from nodulenet.inference.cutting import cut_patches
from nodulenet.inference.explain.occlusion import occlusion
from nodulenet.inference.explain.scan_maps import scan_maps
from nodulenet.training.run import Run

POINT = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]


@pytest.fixture(scope="module")
def asked(small_run: Run) -> tuple[Path, np.ndarray]:
    rows = pd.read_csv(small_run.path / "predictions.csv", dtype={"scan_id": str})
    rows = rows[(rows["split"] == "outer") & (rows["kind"] == "network")]
    uid = rows["scan_id"].iloc[0]
    scan = next(small_run.config.source.root.glob(f"subset*/{uid}.mhd"))  # type: ignore[union-attr]
    return scan, rows.loc[rows["scan_id"] == uid, POINT].head(2).to_numpy()


def test_each_finding_has_the_map_of_its_own_answer(
    asked: tuple[Path, np.ndarray], small_run: Run
) -> None:
    scan, points = asked
    volume, bundle = open_ct(scan), Bundle(small_run.path)
    answers = classify(volume, points, bundle)
    maps = scan_maps(answers, volume, bundle)
    assert list(maps) == list(answers.table["finding_id"])
    stored = cut_patches(volume, points, bundle.spec)
    for name, patch, point in zip(maps, stored, points, strict=True):
        expected = occlusion(bundle.predict, patch, bundle.spec, bundle.values)
        np.testing.assert_allclose(maps[name].values, expected.values, atol=1e-6)
        height, width = maps[name].values.shape
        centre = maps[name].affine_lps @ [(width - 1) / 2, (height - 1) / 2, 0, 1]
        np.testing.assert_allclose(centre[:3], point, atol=1e-6)


def test_the_sheet_shows_them(
    asked: tuple[Path, np.ndarray], small_run: Run, tmp_path: Path
) -> None:
    scan, points = asked

    def call(*more: str) -> Any:
        place = ",".join(map(str, points[0]))
        words = ["classify", str(scan), "--model", str(small_run.path), f"--point={place}"]
        return CliRunner().invoke(app, [*words, "--out", str(tmp_path), *more])

    done = call("--formats", "sheet", "--saliency")
    assert done.exit_code == 0, done.output
    assert "what the model took for" in (tmp_path / "finding-sheet.html").read_text()
    for more in (["--formats", "csv,json", "--saliency"], ["--saliency"]):
        refused = call(*more)
        assert isinstance(refused.exception, UsageError)
        assert "sheet" in str(refused.exception)
