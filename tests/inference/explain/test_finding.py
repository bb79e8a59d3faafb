"""A finding of the small run from the command line: map, picture and words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from nodulenet.cli.main import app
from nodulenet.ct import open_ct
from nodulenet.errors import UsageError
from nodulenet.evaluation.table import outer_rows, read_predictions
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.classify import classify
from nodulenet.inference.explain.finding import explain_finding
from nodulenet.inference.explain.grad_cam import grad_cam
from nodulenet.patches.store import find_store
from nodulenet.report.gallery import read_saliency, select_gallery
from nodulenet.training.run import Run


def some_finding(run: Run) -> tuple[Path, list[float]]:
    table = pd.read_csv(run.path / "predictions.csv", dtype={"scan_id": str})
    row = table[(table["kind"] == "network") & (table["label"] == 1)].iloc[0]
    path = next(run.config.source.root.glob(f"subset*/{row['scan_id']}.mhd"))  # type: ignore[union-attr]
    return path, row[["x_lps_mm", "y_lps_mm", "z_lps_mm"]].tolist()


@pytest.mark.parametrize("method", ["grad-cam", "occlusion"])
def test_the_files_of_a_finding(small_run: Run, method: str, tmp_path: Path) -> None:
    path, point = some_finding(small_run)
    given = ["--point", ",".join(map(str, point)), "--model", str(small_run.path)]
    more = ["--method", method, "--out", str(tmp_path), "--on-scan-grid"]
    done = CliRunner().invoke(app, ["explain", str(path), *given, *more])
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "explanation.json").read_text())
    expected = classify(path, [point], small_run.path).table.iloc[0]
    assert facts["probability"] == pytest.approx(expected["probability"], abs=1e-6)
    assert facts["label_meaning"] == "candidate"
    assert facts["method"] == method
    assert facts["use"] == "research use only"
    assert facts["models"] == len(Bundle(small_run.path).model().files)
    assert 0 <= facts["rank_correlation_with_random_weights"] <= 1
    if method == "grad-cam":
        assert (facts["layer"], facts["cells"]) == ("conv1_relu", [9, 9])
    for name in facts["files"]:
        assert (tmp_path / name).stat().st_size > 500
        assert str(tmp_path / name) in done.output
    volume, image = open_ct(path), nib.load(tmp_path / "map.nii.gz")
    middle = image.affine @ [*(np.array(image.shape) - 1) / 2, 1]
    np.testing.assert_allclose(middle[:3] * [-1, -1, 1], point, atol=1e-3)
    in_scan = nib.load(tmp_path / "map-on-scan-grid.nii.gz")
    assert in_scan.shape == volume.shape[::-1]
    strongest = facts["strongest"]
    assert np.abs(image.get_fdata()).max() == pytest.approx(abs(strongest["value"]), rel=1e-5)
    assert strongest["from_the_centre_mm"] <= 1.25 * 12 * 2**0.5


def test_options_that_do_not_belong_together(small_run: Run, tmp_path: Path) -> None:
    path, point = some_finding(small_run)
    given = ["explain", str(path), "--point", "1,2,3", "--model", str(small_run.path)]
    for more, message in (
        (["--box-mm", "5"], "belong to --method occlusion"),
        (["--method", "occlusion", "--layer", "conv1"], "belongs to --method grad-cam"),
    ):
        done = CliRunner().invoke(app, [*given, "--out", str(tmp_path), *more])
        assert message in str(done.exception)
    with pytest.raises(UsageError, match="no feature layer 'nowhere'; expected one of conv1"):
        explain_finding(open_ct(path), point, Bundle(small_run.path), layer="nowhere")


def test_the_gallery_of_a_run_shows_maps_of_the_models_that_held_out(
    small_run: Run, tmp_path: Path
) -> None:
    """A map is that of the one model of the finding's fold; on a copy, for the run is shared."""
    run = tmp_path / "run"
    shutil.copytree(small_run.path, run)
    done = CliRunner().invoke(app, ["explain", "--gallery", "--model", str(run)])
    assert done.exit_code == 0, done.output
    bundle, store = Bundle(run), find_store(small_run.config.store_path)
    key = bundle.model().key
    files = sorted((run / "saliency" / key).glob("*.npy"))
    predictions = read_predictions(run / "predictions.csv")
    outer = outer_rows(predictions[predictions["model"] == key]).set_index("finding_id")
    assert len(files) == len(select_gallery(predictions, key))
    finding = files[0].stem
    found = read_saliency(run, key, finding, bundle.spec.size)
    (row,) = np.flatnonzero(store.index["finding_id"] == finding)
    model = bundle.networks()[int(outer.loc[finding, "fold"])]
    alone = grad_cam([model], store.patches([row])[0], bundle.spec, bundle.values)
    np.testing.assert_allclose(found, alone.scaled, atol=1e-4)
    done = CliRunner().invoke(app, ["explain", "--gallery", "--model", str(run), "--layer", "x"])
    assert "goes with --model, --method and --use alone" in str(done.exception)
