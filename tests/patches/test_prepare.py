"""Preparation over scans: what is made once stays, what fails is listed, nothing is mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nodulenet.config.schema import Config
from nodulenet.errors import StoreError
from nodulenet.patches import prepare as room
from nodulenet.patches.prepare import open_store, prepare
from nodulenet.patches.store import PatchStore, content_hash, shard_path

CENTRE = (10.0, -20.0, 30.0)


@pytest.fixture
def luna(tmp_path: Path) -> dict[str, Any]:
    """Three scans with a voxel ramp, two findings each; the configuration's tree."""
    rows = []
    for number in range(3):
        folder = tmp_path / "luna" / f"subset{number}"
        folder.mkdir(parents=True)
        z, y, x = np.indices((20, 40, 40))
        image = sitk.GetImageFromArray((x + 10 * y + 20 * z - 900 + number).astype(np.int16))
        image.SetSpacing((0.8, 0.8, 1.5))
        image.SetOrigin([c - h for c, h in zip(CENTRE, (16, 16, 15), strict=True)])
        sitk.WriteImage(image, str(folder / f"1.{number}.mhd"))
        rows += [(f"1.{number}", *CENTRE, 1), (f"1.{number}", 11.3, -18.1, 31.7, 0)]
    columns = ["seriesuid", "coordX", "coordY", "coordZ", "class"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "luna/candidates_V2.csv", index=False)
    nodules = [(*row[:4], 6.0) for row in rows[::2]]
    pd.DataFrame(nodules, columns=[*columns[:4], "diameter_mm"]).to_csv(
        tmp_path / "luna/annotations.csv", index=False
    )
    return {
        "name": "t",
        "run": str(tmp_path / "run"),
        "label_meaning": "candidate",
        "source": {"kind": "luna16", "root": str(tmp_path / "luna")},
        "patch": {"size": [21, 23, 23], "spacing_mm": [0.7, 0.7, 1.1], "margin_voxels": 1},
        "models": ["squeezenodule_v2_3d"],
        "train": {"augment": {"shift_voxels": 1}},
    }


def expected_patch(tree: dict[str, Any], number: int, point: tuple[float, ...]) -> Any:
    """The stored patch by SimpleITK: 23 x 25 x 25 voxels centred on the point."""
    root = Path(tree["source"]["root"])
    image = sitk.ReadImage(str(root / f"subset{number}" / f"1.{number}.mhd"), sitk.sitkFloat32)
    spacing, size = (0.7, 0.7, 1.1), (25, 25, 23)
    grid = sitk.Image(*size, sitk.sitkFloat32)
    grid.SetSpacing(spacing)
    grid.SetOrigin([p - (n - 1) / 2 * s for p, n, s in zip(point, size, spacing, strict=True)])
    return sitk.GetArrayFromImage(
        sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, -1024.0)
    )


def test_stored_patches_are_those_of_simpleitk(luna: dict[str, Any]) -> None:
    store = prepare(Config.model_validate(luna)).store
    assert len(store) == 6
    for position in range(6):
        row = store.index.iloc[position]
        point = (row["x_lps_mm"], row["y_lps_mm"], row["z_lps_mm"])
        number = int(row["scan_id"].split(".")[1])
        found = store.patches([position])[0]
        assert np.abs(found - expected_patch(luna, number, point)).max() <= 0.55
        assert row["content_hash"] == content_hash(found)


