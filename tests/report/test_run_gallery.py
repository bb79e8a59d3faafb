"""The gallery of a real run: patches of every form, and saliency where the run holds it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodulenet.config.patch_spec import PatchSpec
from nodulenet.errors import RunError
from nodulenet.evaluation.table import read_predictions
from nodulenet.patches.store import PatchStore
from nodulenet.report.gallery import saliency_path
from nodulenet.report.pictures import picture
from nodulenet.report.run_gallery import patch_item, run_gallery
from nodulenet.report.table import report_on_table

FACTS: dict[str, Any] = {"kind": "mistake", "caption": {"label": 1, "probability": 0.2}}


def test_saliency_of_the_run_is_laid_over_its_patch(small_run: Any, tmp_path: Path) -> None:
    predictions = read_predictions(small_run.path / "predictions.csv")
    model = small_run.config.models[0].key
    store = PatchStore(next((small_run.path / "store").iterdir()))
    plain = run_gallery(tmp_path, model, predictions, store)
    assert plain
    assert all(item.saliency is None for item in plain)
    finding = plain[0].caption["finding_id"]
    saliency = np.zeros((24, 24), np.float32)
    saliency[3, 5] = -4.0
    target = saliency_path(tmp_path, model, finding)
    target.parent.mkdir(parents=True)
    np.save(target, saliency)
    shown = run_gallery(tmp_path, model, predictions, store)[0]
    assert shown.saliency is not None
    assert shown.saliency[3, 5] == -1.0
    assert np.count_nonzero(shown.saliency) == 1
    (view,) = picture(shown, ("not a nodule", "nodule")).views
    assert view.overlay.startswith("data:image/png;base64,")
    assert "saliency" in view.alt
    np.save(target, saliency[1:])
    with pytest.raises(RunError, match=r"shape \(23, 24\); expected \(24, 24\)"):
        run_gallery(tmp_path, model, predictions, store)
    shutil.rmtree(tmp_path / "saliency")


def test_other_results_do_not_go_where_a_training_lies(small_run: Any, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("label,probability\n0,0.2\n1,0.9\n0,0.3\n1,0.4\n")
    before = (small_run.path / "metrics.json").read_bytes()
    with pytest.raises(RunError, match=r"holds a training \(units\)"):
        report_on_table(table, small_run.path)
    assert (small_run.path / "metrics.json").read_bytes() == before
    assert report_on_table(table, tmp_path / "out").path.is_file()


def test_orthogonal_planes_of_the_store_stand_as_those_of_a_cube() -> None:
    """The same anatomy as a 3D patch and as stored planes gives the same three pictures."""
    cube = np.random.default_rng(0).integers(-1000, 400, (5, 5, 5)).astype(np.int16)
    planes = np.stack([cube[2], cube[:, 2], cube[:, :, 2]])
    spacing = (1.0, 1.0, 2.0)
    as_cube = patch_item(
        cube, cube / 400, PatchSpec(form="3d", size=(5, 5, 5), spacing_mm=spacing), **FACTS
    )
    stored = PatchSpec(form="2.5d", size=(5, 5), spacing_mm=spacing)
    as_planes = patch_item(planes, planes / 400, stored, **FACTS)
    for first, second in zip(as_cube.planes, as_planes.planes, strict=True):
        np.testing.assert_array_equal(first.image_hu, second.image_hu)
        np.testing.assert_array_equal(first.saliency, second.saliency)
        assert (first.name, first.spacing_mm) == (second.name, second.spacing_mm)
    coronal = as_cube.planes[1]
    assert coronal.spacing_mm == (1.0, 2.0)
    np.testing.assert_array_equal(coronal.image_hu[0], cube[4, 2])  # the head is up


def test_neighbouring_slices_show_the_middle_one() -> None:
    patch = np.arange(3 * 16).reshape(3, 4, 4).astype(np.int16)
    spec = PatchSpec(form="2.5d", size=(3, 4, 4), spacing_mm=(1.0, 1.0, 1.0))
    item = patch_item(patch, None, spec, **FACTS)
    np.testing.assert_array_equal(item.image_hu, patch[1])
    assert item.planes == ()
