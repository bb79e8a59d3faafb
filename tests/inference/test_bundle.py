"""What a bundle says of itself is what the run measured; what is packed answers the same."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from nodulenet.config.schema import ColumnConfig, StackConfig
from nodulenet.ct import CTVolume
from nodulenet.errors import BundleError, ConfigError, FindingsError, UsageError
from nodulenet.evaluation.calibrators import fit_platt
from nodulenet.evaluation.conformal import fit_conformal
from nodulenet.evaluation.logistic import logit
from nodulenet.evaluation.operating import operating_point
from nodulenet.evaluation.prevalence import rebased
from nodulenet.inference.answering import Answering
from nodulenet.inference.bundle import Bundle
from nodulenet.inference.bundle_content import write_bundle
from nodulenet.inference.classify import classify
from nodulenet.inference.export.bundle import export_bundle
from nodulenet.inference.model_card import card_page, model_card
from nodulenet.inference.pack import pack_bundle
from nodulenet.patches.store import PatchStore
from nodulenet.patches.values import Values
from nodulenet.training import stacking
from nodulenet.training.input import posed_outputs
from nodulenet.training.run import ID_DTYPES, Run
from nodulenet.training.stacking import stack_predictions
from nodulenet.versions import file_hash
from tests.inference.test_classify import POINT, some_scan

NETWORK = "squeezenodule_v1"


@pytest.fixture(scope="module")
def outer(small_run: Run) -> pd.DataFrame:
    rows = pd.read_csv(small_run.path / "predictions.csv", dtype=ID_DTYPES)
    return rows[(rows["model"] == NETWORK) & (rows["split"] == "outer")]


@pytest.fixture(scope="module")
def packed(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_bundle(small_run.path, tmp_path_factory.mktemp("bundles") / "packed")


def rewritten(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(content | changes))


def test_thresholds_and_limits_are_those_of_the_out_of_fold_rows(
    small_run: Run, outer: pd.DataFrame
) -> None:
    model = Bundle(small_run.path).model()
    platt = fit_platt(outer["label"], outer["probability"])
    assert model.calibration == platt
    points = {p.name: p for p in model.operating_points}
    expected = operating_point(
        outer["label"], platt.apply(outer["probability"]), kind="sensitivity", target=0.95
    )
    assert points["sensitivity at least 95 %"].threshold == expected.threshold
    metrics = json.loads((small_run.path / "metrics.json").read_text())
    reported = {p["name"]: p for p in metrics["models"][NETWORK]["operating_points"]}
    for name, point in points.items():
        assert point.sensitivity == reported[name]["sensitivity"]["value"]
    assert model.conformal[0] == fit_conformal(outer["label"], outer["probability"], miss_rate=0.1)


def test_calls_sets_and_another_prevalence_follow_from_the_raw_answer(small_run: Run) -> None:
    path, rows = some_scan(small_run)
    points = rows[POINT].to_numpy()
    bundle = Bundle(small_run.path)
    plain = classify(path, points, bundle)
    table, point = plain.table, plain.operating_point
    assert point is not None
    above = table["probability"] >= point.threshold
    assert list(table["call"] == "nodule") == list(above)
    negative, positive = bundle.model().conformal[0].sets(table["probability_raw"])
    assert list(table["conformal"] == "indeterminate") == list(negative & positive)
    assert list(table["conformal"] == "nodule") == list(positive & ~negative)
    wished = Answering("sensitivity", 0.1, 0.01)
    other = classify(path, points, bundle, answering=wished)
    assert other.operating_point is not None
    assert other.operating_point.name == "sensitivity at least 95 %"
    expected = rebased(table["probability"], trained=bundle.prevalence, wanted=0.01)
    np.testing.assert_allclose(other.table["probability"], expected, atol=1e-9)
    # The threshold that is told is on the scale of the probability that is told.
    shown = other.table["probability"] >= other.operating_point.threshold
    assert list(other.table["call"] == "nodule") == list(shown)
    assert other.prevalence == 0.01
    assert any("re-based" in w for w in other.warnings)
    for wrong, message in (
        (Answering("nonsense"), "no operating point 'nonsense'; it has 'Youden'"),
        (Answering(miss_rate=0.001), "no conformal answer for a miss rate of 0.001; it has 0.1"),
        (Answering(prevalence=1.0), "expected a share between 0 and 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            classify(path, points, bundle, answering=wrong)


def test_a_scan_of_the_training_is_told(small_run: Run) -> None:
    path, rows = some_scan(small_run)
    points = rows[POINT].to_numpy()[:1]
    told = classify(path, points, small_run.path).warnings
    assert any(f"scan {rows['scan_id'].iloc[0]} was in the training" in text for text in told)
    hu = np.full((40, 60, 60), -800, dtype=np.int16)
    other = CTVolume.from_array(hu, (1.0, 1.0, 1.0), series_uid="1.2.826.0.1.3680043.8.498.1234567")
    assert not any(
        "in the training" in t for t in classify(other, [[30, 30, 20]], small_run.path).warnings
    )


def test_strange_patches_are_warned_of_and_ordinary_ones_seldom(
    small_run: Run, outer: pd.DataFrame
) -> None:
    bundle = Bundle(small_run.path)
    model = bundle.model()
    assert model.familiarity is not None
    assert 0 <= model.familiarity.false_alarm < 0.1
    store = PatchStore(next((small_run.path / "store").iterdir()))
    ordinary = bundle.ask(store.patches(np.arange(min(200, len(store))))).strangeness
    assert ordinary is not None
    assert (ordinary > model.familiarity.threshold).mean() < 0.1
    stripes = np.where(np.arange(store.spec.stored_shape[-1]) % 2, 3000, -1000)
    strange = np.broadcast_to(stripes, (3, *store.spec.stored_shape)).astype(np.int16)
    far = bundle.ask(strange).strangeness
    assert far is not None
    assert (far > 2 * np.median(ordinary)).all()


def test_a_packed_bundle_answers_the_same_and_names_nobody(
    small_run: Run, packed: Path, tmp_path: Path
) -> None:
    path, rows = some_scan(small_run)
    points = rows[POINT].to_numpy()[:5]
    expected = classify(path, points, small_run.path).table
    archive = pack_bundle(small_run.path, tmp_path / "packed.zip")
    again = pack_bundle(small_run.path, tmp_path / "again.zip")
    for bundle in (packed, archive):
        found = classify(path, points, bundle).table
        pd.testing.assert_frame_equal(found, expected)
    # Only the keys of the hashes could differ, and they were drawn when the run was trained.
    assert archive.read_bytes() == again.read_bytes()
    texts = [f.read_text() for f in packed.rglob("*") if f.suffix in (".json", ".md", ".html")]
    assert len(texts) == 4
    for name in (*rows["patient_id"].unique(), *rows["scan_id"].unique(), str(small_run.path)):
        assert not any(str(name) in text for text in texts)
    card = (packed / "model_card.md").read_text()
    assert "their mean was never tested itself" in card
    metrics = json.loads((small_run.path / "metrics.json").read_text())
    auc = metrics["models"][NETWORK]["pooled"]["auc"]["value"]
    assert f"| {NETWORK} | {auc:.3f} (" in card
    metadata = json.loads((packed / "configs" / "metadata.json").read_text())
    assert metadata["network_data_format"]["inputs"]["image"]["num_channels"] == 1


def test_the_card_lists_scanners_and_shows_markup_as_text(packed: Path) -> None:
    content = json.loads((packed / "bundle.json").read_text())
    content["envelope"]["words"] = {"kernel": {"B30f": 7, "<b>SHARP</b>": 2}}
    card = model_card(content, None, {})
    assert "Kernels: B30f (7), <b>SHARP</b> (2)." in card
    assert "not evaluated" in card
    assert "&lt;b&gt;SHARP&lt;/b&gt; (2)" in card_page(card, "a")


def test_what_was_changed_or_is_not_whole_is_refused(
    small_run: Run, packed: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="is there already"):
        pack_bundle(small_run.path, packed)
    with pytest.raises(ConfigError, match="has no network 'v9'"):
        pack_bundle(small_run.path, tmp_path / "x", models=["v9"])
    copy = tmp_path / "copy"
    shutil.copytree(packed, copy)
    (copy / "model_card.md").write_text("better")
    with pytest.raises(BundleError, match=r"model_card\.md\): was changed after"):
        Bundle(copy)
    shutil.copy(packed / "model_card.md", copy)
    model = next(copy.glob("models/*/00.keras"))
    model.write_bytes(model.read_bytes() + b" ")
    with pytest.raises(BundleError, match=r"00\.keras\): was changed after"):
        Bundle(copy).predict(np.zeros((1, *Bundle(copy).spec.stored_shape), np.int16))
    rewritten(copy, format=3)
    with pytest.raises(BundleError, match=r"has format 3, .* formats 1 and 2; update nodulenet"):
        Bundle(copy)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../evil.json", "{}")
    with pytest.raises(BundleError, match="leads out of the archive"):
        Bundle(tmp_path / "evil.zip")
    (tmp_path / "broken.zip").write_bytes(b"PK nothing")
    with pytest.raises(BundleError, match="no readable bundle"):
        Bundle(tmp_path / "broken.zip")


def test_engines_that_an_archive_does_not_list_are_refused(small_run: Run, tmp_path: Path) -> None:
    archive = pack_bundle(small_run.path, tmp_path / "b.zip", models=[NETWORK])
    Bundle(archive)
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("engines/engines.json", "{}")
    with pytest.raises(BundleError, match="does not list"):
        Bundle(archive)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "b.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("bundle.json", "x" * 4000)
    content = bytearray(archive.read_bytes())
    content[len("bundle.json") + 32] ^= 0xFF
    archive.write_bytes(bytes(content))
    with pytest.raises(BundleError):
        Bundle(archive)
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr(zipfile.ZipInfo("."), "x")
    with pytest.raises(BundleError):
        Bundle(archive)


def test_a_bundle_that_was_packed_with_engines_takes_no_others(
    packed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    shutil.copytree(packed, folder)
    (folder / "engines").mkdir()
    (folder / "engines" / "engines.json").write_text("{}")
    content = json.loads((folder / "bundle.json").read_text())
    listed = {"engines/engines.json": file_hash(folder / "engines" / "engines.json")}
    rewritten(folder, files=content["files"] | listed)
    with pytest.raises(UsageError, match="was packed with its engines"):
        export_bundle(Bundle(folder), ["onnx"])


def test_a_bundle_of_the_first_format_still_answers(small_run: Run, tmp_path: Path) -> None:
    """Format 1 had neither thresholds nor limits, envelope, poses or stacks."""
    content = json.loads((small_run.path / "bundle.json").read_text())
    old = {k: v for k, v in content.items() if k not in ("derived", "envelope", "class_names")}
    names = ("registry_name", "files", "folds", "hashes", "calibration", "init_from")
    old["models"] = {key: {n: entry[n] for n in names} for key, entry in content["models"].items()}
    shutil.copytree(small_run.path / "units", tmp_path / "units")
    (tmp_path / "bundle.json").write_text(json.dumps(old | {"format": 1}))
    path, rows = some_scan(small_run)
    points = rows[POINT].to_numpy()[:3]
    found = classify(path, points, tmp_path)
    expected = classify(path, points, small_run.path).table
    np.testing.assert_allclose(found.table["probability"], expected["probability"], atol=1e-6)
    assert "call" not in found.table.columns
    with pytest.raises(BundleError, match="has format 1, from an earlier version"):
        pack_bundle(tmp_path, tmp_path / "packed")


def test_poses_and_stacks_answer_like_the_run_predicted(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fold that held a scan out gives the stack's own prediction again."""
    predictions = pd.read_csv(small_run.path / "predictions.csv", dtype=ID_DTYPES)
    networks = predictions[predictions["kind"] == "network"]
    stack = StackConfig(
        model=f"{NETWORK}+poses4",
        columns=[ColumnConfig(column="z_lps_mm")],
        label="with_place",
    )
    path, rows = some_scan(small_run)
    store = PatchStore(next((small_run.path / "store").iterdir()))
    position = pd.Series(range(len(store)), index=store.index["finding_id"])
    stored = store.patches(position[rows["finding_id"]].to_numpy())
    # The small run has one inner patient and few positives, too few for an honest stack.
    monkeypatch.setattr(stacking, "LEAST_A_TERM", 1)
    posed = networks.assign(model=stack.model, patient_id=networks["finding_id"])
    stacked = stack_predictions([stack], posed, small_run.findings())
    shutil.copytree(small_run.path / "units", tmp_path / "units")
    for name in ("folds.csv", "findings.csv", "manifest.json"):
        shutil.copy(small_run.path / name, tmp_path)
    model = small_run.config.models[0].model_copy(update={"test_poses": 4})
    config = small_run.config.model_copy(
        update={"models": [model], "stacks": [stack], "store": small_run.config.store_path}
    )
    run = Run(tmp_path, config)
    write_bundle(run, pd.concat([predictions, posed, stacked], ignore_index=True), Values())
    bundle = Bundle(tmp_path)
    assert list(bundle.models) == [NETWORK, stack.model, "with_place"]
    by_fold = bundle.predict(stored, stack.model)
    for fold, file in enumerate(bundle.model().files):
        network = keras.models.load_model(tmp_path / file, compile=False)
        expected = posed_outputs(network, stored, bundle.spec, bundle.values, poses=4)[:, 1]
        np.testing.assert_allclose(by_fold[fold], expected, atol=1e-5)
    # Of the pose as it is, the stack gives what the run's stack predicted.
    fold = int(rows["fold"].iloc[0])
    own = stacked[(stacked["split"] == "outer") & stacked["finding_id"].isin(rows["finding_id"])]
    own = own.set_index("finding_id").loc[rows["finding_id"]]
    fitted = bundle.model("with_place").stack
    assert fitted is not None
    once = fitted.folds[fold].apply(logit(rows["probability"]), rows[["z_lps_mm"]])
    np.testing.assert_allclose(once, own["probability"], atol=1e-6)
    answers = classify(path, rows[POINT].to_numpy(), bundle, model="with_place")
    by_fold = bundle.predict(stored, "with_place", findings=rows.reset_index(drop=True))
    np.testing.assert_allclose(answers.table["probability_raw"], by_fold.mean(axis=0), atol=1e-3)
    with pytest.raises(FindingsError, match="needs z_lps_mm of every finding"):
        bundle.predict(stored, "with_place")


