"""``nodulenet augment``: the transforms as text, and the picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.image import imread
from typer.testing import CliRunner

from nodulenet.cli.main import app
from nodulenet.config.schema import Config
from nodulenet.patches.prepare import prepare
from nodulenet.training.preview import preview_figure


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 400, (30, 40, 40)).astype(np.int16)
    np.savez(tmp_path / "patches.npz", hu=hu)
    table = pd.DataFrame({"patient": np.arange(30), "label": np.arange(30) % 2})
    table.to_csv(tmp_path / "table.csv", index=False)
    return {
        "name": "small",
        "run": str(tmp_path / "run"),
        "label_meaning": "candidate",
        "source": {
            "kind": "patches",
            "archive": str(tmp_path / "patches.npz"),
            "array": "hu",
            "table": str(tmp_path / "table.csv"),
            "value_kind": "hu",
            "spacing_mm": [1.0, 1.0],
            "columns": {"patient_id": "patient"},
        },
        "patch": {"form": "2d", "size": [24, 24], "spacing_mm": 1, "margin_voxels": 7},
        "models": ["squeezenodule_v2"],
        "train": {"augment": {"rotations": "in_plane", "noise": 15, "hu_scale": 0.1}},
    }


def test_the_transforms_are_printed_and_the_picture_is_drawn(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    file, png = tmp_path / "config.yaml", tmp_path / "out" / "look.png"
    file.write_text(yaml.safe_dump(tree))
    shown = CliRunner().invoke(app, ["augment", str(file)])
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0] == "Compose(["
    assert lines[1].startswith("    RandAffinePosed('patch', size=(24, 24), poses=PoseRange(")
    assert "    RandScaleIntensityd('patch', factors=0.1, prob=1.0)," in lines
    assert lines[-1] == "])"
    early = CliRunner().invoke(app, ["augment", str(file), "--preview", str(png)])
    assert early.exit_code != 0
    assert not png.exists()
    prepare(Config.model_validate(tree))
    done = CliRunner().invoke(app, ["augment", str(file), "--preview", str(png), "--count", "3"])
    assert done.exit_code == 0, done.output
    assert imread(png).std() > 0.05


def test_the_picture_shows_what_the_model_sees(tree: dict[str, Any]) -> None:
    config = Config.model_validate(tree)
    store = prepare(config).store
    ids = store.index["finding_id"].astype(str).iloc[[5, 2]].tolist()
    figure = preview_figure(config, store, count=3, findings=ids)
    assert [ax.get_title() for ax in figure.axes] == [ids[0], "", "", "", ids[1], "", "", ""]
    images = [np.asarray(ax.get_images()[0].get_array()) for ax in figure.axes]
    for row, image in ((5, images[0]), (2, images[4])):
        middle = store.patches([row])[0, 7:-7, 7:-7]
        np.testing.assert_allclose(image, np.clip((middle + 1000) / 1400, 0, 1), atol=1e-6)
    assert not any(np.array_equal(images[0], images[i]) for i in (1, 2, 3))
    assert "rotations in_plane" in figure.get_suptitle()
    assert "noise 15" in figure.get_suptitle()
