from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nodulenet.ct import CTVolume
from nodulenet.errors import FindingsError, UsageError
from nodulenet.findings.detections import read_monai_detections

POINTS = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]


def record(**changes: Any) -> dict[str, Any]:
    """As ``DetectionSaver`` of the bundle writes one."""
    return {
        "box": [[-111.875, -21.5, -81.25, 18.0, 9.0, 12.0], [12.5, 4.75, -49.25, 6.0, 6.0, 3.0]],
        "label": [0, 0],
        "label_scores": [0.96, 0.046],
        "image": "/data/LUNA16/1.3.6.1/1.3.6.1.nii.gz",
    } | changes


def written(tmp_path: Path, data: Any) -> Path:
    file = tmp_path / "result_luna16_fold0.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    return file


def test_the_file_of_the_bundle(tmp_path: Path) -> None:
    file = written(tmp_path, [record()])
    read, notes = read_monai_detections(file)
    assert read["finding_id"].tolist() == ["detection-0", "detection-1"]
    assert read[POINTS].to_numpy().tolist() == [[-111.875, -21.5, -81.25], [12.5, 4.75, -49.25]]
    assert read["diameter_mm"].tolist() == [13.0, 5.0]
    assert read["detection_score"].tolist() == [0.96, 0.046]
    assert read["detection_label"].tolist() == [0, 0]
    assert "scan_id" not in read.columns
    assert read["image"].tolist() == ["1.3.6.1"] * 2
    assert notes == (f"{file}: all boxes are of 1.3.6.1; it is taken for the scan that is given",)


def test_the_file_of_the_tutorial(tmp_path: Path) -> None:
    one = record(image=["C:\\data\\a.1.mhd"], score=[0.9, 0.4])
    two = record(image="b.nii", score=[0.7, 0.1])
    none = record(image="c.nii", box=[], label=[], score=[])
    for entry in (one, two, none):
        del entry["label_scores"]
    none["score"] = []
    file = written(tmp_path, {"validation": [one, two, none]})
    read, notes = read_monai_detections(file, minimum_score=0.4)
    assert read["scan_id"].tolist() == ["a.1", "a.1", "b"]
    assert read["finding_id"].tolist() == ["a.1-detection-0", "a.1-detection-1", "b-detection-0"]
    assert notes == (f"{file}: 1 boxes with a score below 0.4",)


def test_ids_do_not_depend_on_the_minimum_score(tmp_path: Path) -> None:
    file = written(tmp_path, record(label_scores=[0.2, 0.9]))
    read, _ = read_monai_detections(file, minimum_score=0.5)
    assert read["finding_id"].tolist() == ["detection-1"]


def test_space_is_declared(tmp_path: Path) -> None:
    file = written(tmp_path, [record()])
    read, _ = read_monai_detections(file, space="ras")
    assert read[POINTS].to_numpy().tolist() == [[111.875, 21.5, -81.25], [-12.5, -4.75, -49.25]]
    with pytest.raises(UsageError, match=r"space is 'voxel'; boxes of detections are in 'lps'"):
        read_monai_detections(file, space="voxel")  # type: ignore[arg-type]


@pytest.mark.parametrize(("lps_option", "space"), [(True, "lps"), (False, "ras")])
def test_monai_itself_writes_the_space_that_is_documented(
    tmp_path: Path, lps_option: bool, space: Any
) -> None:
    """Runs the bundle's own post-processing on a box around a known voxel of an oblique image."""
    torch = pytest.importorskip("torch")
    from monai.apps.detection.transforms.dictionary import (
        AffineBoxToWorldCoordinated,
        ConvertBoxModed,
    )
    from monai.data import MetaTensor

    angle = 0.3
    turn = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    volume = CTVolume.from_array(np.full((9, 8, 7), -900), (0.7, 0.8, 2.0), (-30, 40, 50), turn)
    # The image as MONAI's readers give it: RAS affine.
    image = MetaTensor(torch.zeros(1, 7, 8, 9), affine=torch.tensor(volume.affine_ras))
    data: dict[str, Any] = {"image": image, "box": torch.tensor([[2.0, 3, 4, 4, 5, 6]])}
    to_world = AffineBoxToWorldCoordinated("box", "image", affine_lps_to_ras=lps_option)
    data = ConvertBoxModed("box", "xyzxyz", "cccwhd")(to_world(data))
    entry = record(box=data["box"].tolist(), label=[0], label_scores=[0.5])
    read, _ = read_monai_detections(written(tmp_path, [entry]), space=space)
    index = volume.index_of(read[POINTS].to_numpy())
    np.testing.assert_allclose(index, [[3, 4, 5]], atol=1e-4)


BAD: list[tuple[Any, str]] = [
    (
        [record(label_scores=[0.5])],
        ": [0].label_scores: found an array of 1, expected as many as boxes (2); export it again",
    ),
    (
        [record(label=[])],
        ": [0].label: found an array of 0, expected as many as boxes (2); export it again",
    ),
    (
        {"validation": [record(box=[[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]])]},
        ": validation[0].box[0]: found an array of 5, expected 6 numbers (centre x, y, z and size "
        "w, h, d in mm); correct or remove the entry",
    ),
    (
        record(box=[[1, 2, 3, -4, 5, 6], [1, 2, 3, 4, 5, 6]]),
        ": box[0]: found 'sizes -4, 5, 6', expected sizes above 0 (box mode cccwhd); export boxes "
        "as centre and size",
    ),
    (
        [record(label_scores=[0.5, 1.5])],
        ": [0].label_scores[1]: found 1.5, expected a score from 0 to 1; export it again",
    ),
    (
        [record(), {"boxes": []}],
        ": [1].box: found nothing, expected an array [...]; correct the file or export it again",
    ),
    (
        [record(), record()],
        ": [1].image: found '1.3.6.1', expected the name of an image, each image once; split the "
        "file by scans",
    ),
    (
        [record(image=None), record(image=None)],
        ": [0].image: found nothing, expected the name of an image, each image once; split the "
        "file by scans",
    ),
    (
        [record(box=[], label=[], label_scores=[])],
        ": holds no box; expected at least one detection",
    ),
    (
        {"training": []},
        ": found an object with 'training', expected records with box, label, label_scores (or "
        "score) and image; give the JSON that MONAI's lung_nodule_ct_detection writes",
    ),
]


@pytest.mark.parametrize(("data", "message"), BAD)
def test_bad_detections(tmp_path: Path, data: Any, message: str) -> None:
    file = written(tmp_path, data)
    with pytest.raises(FindingsError) as error:
        read_monai_detections(file)
    assert str(error.value) == f"{file}{message}"


def test_minimum_score(tmp_path: Path) -> None:
    file = written(tmp_path, [record()])
    with pytest.raises(FindingsError) as error:
        read_monai_detections(file, minimum_score=0.99)
    assert str(error.value) == (
        f"{file}: no box has a score of at least 0.99 (the highest of 2 is 0.96); lower "
        "minimum_score"
    )
    with pytest.raises(UsageError, match="minimum_score is 2; expected 0 to 1"):
        read_monai_detections(file, minimum_score=2)
