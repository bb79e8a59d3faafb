"""The command line: immediate help, exit codes, results on stdout, one line for every error."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from nodulenet.cli.terminal import PlainProgress
from nodulenet.config.load import shipped_configs
from nodulenet.ct import extract_patch, open_ct
from nodulenet.models.registry import list_models
from nodulenet.training.run import Run

HEAVY = ("tensorflow", "keras", "torch", "monai", "pandas", "sklearn", "SimpleITK", "matplotlib")


def nodulenet(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", "nodulenet.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["info"], ["info", "--models"], ["config", "--list"]],
)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from nodulenet.cli.main import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit as end: assert end.code in (0, None), end.code\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_help_tells_the_verbs_and_the_exit_codes() -> None:
    done = nodulenet("--help")
    assert done.returncode == 0
    for word in ("phantom", "prepare", "train", "evaluate", "classify", "patch", "info", "config"):
        assert word in done.stdout
    assert "Exit codes: 0 done; 1 a defect" in " ".join(done.stdout.split()).replace("│", "")


def test_info_lists_versions_and_all_models() -> None:
    facts = json.loads(nodulenet("info", "--json").stdout)
    assert facts["versions"]["tensorflow"]
    models = nodulenet("info", "--models").stdout
    assert all(name in models for name in list_models())


@pytest.fixture
def phantom_scan(tmp_path: Path) -> Path:
    nodulenet("phantom", str(tmp_path / "tree"), "--scans", "1")
    return next((tmp_path / "tree").rglob("*.mhd"))


def test_a_scan_is_described_for_people_and_programs(phantom_scan: Path) -> None:
    volume = open_ct(phantom_scan)
    facts = json.loads(nodulenet("info", str(phantom_scan), "--json").stdout)["volume"]
    assert facts["shape_zyx"] == list(volume.shape)
    assert facts["spacing_xyz_mm"] == pytest.approx(volume.spacing_mm)
    assert facts["hu_range"] == [volume.array().min(), volume.array().max()]
    text = nodulenet("info", str(phantom_scan)).stdout
    for word in (volume.series_uid, "orientation", facts["orientation"], "mm (LPS)", "warnings"):
        assert word in text


def test_a_patch_is_cut_written_and_drawn(phantom_scan: Path, tmp_path: Path) -> None:
    volume = open_ct(phantom_scan)
    point = volume.points_of([value / 2 for value in volume.shape[::-1]])
    ras = ",".join(f"{value:.9g}" for value in point * (-1, -1, 1))
    out, png = tmp_path / "p.nii.gz", tmp_path / "p.png"
    places = ["--point", ras, "--space", "ras", "--out", str(out), "--png", str(png)]
    done = nodulenet("patch", str(phantom_scan), *places, "--size", "10,20,30", "--spacing", "0.9")
    assert done.stdout.split() == [str(out), str(png)]
    patch = open_ct(out)
    assert patch.shape == (10, 20, 30)
    expected = extract_patch(volume, point, (10, 20, 30), (0.9, 0.9, 0.9))
    assert np.abs(patch.array() - expected).max() <= 0.51
    np.testing.assert_allclose(patch.points_of([14.5, 9.5, 4.5]), point, atol=1e-3)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_shipped_configurations_are_shown_as_they_are() -> None:
    assert nodulenet("config", "--list").stdout.split() == list(shipped_configs())
    shown = nodulenet("config", "--show", "demo").stdout
    assert yaml.safe_load(shown)["name"] == "demo"
    assert json.loads(nodulenet("config", "--schema").stdout)["title"] == "Config"
    assert nodulenet("config").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["prepare", "no.yaml"], 2, "there is no such configuration file"),
        (["prepare", "demo", "train.epohcs=3"], 2, "did you mean 'epochs'"),
        (["prepare", "demo", "source.phantom=null", "source.root=gone"], 3, "no such folder"),
        (["train", "demo", "source.phantom=null", "source.root=gone"], 3, "no such folder"),
        (["evaluate", "gone"], 3, "there is no such run directory"),
        (["classify"], 2, "--model RUN_OR_BUNDLE is missing"),
        (["classify", "a.mhd", "--model", "gone"], 2, "give --point X,Y,Z or --points FILE"),
        (["classify", "a.mhd", "--model", "gone", "--point", "1,2"], 2, "expected three numbers"),
        (["classify", "a.mhd", "--model", "gone", "--point", "1,2,3"], 3, "there is no such run"),
        (["classify", "--patches", "p.npz", "--model", "gone"], 2, "--patches needs --table"),
        (["classify", "--table", "t", "--model", "gone", "--timings"], 2, "does not belong to"),
        (["prepare", "demo", "patch.windows=[lungg]"], 2, "patch.windows: "),
        (["prepare", "demo", "models=[squeezenet_9]"], 2, "models.0.name: Unknown model"),
        (["prepare", "demo", "models.0.label=../x"], 2, "models.0.label"),
        (["info", "gone.mhd"], 3, "gone.mhd: does not exist"),
        (["info", "a.mhd", "--models"], 2, "either SCAN or --models"),
        (["info", "--series", "1.2"], 2, "belong to SCAN"),
        (["patch", "a.mhd", "--point", "1,2,3"], 2, "give --out FILE, --png FILE or both"),
        (["patch", "a.mhd", "--point", "1;2;3", "--png", "a.png"], 2, "expected three numbers"),
        (["patch", "gone", "--point", "1,2,3", "--png", "a.png"], 3, "gone: does not exist"),
        (["patch", "a", "--point", "1,2,3", "--png", "a.png", "--size", "1.5"], 2, "whole numbers"),
        (["patch", "a", "--point", "1,2,3", "--png", "a.png", "--window", "lungg"], 2, "lungg"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_wrong_input_gets_one_line_and_its_exit_code(
    arguments: list[str], code: int, expected: str, tmp_path: Path
) -> None:
    done = nodulenet(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 or code == 2


def some_row(run: Run) -> pd.Series:
    predictions = pd.read_csv(run.path / "predictions.csv", dtype={"scan_id": str})
    return predictions[predictions["split"] == "outer"].iloc[0]


def test_classify_prints_csv_or_json_and_tells_what_the_probability_is(
    small_run: Run, tmp_path: Path
) -> None:
    row = some_row(small_run)
    scan = next(small_run.config.source.root.glob(f"subset*/{row['scan_id']}.mhd"))  # type: ignore[union-attr]
    point = f"{row['x_lps_mm']},{row['y_lps_mm']},{row['z_lps_mm']}"
    asked = ("classify", scan, "--point", point, "--model", small_run.path)
    done = nodulenet(*asked, "--timings")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(io.StringIO(done.stdout))
    assert table["probability"].between(0, 1).all()
    assert "probability that the position is an annotated nodule" in done.stderr
    told = done.stderr[done.stderr.index("timings") :]
    for step in ("start", "imports", "bundle", "scan", "patches", "engine", "network", "output"):
        assert re.search(rf"{step} [0-9.]+ s", told), step
    assert "s before the first voxels were decoded" in told
    ras = f"{-row['x_lps_mm']},{-row['y_lps_mm']},{row['z_lps_mm']}"
    points = tmp_path / "points.csv"
    uid = row["scan_id"]
    points.write_text(
        f"finding_id,scan_id,x,y,z\nmine,{uid},{ras}\nfar,{uid},9999,0,0\nother,1.2.3,{ras}\n"
    )
    done = nodulenet(
        "classify", scan, "--points", points, "--space", "ras", "--model", small_run.path, "--json"
    )
    assert done.returncode == 4, done.stderr
    content = json.loads(done.stdout)
    assert content["answers"][0]["finding_id"] == "mine"
    assert content["answers"][0]["probability"] == pytest.approx(table["probability"][0], abs=1e-6)
    assert len(content["answers"]) == 1  # the third point is of another scan
    assert content["failures"][0]["what"] == "finding far"
    assert content["use"] == "research use only"
    done = nodulenet("classify", scan, "--point", "9999,0,0", "--model", small_run.path)
    assert done.returncode == 3
    assert "outside the scan" in done.stderr
    done = nodulenet("classify", tmp_path, "--point", point, "--model", small_run.path)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_evaluate_prints_the_table_and_writes_the_report(small_run: Run) -> None:
    done = nodulenet("evaluate", small_run.path)
    assert done.returncode == 0, done.stderr
    assert "squeezenodule_v1" in done.stdout
    assert "size alone: not available" in " ".join(done.stdout.split())
    metrics = json.loads(nodulenet("evaluate", small_run.path, "--json").stdout)
    stored = json.loads((small_run.path / "metrics.json").read_text())
    assert metrics == stored


def test_plain_progress_says_how_far_and_how_long() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, pause_s=0)
    with progress.task("prepare", 3, "scans") as task:
        for name in "abc":
            task.advance(note=name)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "prepare: 3 scans"
    assert lines[1].startswith("prepare: 1/3 scans, ")
    assert lines[-1].endswith("0:00 left, c")


@pytest.mark.slow
def test_the_phantom_command_makes_the_luna16_layout(tmp_path: Path) -> None:
    done = nodulenet("phantom", tmp_path / "p", "--scans", "2", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "p").glob("subset*/*.mhd"))) == 2
    again = nodulenet("phantom", tmp_path / "p", "--scans", "3", "--seed", "5")
    assert again.returncode in (2, 3)
    assert "Traceback" not in again.stderr


def test_overrides_do_not_hide_the_configuration_of_others(tmp_path: Path) -> None:
    tree: dict[str, Any] = yaml.safe_load(nodulenet("config", "--show", "demo").stdout)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(tree | {"surprise": 1}))
    done = nodulenet("prepare", file)
    assert done.returncode == 2
    assert "surprise: unknown field" in done.stderr