@pytest.mark.slow
def test_a_refit_learns_from_everybody_and_is_said_to_be_untested(
    small_run: Run, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run.path, run)
    packed = pack_bundle(run, tmp_path / "one", refitted=True)
    place = run / "refit" / NETWORK / "seed-0"
    findings = pd.read_csv(run / "findings.csv")
    started = json.loads((place / "started.json").read_text())
    assert started["patches_an_epoch"] == len(findings)
    model = (place / "model.keras").stat().st_mtime_ns
    pack_bundle(run, tmp_path / "again.zip", refitted=True)
    assert (place / "model.keras").stat().st_mtime_ns == model
    path, rows = some_scan(small_run)
    points = rows[POINT].to_numpy()[:4]
    table = classify(path, points, packed).table
    assert table[["fold_low", "fold_high"]].isna().all(axis=None)
    # Another model, calibrated like the fold models, whose predictions are all there is.
    bundle, before = Bundle(packed), Bundle(small_run.path)
    assert bundle.model().calibration == before.model().calibration
    assert bundle.model().familiarity is None
    assert not np.allclose(
        table["probability_raw"], classify(path, points, before).table["probability_raw"]
    )
    card = (packed / "model_card.md").read_text()
    assert "**This very model was never tested**" in card


def test_a_training_on_phantoms_is_said_wherever_it_answers(small_run: Run, tmp_path: Path) -> None:
    """Nobody takes an answer of the demo for one about a patient."""
    from nodulenet.phantom.for_config import phantom_nodule

    scan, point_lps_mm = phantom_nodule(small_run.config)
    answers = classify(scan, [point_lps_mm], small_run.path)
    assert "small was trained on synthetic scans: its answers say nothing about patients" in (
        answers.warnings
    )
    packed = pack_bundle(small_run.path, tmp_path / "small")
    card = (packed / "model_card.md").read_text(encoding="utf-8")
    assert "Trained on synthetic scans" in card
    assert "luna16" not in card.split("---")[1]
