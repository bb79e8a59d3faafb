"""The small modules that everything stands on: atomic files, named seeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nodulenet.atomic import atomic_path, write_json
from nodulenet.seeds import child_seed, generator


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_json(file, {"x": 1})

    def half_a_write() -> None:
        with atomic_path(file) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        half_a_write()
    assert json.loads(file.read_text()) == {"x": 1}
    assert [f.name for f in tmp_path.iterdir()] == ["a.json"]


def test_the_temporary_name_keeps_the_suffix_that_writers_go_by(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "deep" / "model.keras") as temporary:
        assert temporary.suffix == ".keras"
        temporary.write_text("x")
    assert (tmp_path / "deep" / "model.keras").read_text() == "x"


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_children_depend_on_their_names_alone() -> None:
    assert child_seed(1, "folds") == child_seed(1, "folds")
    seeds = [child_seed(0, "train", "a", f) for f in range(100)]
    seeds += [child_seed(0, "train", "b", f) for f in range(100)]
    seeds += [child_seed(1, "train", "a", f) for f in range(100)]
    assert len(set(seeds)) == 300
    first, second = generator(0, "a"), generator(0, "a")
    np.testing.assert_array_equal(first.random(5), second.random(5))
