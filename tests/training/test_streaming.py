"""Streaming against the store: the same patches, made once, whatever happens in between."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from nodulenet.config.schema import Config
from nodulenet.errors import UsageError
from nodulenet.findings.table import POINT_COLUMNS
from nodulenet.patches.prepare import prepare
from nodulenet.patches.source import LoadedSource, load_source
from nodulenet.training import streaming
from nodulenet.training.streaming import Streamed, stream_scores

Patches = npt.NDArray[np.int16]


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    """Three scans of noise (one plain, one stored from head to feet, one oblique), 24 points each.

    Half of the points lie on one grid of the patch spacing, some outside reach of the border.
    """
    rng = np.random.default_rng(0)
    turned = Rotation.from_euler("zyx", [9, -6, 4], degrees=True).as_matrix()
    directions = [np.eye(3), np.diag([-1.0, 1.0, -1.0]), turned]
    rows: list[Any] = []
    for number, direction in enumerate(directions):
        folder = tmp_path / "luna" / f"subset{number}"
        folder.mkdir(parents=True)
        image = sitk.GetImageFromArray(rng.integers(-1100, 400, (44, 76, 76)).astype(np.int16))
        image.SetSpacing((0.8, 0.8, 1.5))
        image.SetDirection(direction.ravel().tolist())
        image.SetOrigin((-direction @ [30.0, 30.0, 32.25]).tolist())
        sitk.WriteImage(image, str(folder / f"1.{number}.mhd"))
        grid = rng.integers(-4, 5, (12, 3)) * 1.0 + 0.35
        free = rng.uniform(-10, 10, (12, 3))
        rows += [(f"1.{number}", *p, int(i == 0)) for i, p in enumerate(np.vstack([grid, free]))]
    columns = ["seriesuid", "coordX", "coordY", "coordZ", "class"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "luna/candidates_V2.csv", index=False)
    (tmp_path / "luna/annotations.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.0,0,0,0,6\n"
    )
    return {
        "name": "s",
        "run": str(tmp_path / "run"),
        "label_meaning": "candidate",
        "source": {"kind": "luna16", "root": str(tmp_path / "luna")},
        "patch": {"size": [21, 23, 22], "spacing_mm": 1.0, "margin_voxels": 2},
        "models": ["squeezenodule_v2_3d"],
        "train": {"augment": {"shift_voxels": 1, "rotations": "none"}},
    }


def voxels(patches: Patches) -> npt.NDArray[np.float64]:
    """As a score: every voxel of a patch is an output."""
    return patches.reshape(len(patches), -1).astype(float)


def stream(tree: dict[str, Any], score: Any = voxels, **more: Any) -> tuple[Streamed, LoadedSource]:
    config = Config.model_validate(tree)
    source = load_source(config)
    settings: dict[str, Any] = {"folder": Path(tree["run"]) / "streamed", "identity": "a"} | more
    return (
        stream_scores(
            source.findings.table,
            source.findings.scans,
            config.patch,
            source.values,
            score,
            **settings,
        ),
        source,
    )


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"interpolation": "bspline"},
        {"form": "2d", "size": [24, 22], "spacing_mm": [0.8, 0.8], "margin_voxels": 3},
        {"form": "2.5d", "size": [22, 24]},
        {"form": "2.5d", "size": [3, 22, 24], "spacing_mm": [0.8, 0.8, 1.5]},
        {"margin_voxels": 0, "outside_hu": -700.4},
    ],
    ids=lambda patch: "-".join(map(str, patch.values())) or "3d",
)
def test_a_streamed_patch_is_the_middle_of_the_stored_one(
    tree: dict[str, Any], patch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree["patch"] |= patch
    tree["models"] = [f"squeezenodule_v2{'' if 'form' in patch else '_3d'}"]
    tree["train"] = {"augment": {"shift_voxels": 0, "rotations": "none"}}
    store = prepare(Config.model_validate(tree), jobs=1).store
    stored = store.patches(np.arange(len(store)))
    margin = store.spec.margin_voxels
    for axis in range(stored.ndim - len(store.spec.size), stored.ndim):
        stored = stored.take(range(margin, stored.shape[axis] - margin), axis)
    monkeypatch.setattr(streaming, "_PIECE_PATCHES", 7)
    found, source = stream(tree)
    assert list(store.index["finding_id"]) == list(source.findings.table["finding_id"])
    np.testing.assert_array_equal(found.outputs, voxels(stored))
    assert (found.made, found.reused, found.failures) == (3, 0, [])


def test_what_was_scored_is_not_scored_again(tree: dict[str, Any]) -> None:
    calls: list[int] = []

    def score(patches: Patches) -> Any:
        calls.append(len(patches))
        return patches.mean(axis=(1, 2, 3))[:, None]

    class StopError(Exception):
        pass

    def killed(patches: Patches) -> Any:
        if len(calls) == 2:
            raise StopError
        return score(patches)

    before = threading.active_count()
    with pytest.raises(StopError):
        stream(tree, killed)
    assert threading.active_count() == before
    first, _ = stream(tree, score)
    assert (calls, first.made, first.reused) == ([24, 24, 24], 1, 2)
    again, _ = stream(tree, score)
    np.testing.assert_array_equal(first.outputs, again.outputs)
    assert (len(calls), again.made, again.reused) == (3, 0, 3)
    # Another model, another patch, another point, another scan.
    stream(tree, score, identity="b")
    assert len(calls) == 6
    tree["patch"]["spacing_mm"] = 1.1
    stream(tree, score, identity="b")
    assert len(calls) == 9
    table = Path(tree["source"]["root"]) / "candidates_V2.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], "1.0,0.5,0.25,0,1", *lines[2:]]) + "\n")
    stream(tree, score, identity="b")
    assert len(calls) == 10
    raw = Path(tree["source"]["root"]) / "subset2" / "1.2.raw"
    raw.write_bytes(raw.read_bytes()[::-1])
    changed, _ = stream(tree, score, identity="b")
    assert len(calls) == 11
    # A file that was cut short is made anew.
    file = next((Path(tree["run"]) / "streamed").glob("*1.1-*.npz"))
    file.write_bytes(file.read_bytes()[:100])
    mended, _ = stream(tree, score, identity="b")
    assert len(calls) == 12
    np.testing.assert_array_equal(changed.outputs, mended.outputs)


def test_what_cannot_be_scored_is_listed_and_nan(tree: dict[str, Any]) -> None:
    root = Path(tree["source"]["root"])
    (root / "subset1" / "1.1.raw").write_bytes(b"short")
    with (root / "candidates_V2.csv").open("a") as file:
        file.write("1.0,500,0,0,0\n1.9,0,0,0,0\n")
    expected = prepare(Config.model_validate(tree), jobs=1).failures
    for made in (2, 0):  # told again where the scores are reused
        found, source = stream(tree)
        scans = source.findings.table["scan_id"].to_numpy()
        points = source.findings.table[list(POINT_COLUMNS)].to_numpy()
        bad = np.isin(scans, ["1.1", "1.9"]) | (points[:, 0] == 500)
        np.testing.assert_array_equal(np.isnan(found.outputs).all(axis=1), bad)
        assert found.made == made
        assert [f["what"] for f in found.failures] == [
            "finding candidate-72",
            "scan 1.1 (24 findings)",
            "scan 1.9 (1 findings)",
        ]
    assert {f["what"] for f in expected} == {f["what"] for f in found.failures}
    by_name = {f["what"]: f["error"] for f in expected}
    for failure in found.failures[:2]:
        assert failure["error"] == by_name[failure["what"]]


def test_a_score_of_another_shape_is_refused(tree: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"returned shape \(24,\) for 24 patches"):
        stream(tree, lambda patches: patches.mean(axis=(1, 2, 3)))


def test_scans_are_read_while_others_are_scored_and_few_pieces_wait(
    tree: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[float] = []
    real = streaming._Cutter.__call__

    def counted(self: Any, volume: Any, point: Any) -> Any:
        cut.append(time.monotonic())
        return real(self, volume, point)

    monkeypatch.setattr(streaming._Cutter, "__call__", counted)
    monkeypatch.setattr(streaming, "_PIECE_PATCHES", 2)
    lead: list[int] = []

    def slow(patches: Patches) -> Any:
        time.sleep(0.02)
        lead.append(len(cut))
        return np.zeros((len(patches), 1))

    stream(tree, slow)
    ahead = np.array(lead) - 2 * np.arange(1, len(lead) + 1)
    assert ahead[: len(lead) // 2].min() > 0
    assert ahead.max() <= 2 * (streaming._PIECES_AHEAD + 2)