def test_finished_scans_are_not_read_again(
    luna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate(luna)
    first = prepare(config)
    assert (first.made, first.reused) == (3, 0)

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a finished scan was opened")

    monkeypatch.setattr(room, "open_ct", never)
    again = prepare(config)
    assert (again.made, again.reused) == (0, 3)
    pd.testing.assert_frame_equal(first.store.index, again.store.index)


def test_a_run_that_was_killed_goes_on(
    luna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config.model_validate(luna)
    real, opened = room.open_ct, []

    def killed(path: Path) -> object:
        opened.append(path.stem)
        if len(opened) == 2:
            raise KeyboardInterrupt
        return real(path)

    monkeypatch.setattr(room, "open_ct", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(config)
    with pytest.raises(StoreError, match="preparation has not finished"):
        open_store(config)
    monkeypatch.setattr(room, "open_ct", lambda path: (opened.append(path.stem), real(path))[1])
    done = prepare(config)
    assert opened == ["1.0", "1.1", "1.1", "1.2"]
    assert (done.made, done.reused, len(done.store)) == (2, 1, 6)


def test_one_bad_scan_and_one_point_outside_do_not_end_the_others(luna: dict[str, Any]) -> None:
    root = Path(luna["source"]["root"])
    (root / "subset1" / "1.1.raw").unlink()
    with (root / "candidates_V2.csv").open("a") as file:
        file.write("1.2,500,0,0,0\n1.9,0,0,0,0\n")
    result = prepare(Config.model_validate(luna))
    assert set(result.store.index["scan_id"]) == {"1.0", "1.2"}
    what = {f["what"]: f["error"] for f in result.failures}
    assert set(what) == {
        "scan 1.1 (2 findings)",
        "scan 1.9 (1 findings)",
        "finding candidate-6",
    }
    assert "1.1" in what["scan 1.1 (2 findings)"]
    assert "outside" in what["finding candidate-6"]
    # Put right, the scan is read at the next call, and only that one.
    other = sitk.ReadImage(str(root / "subset0" / "1.0.mhd"))
    sitk.WriteImage(other, str(root / "subset1" / "1.1.mhd"))
    mended = prepare(Config.model_validate(luna))
    assert set(mended.store.index["scan_id"]) == {"1.0", "1.1", "1.2"}
    assert mended.reused == 2


def test_a_scan_that_was_replaced_is_read_again(luna: dict[str, Any]) -> None:
    before = prepare(Config.model_validate(luna)).store.patches([0])
    file = Path(luna["source"]["root"]) / "subset0" / "1.0.mhd"
    image = sitk.ReadImage(str(file)) + 5
    sitk.WriteImage(image, str(file))
    result = prepare(Config.model_validate(luna))
    assert result.made == 1
    np.testing.assert_allclose(
        result.store.patches([0]), before + 5, atol=1
    )  # halves round to even


def test_another_spec_is_another_store_and_windows_are_not(luna: dict[str, Any]) -> None:
    first = prepare(Config.model_validate(luna)).store.path
    luna["patch"]["windows"] = ["mediastinum"]
    assert prepare(Config.model_validate(luna)).store.path == first
    luna["patch"]["spacing_mm"] = [0.7, 0.7, 1.0]
    other = prepare(Config.model_validate(luna)).store.path
    assert other != first
    assert other.parent == first.parent


def test_no_patch_at_all_is_an_error(luna: dict[str, Any]) -> None:
    for file in Path(luna["source"]["root"]).glob("subset*/*.raw"):
        file.unlink()
    with pytest.raises(StoreError, match="not one patch could be made"):
        prepare(Config.model_validate(luna))


def test_damage_to_a_store_is_named(luna: dict[str, Any], tmp_path: Path) -> None:
    store = prepare(Config.model_validate(luna)).store
    shard = shard_path(store.path, "1.0")
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(StoreError, match=r"shard cannot be read.*prepare"):
        PatchStore(store.path).patches([0])
    np.save(shard, np.zeros((2, 3, 3, 3), dtype=np.int16))
    with pytest.raises(StoreError, match=r"expected int16 of \(23, 25, 25\)"):
        PatchStore(store.path).patches([0])
    head = store.path / "store.json"
    head.write_text(json.dumps(json.loads(head.read_text()) | {"format": 99}))
    with pytest.raises(StoreError, match="has format 99"):
        PatchStore(store.path)
    with pytest.raises(StoreError, match="is no patch store"):
        PatchStore(tmp_path)
