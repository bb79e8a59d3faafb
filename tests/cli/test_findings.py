"""``nodulenet findings``: a summary on stdout, a table, and one line for what is wrong."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from nodulenet.cli.findings import app
from nodulenet.errors import FindingsError, NoduleNetError, UsageError

RUNNER = CliRunner()
WRITER = runpy.run_path(str(Path(__file__).parents[1] / "findings" / "lidc_writer.py"))


def run(*arguments: object, code: int = 0) -> str:
    done = RUNNER.invoke(app, [str(a) for a in arguments])
    if isinstance(done.exception, NoduleNetError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def test_slicer_points_become_a_table(tmp_path: Path) -> None:
    point = {"label": "F", "position": [1.0, 2.0, 3.0]}
    markup = {"type": "Fiducial", "coordinateSystem": "RAS", "controlPoints": [point]}
    file = tmp_path / "F.mrk.json"
    file.write_text(json.dumps({"markups": [markup]}))
    for verb in ("slicer", "points"):
        out = tmp_path / f"{verb}.csv"
        assert "findings  1" in run(verb, file, "--out", out)
        row = pd.read_csv(out).iloc[0]
        assert list(row[["x_lps_mm", "y_lps_mm", "z_lps_mm"]]) == [-1, -2, 3]
    with pytest.raises(UsageError, match="is a file of kind slicer, expected a label mask"):
        run("mask", file)


def test_a_csv_in_ras_and_luna16_without_scans(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("x,y,z,label\n1,2,3,1\n4,5,6,0\n")
    text = run("points", file, "--space", "ras", "--out", tmp_path / "t.csv")
    assert "labels    0: 1, 1: 1" in text
    assert pd.read_csv(tmp_path / "t.csv")["x_lps_mm"].tolist() == [-1, -4]
    (tmp_path / "annotations.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.1,10,20,30,8\n1.1,-5,0,5,3\n"
    )
    (tmp_path / "subsets.csv").write_text("seriesuid,subset\n1.1,3\n1.2,7\n")
    (tmp_path / "seriesuids.csv").write_text("1.1\n1.2\n")
    text = run("luna16", tmp_path)
    assert "scans     1 of 2" in text
    assert "8 to < 20 mm     1: 1" in text


def test_lidc_with_a_geometry_table(tmp_path: Path) -> None:
    folder = tmp_path / "xml"
    folder.mkdir()
    box = WRITER["box_nodule"]
    readings = [
        "".join([box("1", 5, 10, 10, (-90, -87.5))]),
        "".join([box("2", 4, 10, 10, (-90, -87.5))]),
    ]
    (folder / "one.xml").write_text(WRITER["message"](readings))
    geometry = WRITER["write_geometry"](tmp_path / "scans.csv", {"scan_id": WRITER["SERIES"]})
    out = tmp_path / "nodules.csv"
    text = run("lidc", "--xml", folder, "--scans", geometry, "--out", out)
    assert "findings  1" in text
    row = pd.read_csv(out).iloc[0]
    assert (row["malignancy_median"], row["label"], row["readers"]) == (4.5, 1, 2)
    run("lidc", "--xml", folder, "--scans", geometry, "--out", out, "--positive", "4.6,5")
    assert pd.read_csv(out)["label"].isna().all()
    with pytest.raises(FindingsError):
        run("lidc", "--xml", tmp_path / "no", "--scans", tmp_path / "scans.csv")
    with pytest.raises(UsageError, match="--negative '1': expected two numbers"):
        run("lidc", "--xml", tmp_path, "--negative", "1")


@pytest.mark.data
def test_lidc_on_the_real_xml(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    root = shared_data("lidc_xml")
    out = tmp_path / "nodules.csv"
    text = run("lidc", "--xml", root / "xml", "--scans", root / "scans.csv", "--out", out)
    assert "findings  266" in text
    assert "of 120" in text
    found, expected = pd.read_csv(out), pd.read_csv(root / "expected_nodules_pylidc.csv")
    assert found.groupby("scan_id").size().equals(expected.groupby("scan_id").size())
    high = found["malignancy_median"] >= 4
    assert (found["label"][high] == 1).all()
    assert found["label"][(found["malignancy_median"] > 2) & ~high].isna().all()
