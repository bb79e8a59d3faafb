"""Points outside: the message tries the other spaces and orders, and says which would fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodulenet.ct import CTVolume
from nodulenet.ct.outside import explain_outside, require_some_inside
from nodulenet.errors import PointOutsideScanError
from nodulenet.findings.point_files import read_points_file

# A chest in which no number fits two readings: x 100..150, y 200..260, z -500..-400 mm.
LOW, HIGH = np.array([101.0, 201.0, -499.0]), np.array([149.0, 259.0, -401.0])


@pytest.fixture
def chest() -> CTVolume:
    hu = np.full((20, 30, 25), -900, np.int16)
    return CTVolume.from_array(hu, (2.0, 2.0, 5.0), (101.0, 201.0, -497.5), series_uid="1.2.3")


def places(count: int) -> np.ndarray:
    return np.random.default_rng(count).uniform(LOW, HIGH, (count, 3))


@pytest.mark.parametrize("count", [1, 12])
@pytest.mark.parametrize(
    ("declared", "meant", "reverse", "message"),
    [
        ("lps", "ras", False, "with the signs of x and y turned {lie} inside, so it is probably "
         "RAS: declare the space as ras, or negate x and y"),
        ("ras", "lps", False, "with the signs of x and y turned {lie} inside, so if that is what "
         "is meant, declare the space as lps"),
        ("lps", "voxel", False, "as voxel indices (column, row, slice) {lie} inside, so if that is "
         "what is meant, declare the space as voxel"),
        ("lps", "lps", True, "in the order z, y, x {lie} inside, so if that is what is meant, put "
         "x (the column) first"),
        ("voxel", "lps", False, "as LPS mm {lie} inside"),
        ("ras", "ras", True, "in the order z, y, x {lie} inside"),
    ],
)  # fmt: skip
def test_the_reading_that_fits_is_named(
    chest: CTVolume,
    tmp_path: Path,
    declared: Any,
    meant: str,
    reverse: bool,
    message: str,
    count: int,
) -> None:
    written = places(count)
    if meant == "voxel":
        written = chest.index_of(written)
    elif meant == "ras":
        written = written * [-1, -1, 1]
    written = written[:, ::-1] if reverse else written
    file = tmp_path / "p.csv"
    np.savetxt(file, written, delimiter=",", header="x,y,z", comments="")
    with pytest.raises(PointOutsideScanError) as error:
        read_points_file(file, volume=chest, space=declared)
    lie = "it lies" if count == 1 else f"{count} of {count} lie"
    text = str(error.value)
    assert text.startswith(
        f"{file}: the only point lies outside the scan 1.2.3, the first at ("
        if count == 1
        else f"{file}: all 12 points lie outside the scan 1.2.3, the first at ("
    )
    assert "expected x 100.0 to 150.0, y 200.0 to 260.0, z -500.0 to -400.0" in text
    if meant == "voxel":  # slice and column may be swapped as well; that is said, too
        assert message.format(lie=lie).split(" inside")[0] in text
    else:
        assert message.format(lie=lie) in text


def test_nothing_fits_and_some_fit(chest: CTVolume) -> None:
    far = np.array([[9e3, 9e3, 9e3], [-9e3, 0, 0]])
    assert explain_outside(chest, far) == (
        "they would lie outside as RAS mm, as voxel indices and in the order z, y, x, too: check "
        "that they belong to this scan"
    )
    assert explain_outside(chest, far[:1]).endswith("check that it belongs to this scan")
    mixed = np.vstack([places(3) * [-1, -1, 1], far])
    assert "turned 3 of 5 lie inside" in explain_outside(chest, mixed)
    require_some_inside(chest, np.vstack([far, places(1)]), "p.csv")
    require_some_inside(chest, np.zeros((0, 3)), "p.csv")


def test_a_file_that_says_its_space_cannot_be_declared_otherwise(
    chest: CTVolume, tmp_path: Path
) -> None:
    x, y, z = places(1)[0]
    points = [{"name": "a", "point": [-x, -y, z]}]
    file = tmp_path / "nodule-locations.json"
    file.write_text(json.dumps({"type": "Multiple points", "points": points}))
    with pytest.raises(PointOutsideScanError, match=r"probably RAS.*; this file says by itself"):
        read_points_file(file, volume=chest)


def test_points_of_other_scans_do_not_count(chest: CTVolume, tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("scan_id,x,y,z\nother,0,0,0\nother,1,1,1\n")
    assert len(read_points_file(file, volume=chest).table) == 2
