"""The parity report by hand-made outputs, the choice of an engine, the list of exported files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from nodulenet.errors import BundleError, UsageError
from nodulenet.inference.export.listing import (
    ExportedFile,
    ExportedModel,
    chosen_engine,
    exported_file,
    open_exported,
    read_listing,
    write_listing,
)
from nodulenet.inference.export.parity import (
    ParityReport,
    ParityRow,
    check_parity,
    choose_engine,
    feature_difference,
)


def two_classes(probability: np.ndarray) -> np.ndarray:
    return np.stack([1 - probability, probability], axis=-1).astype("float32")


def test_differences_and_auc_over_folds_and_seeds() -> None:
    rng = np.random.default_rng(0)
    before = [rng.uniform(0.1, 0.9, (2, n)) for n in (30, 21)]
    labels = rng.integers(0, 2, 51)
    after = [part.copy() for part in before]
    after[1][0, 5] += 0.05
    row = check_parity(
        [two_classes(p) for p in before],
        [two_classes(p) for p in after],
        engine="onnx",
        labels=labels,
    )
    assert row.rows == 2 * 51
    assert row.largest_difference == pytest.approx(0.05, abs=1e-6)
    p, q = before[1][0, 5], after[1][0, 5]
    assert row.largest_logit_difference == pytest.approx(
        np.log(q / (1 - q)) - np.log(p / (1 - p)), rel=1e-4
    )
    for found, values in ((row.auc_before, before), (row.auc_after, after)):
        # What the ensemble of a fold's seeds says of its own findings.
        pooled = np.concatenate([part.mean(axis=0) for part in values])
        assert found == pytest.approx(roc_auc_score(labels, pooled), abs=1e-12)
    assert not row.passed
    assert check_parity(
        [two_classes(p) for p in before],
        [two_classes(p) for p in after],
        engine="onnx",
        tolerance=0.051,
    ).passed


@pytest.mark.parametrize(("difference", "passed"), [(0.9e-4, True), (1.1e-4, False)])
def test_float32_has_a_tolerance_of_one_in_ten_thousand(difference: float, passed: bool) -> None:
    before = np.full((1, 4, 1), 0.5)
    row = check_parity([before], [before + difference], engine="onnx")
    assert row.passed is passed
    assert row.auc_before is None
    assert row.largest_logit_difference == pytest.approx(4 * difference, rel=1e-3)


def test_numbers_that_are_none_never_pass_and_can_be_written(tmp_path: Path) -> None:
    before = np.full((1, 4, 2), 0.5)
    after = before.copy()
    after[0, 2] = np.nan
    row = check_parity([before], [after], engine="onnx", labels=[0, 1, 0, 1], tolerance=9.0)
    assert row.largest_difference is None
    assert not row.passed
    report = ParityReport("4 patches", "here", (row,))
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert ParityReport.from_dict(json.loads(text)) == report
    assert json.loads(text)["rows"][0]["passed"] is False


def test_saturated_probabilities_have_no_logit() -> None:
    row = check_parity([np.zeros((1, 3, 2))], [np.full((1, 3, 2), 1e-6)], engine="onnx")
    assert row.largest_logit_difference is None


def test_outputs_of_another_shape_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(1, 3, 2\)"):
        check_parity([np.zeros((1, 3, 2))], [np.zeros((1, 3, 1))], engine="onnx")


def row(
    engine: str, speed: float | None, difference: float = 0.0, precision: str = "f32"
) -> ParityRow:
    return ParityRow(engine, precision, 1, difference, None, None, None, 1e-4, speed)


ALL = ("openvino", "onnx", "keras")


@pytest.mark.parametrize(
    ("rows", "available", "expected"),
    [
        # The fastest; those within a tenth of it by the order openvino, onnx, keras.
        ([row("keras", 100), row("onnx", 150), row("openvino", 120)], ALL, "onnx"),
        ([row("keras", 100), row("onnx", 150), row("openvino", 140)], ALL, "openvino"),
        ([row("keras", 200), row("onnx", 150), row("openvino", 120)], ALL, "keras"),
        # Not installed; not passed; only in bfloat16; never compared; never timed.
        ([row("keras", 100), row("onnx", 150), row("openvino", 120)], ("keras",), "keras"),
        ([row("keras", 100), row("onnx", 150, 2e-4), row("openvino", 90)], ALL, "openvino"),
        ([row("keras", 100), row("openvino", 300, 0.0, "bf16")], ALL, "keras"),
        ([row("keras", 100)], ALL, "keras"),
        ([row("keras", None), row("onnx", None)], ALL, "onnx"),
        ([row("onnx", 150)], ("onnx",), "onnx"),
        ([], ALL, "keras"),
    ],
)
def test_the_choice_of_an_engine(
    rows: list[ParityRow], available: tuple[str, ...], expected: str
) -> None:
    assert choose_engine(available, ParityReport("", "", tuple(rows))) == expected
    assert choose_engine(available, None) == "keras"


@pytest.fixture
def engines(tmp_path: Path) -> Path:
    """A folder that lists one file, of the model with the hash ``abc``."""
    file = tmp_path / "m" / "onnx" / "fold-0-seed-0.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"whatever")
    report = ParityReport("3 patches", "here", (row("keras", 1), row("onnx", 2, 0.5)))
    files = {"onnx": (exported_file(tmp_path, file, "abc"),)}
    write_listing(tmp_path, {"m": ExportedModel(files, report)})
    return tmp_path


def test_the_list_comes_back_and_knows_from_which_weights(engines: Path) -> None:
    model = read_listing(engines)["m"]
    assert model.formats(["abc"]) == ("onnx",)
    assert model.formats(["other"]) == model.formats(["abc", "abc"]) == ()
    assert chosen_engine(engines, "m", ["abc"]) == ("keras", ())  # it did not pass
    name, warnings = chosen_engine(engines, "m", ["abc"], engine="onnx")
    assert name == "onnx"
    assert "did not pass its parity check: it differs from keras by up to 0.5" in warnings[0]
    with pytest.raises(UsageError, match="exported from other weights"):
        chosen_engine(engines, "m", ["other"], engine="onnx")
    with pytest.raises(UsageError, match="was not exported"):
        chosen_engine(engines, "m", ["abc"], engine="openvino")
    with pytest.raises(UsageError, match="name one with --engine"):
        chosen_engine(engines, "m", ["abc"], precision="bf16")
    assert read_listing(engines / "nowhere") == {}


def test_a_changed_missing_or_outside_file_is_refused(engines: Path) -> None:
    model = read_listing(engines)["m"]
    file = engines / model.files["onnx"][0].file
    file.write_bytes(b"whatever else")
    with pytest.raises(BundleError, match="was changed"):
        open_exported(engines, model, "onnx")
    file.unlink()
    with pytest.raises(BundleError, match="is missing"):
        open_exported(engines, model, "onnx")
    for name in ("../a.onnx", "/a.onnx"):
        outside = ExportedModel({"onnx": (ExportedFile(name, {name: "x"}, "abc"),)}, model.parity)
        with pytest.raises(BundleError, match="outside"):
            open_exported(engines, outside, "onnx")
    unlisted = ExportedModel({"onnx": (ExportedFile("b.onnx", {}, "abc"),)}, model.parity)
    with pytest.raises(BundleError, match="no hash"):
        open_exported(engines, unlisted, "onnx")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 2, "models": {}}'])
def test_a_damaged_list_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "engines.json").write_text(text)
    with pytest.raises(BundleError, match="export again"):
        read_listing(tmp_path)


@pytest.mark.parametrize(
    ("features", "passed"), [(None, True), (1e-4, True), (2e-3, False), (1e9, False)]
)
def test_features_that_differ_do_not_pass(features: float | None, passed: bool) -> None:
    same = [two_classes(np.full((1, 3), 0.4))]
    row = check_parity(same, same, engine="onnx", largest_feature_difference=features)
    assert row.passed is passed
    report = ParityReport("3 patches", "a machine", (row,))
    again = ParityReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert again.rows == report.rows
    assert choose_engine(["onnx"], report) == ("onnx" if passed else "keras")


def test_features_differ_by_root_mean_squares() -> None:
    before = np.full((4, 6), 3.0, dtype=np.float32)
    after = before.copy()
    after[1, 2] += 0.3
    assert feature_difference(before, before) == 0
    assert feature_difference(before, after) == pytest.approx(0.1, rel=1e-5)
    after[0, 0] = np.nan
    assert feature_difference(before, after) == 1e9
    assert feature_difference(before, before[:, :5]) == 1e9
