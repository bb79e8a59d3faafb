"""``nodulenet export`` on the small run: files, parity on its own predictions, exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from nodulenet.cli import export
from nodulenet.errors import BundleError, UsageError
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.classify import classify
from nodulenet.inference.engines import Engine
from nodulenet.inference.export.listing import (
    chosen_engine,
    open_exported,
    read_listing,
)
from nodulenet.inference.pack import pack_bundle
from nodulenet.patches.store import PatchStore
from nodulenet.training.model_inputs import model_inputs
from nodulenet.training.run import Run
from nodulenet.versions import file_hash

app = typer.Typer()
app.command()(export.export)

absent = [name for name in ("onnx", "tf2onnx", "onnxruntime", "openvino") if not find_spec(name)]
pytestmark = pytest.mark.skipif(
    bool(absent), reason=f"needs {', '.join(absent)}: pip install 'nodulenet[export]'"
)


@pytest.fixture
def bundle(small_run: Run, tmp_path: Path) -> Path:
    """A copy of the run, its store included, that may be changed."""
    return Path(shutil.copytree(small_run.path, tmp_path / "run"))


def test_parity_on_the_predictions_of_the_run(bundle: Path) -> None:
    identity = file_hash(bundle / "bundle.json")
    done = CliRunner().invoke(app, [str(bundle), "--format", "onnx"])
    assert done.exit_code == 0, done.output
    # The second export leaves the first format and compares it again.
    done = CliRunner().invoke(app, [str(bundle), "--format", "openvino", "--json"])
    assert done.exit_code == 0, done.output
    assert file_hash(bundle / "bundle.json") == identity
    opened = Bundle(bundle)
    model = opened.model()
    exported = read_listing(bundle / "engines")[model.key]
    assert exported.formats(model.hashes) == ("onnx", "openvino")
    assert json.loads(done.stdout)[model.key] == exported.parity.to_dict()
    predictions = pd.read_csv(bundle / "predictions.csv")
    rows = predictions[(predictions["model"] == model.key) & (predictions["split"] == "outer")]
    auc = roc_auc_score(rows["label"], rows["probability"])
    assert exported.parity.patches == f"{len(rows)} out-of-fold patches of the run"
    for name in ("keras", "onnx", "openvino"):
        row = exported.parity.row(name)
        assert row is not None
        assert row.passed
        assert row.rows == len(rows)
        assert row.auc_before == pytest.approx(auc, abs=1e-3)
        assert row.auc_after == pytest.approx(auc, abs=1e-3)
        assert row.patches_per_s is not None
        assert row.patches_per_s > 0
    store = PatchStore(next((bundle / "store").iterdir()))
    stored = store.patches(np.arange(8))
    for name in ("onnx", "openvino"):
        assert chosen_engine(bundle / "engines", model.key, model.hashes, engine=name) == (name, ())
        engines: list[Engine] = open_exported(bundle / "engines", exported, name, threads=1)
        found = [e.predict(model_inputs(stored, opened.spec, opened.values)) for e in engines]
        np.testing.assert_allclose(
            np.stack(found)[:, :, 1], opened.predict(stored, model.key), atol=1e-5
        )
    assert chosen_engine(bundle / "engines", model.key, model.hashes)[0] in ("onnx", "openvino")


def test_without_patches_of_the_run_generated_ones_are_compared(
    bundle: Path, tmp_path: Path
) -> None:
    shutil.rmtree(bundle / "store")
    done = CliRunner().invoke(
        app, [str(bundle), "--format", "openvino", "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    parity = next(iter(read_listing(tmp_path / "out").values())).parity
    assert parity.patches == "64 generated patches"
    assert parity.rows[0].auc_before is None
    assert not (bundle / "engines").exists()


def test_a_format_that_differs_is_said_and_never_taken(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodulenet.inference.export.parity.TOLERANCES", {"f32": 0.0, "bf16": 0.0})
    done = CliRunner().invoke(app, [str(bundle), "--format", "openvino"])
    assert done.exit_code == 4, done.output
    assert "FAILED at 0" in done.stdout
    assert "classify takes keras" in done.stderr


def test_a_format_must_be_named(bundle: Path) -> None:
    done = CliRunner().invoke(app, [str(bundle)])
    assert isinstance(done.exception, UsageError)


def test_an_archive_stays_as_it_is(small_run: Run, tmp_path: Path) -> None:
    packed = pack_bundle(small_run.path, tmp_path / "bundle.zip")
    done = CliRunner().invoke(app, [str(packed), "--format", "openvino"])
    assert isinstance(done.exception, UsageError)
    assert "--out DIR" in str(done.exception)
    done = CliRunner().invoke(
        app,
        [str(packed), "--format", "openvino", "--out", str(tmp_path), "--run", str(small_run.path)],
    )
    assert done.exit_code == 0, done.output
    parity = next(iter(read_listing(tmp_path).values())).parity
    assert parity.patches.endswith("out-of-fold patches of the run")


_ASK = """
import json, sys
import numpy as np
import nodulenet
from nodulenet.inference.bundle import Bundle
scan, points, path = json.loads(sys.argv[1])
answers = nodulenet.classify(scan, np.array(points), Bundle(path))
heavy = ("tensorflow", "keras", "torch", "monai", "sklearn", "matplotlib", "openvino_telemetry")
heavy += ("pydicom", "nibabel")  # for a scan in MetaImage
print(json.dumps({
    "engine": answers.bundle["engine"],
    "probability": list(answers.table["probability"]),
    "warnings": list(answers.table["warnings"]),
    "heavy": [name for name in heavy if name in sys.modules],
}))
"""


@pytest.mark.slow
def test_a_packed_export_answers_without_any_framework(
    bundle: Path, small_run: Run, tmp_path: Path
) -> None:
    """The same answers, strangeness included, and neither TensorFlow nor torch is loaded."""
    rows = pd.read_csv(small_run.path / "predictions.csv", dtype={"scan_id": str})
    rows = rows[(rows["split"] == "outer") & (rows["kind"] == "network")]
    uid = rows["scan_id"].iloc[0]
    scan = next(small_run.config.source.root.glob(f"subset*/{uid}.mhd"))  # type: ignore[union-attr]
    points = rows[rows["scan_id"] == uid][["x_lps_mm", "y_lps_mm", "z_lps_mm"]].head(5)
    before = classify(scan, points.to_numpy(), Bundle(bundle, engine="keras"))
    done = CliRunner().invoke(app, [str(bundle), "--format", "openvino"])
    assert done.exit_code == 0, done.output
    packed = pack_bundle(bundle, tmp_path / "packed")
    asked = json.dumps([str(scan), points.to_numpy().tolist(), str(packed)])
    told = subprocess.run(
        [sys.executable, "-c", _ASK, asked], capture_output=True, text=True, check=True
    )
    found = json.loads(told.stdout)
    assert found["engine"] == "openvino"
    assert found["heavy"] == []
    np.testing.assert_allclose(found["probability"], before.table["probability"], atol=1e-4)
    assert found["warnings"] == list(before.table["warnings"])
    listing = packed / "engines" / "engines.json"
    listing.write_text(listing.read_text() + " ")
    with pytest.raises(BundleError, match="was changed after"):
        Bundle(packed)
