from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nodulenet.ct import CTVolume
from nodulenet.errors import FindingsError, MissingDependencyError, UsageError
from nodulenet.findings import mask_files, masks
from nodulenet.findings.masks import findings_from_mask, read_mask

POINTS = ["x_lps_mm", "y_lps_mm", "z_lps_mm"]
OBLIQUE = Rotation.from_euler("xyz", [12, -25, 40], degrees=True).as_matrix()


def image_of(
    array: npt.NDArray[Any],
    spacing: tuple[float, float, float] = (0.7, 0.9, 2.5),
    direction: npt.NDArray[np.float64] = OBLIQUE,
) -> Any:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((-41.5, 17.25, -230.0))
    image.SetDirection(direction.ravel().tolist())
    return image


def written(tmp_path: Path, image: Any, name: str = "mask.nii.gz") -> Path:
    file = tmp_path / name
    sitk.WriteImage(image, str(file))
    return file


def expected_by_itk(image: Any, *, corners: bool) -> pd.DataFrame:
    """Components, centres, volumes and diameters by ITK's own filters."""
    array = sitk.GetArrayFromImage(image)
    rows = []
    for label in np.unique(array[array > 0]).tolist():
        components = sitk.ConnectedComponent(image == label, corners)
        shapes = sitk.LabelShapeStatisticsImageFilter()
        shapes.Execute(components)
        for number in shapes.GetLabels():
            row = dict(zip(POINTS, shapes.GetCentroid(number), strict=True))
            row["diameter_mm"] = 2 * shapes.GetEquivalentSphericalRadius(number)
            row["volume_mm3"] = shapes.GetPhysicalSize(number)
            row["voxels"] = shapes.GetNumberOfPixels(number)
            row["mask_label"] = label
            rows.append(row)
    return pd.DataFrame(rows)


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    columns = list(expected.columns)
    by = ["mask_label", "voxels", *POINTS]
    one = found[columns].round(3).sort_values(by).to_numpy(float)
    other = expected.round(3).sort_values(by).to_numpy(float)
    np.testing.assert_allclose(one, other, atol=2e-3)


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nii", "m.nrrd", "m.mha", "m.mhd", "m.nhdr"])
@pytest.mark.parametrize("flip", [False, True], ids=["", "flipped"])
def test_every_format_agrees_with_itk(tmp_path: Path, name: str, flip: bool) -> None:
    rng = np.random.default_rng(1)
    array = (rng.random((9, 11, 13)) < 0.12).astype(np.uint8) * 2
    array[4:8, 3:7, 5:9] = 1
    direction = OBLIQUE @ np.diag([-1.0, 1, -1]) if flip else OBLIQUE
    image = image_of(array, direction=direction)
    found = findings_from_mask(written(tmp_path, image, name))
    assert_same(found, expected_by_itk(image, corners=True))
    assert found["finding_id"].is_unique
    assert found["finding_id"][0] == "mask-1-0"


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_mask_agrees_with_itk(tmp_path: Path, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(2, 8)] * 3))
    seed, density = data.draw(st.integers(0, 2**16)), data.draw(st.floats(0.02, 0.6))
    rng = np.random.default_rng(seed)
    array = rng.integers(1, 4, shape) * (rng.random(shape) < density)
    array.flat[rng.integers(array.size)] = 3
    turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
    spacing = tuple(rng.uniform(0.4, 4, 3).tolist())
    image = image_of(array.astype(np.int16), spacing, turn)
    corners = data.draw(st.booleans())
    found = findings_from_mask(written(tmp_path, image, "m.mha"), connectivity=26 if corners else 6)
    assert_same(found, expected_by_itk(image, corners=corners))


def test_connectivity(tmp_path: Path) -> None:
    array = np.zeros((4, 4, 4), np.uint8)
    array[0, 0, 0] = array[0, 1, 1] = array[1, 2, 2] = 1  # by an edge, then by a corner
    file = written(tmp_path, image_of(array))
    counts = {n: len(findings_from_mask(file, connectivity=n)) for n in (6, 18, 26)}
    assert counts == {6: 3, 18: 2, 26: 1}


def test_a_ball_has_its_own_diameter_and_holes_are_not_filled(tmp_path: Path) -> None:
    z, y, x = np.ogrid[-20:21, -20:21, -20:21]
    distance = np.sqrt((0.5 * z) ** 2 + (0.5 * y) ** 2 + (0.5 * x) ** 2)
    ball, shell = distance <= 6, (distance <= 6) & (distance > 3)
    for marked, inside in ((ball, True), (shell, False)):
        image = image_of(marked.astype(np.uint8), (0.5, 0.5, 0.5))
        table, notes = read_mask(written(tmp_path, image))
        assert table["volume_mm3"][0] == pytest.approx(marked.sum() * 0.125)
        np.testing.assert_allclose(
            table.loc[0, POINTS].tolist(),
            image.TransformIndexToPhysicalPoint((20, 20, 20)),
            atol=1e-4,
        )
        assert table["centroid_inside"][0] == inside
        assert any("do not hold their own centre" in note for note in notes) != inside
        if inside:
            assert table["diameter_mm"][0] == pytest.approx(12, rel=0.01)


def test_small_components_and_other_labels_are_left_out(tmp_path: Path) -> None:
    array = np.zeros((6, 12, 12), np.uint8)
    array[1:3, 1:5, 1:5], array[4, 9, 9], array[5, 1, 1] = 7, 7, 200
    file = written(tmp_path, image_of(array, (1, 1, 1)))
    assert len(findings_from_mask(file)) == 3
    table, notes = read_mask(file, minimum_volume_mm3=2, labels=[7])
    assert table["finding_id"].tolist() == ["mask-7-0"]
    assert notes == (f"{file}: 1 components below 2 mm3 were left out",)
    with pytest.raises(FindingsError) as error:
        findings_from_mask(file, labels=[7, 9])
    assert str(error.value) == f"{file}: has no label 9; it has 7, 200; name some of these"
    with pytest.raises(FindingsError) as error:
        findings_from_mask(file, minimum_volume_mm3=100)
    assert str(error.value) == (
        f"{file}: all 3 components are smaller than 100 mm3; lower minimum_volume_mm3"
    )


@pytest.mark.parametrize("name", ["p.nii.gz", "p.nii", "p.nrrd", "p.mha"])
def test_probabilities_need_a_threshold(tmp_path: Path, name: str) -> None:
    array = np.zeros((5, 6, 7), np.float32)
    array[2, 3, 4], array[2, 3, 5] = 0.75, 0.25
    file = written(tmp_path, image_of(array), name)
    with pytest.raises(FindingsError) as error:
        findings_from_mask(file)
    assert str(error.value) == (
        f"mask {file}: found 0.75 at voxel (z, y, x) (2, 3, 4), expected whole numbers, so it may "
        "be a map of probabilities; give a label mask, or threshold=0.5 (any number) to take "
        "values from there up as one"
    )
    assert findings_from_mask(file, threshold=0.5)["voxels"].tolist() == [1]
    assert findings_from_mask(file, threshold=0.25)["voxels"].tolist() == [2]
    with pytest.raises(FindingsError, match=r"holds no value of at least 0\.9; expected at least"):
        findings_from_mask(file, threshold=0.9)


def test_whole_numbers_in_floats_are_labels(tmp_path: Path) -> None:
    array = np.zeros((5, 6, 7), np.float64)
    array[2, 3, 4] = 3
    assert findings_from_mask(written(tmp_path, image_of(array)))["mask_label"].tolist() == [3]
    array[0, 0, 0] = np.nan
    with pytest.raises(FindingsError, match=r"found nan at voxel \(z, y, x\) \(0, 0, 0\)"):
        findings_from_mask(written(tmp_path, image_of(array)))


def test_scaled_nifti_is_read_as_its_values(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    stored = nib.Nifti1Image(np.full((4, 4, 4), 255, np.uint8), np.eye(4))
    stored.header.set_slope_inter(1 / 255, 0)
    file = tmp_path / "scaled.nii.gz"
    nib.save(stored, file)
    raw = nib.load(file)
    assert raw.dataobj.slope != 1
    assert findings_from_mask(file, threshold=0.5)["voxels"].tolist() == [64]


BAD: list[tuple[Any, str]] = [
    (np.zeros((3, 3, 3), np.uint8), "holds no label; expected at least one marked voxel"),
    (
        np.full((3, 3, 3), -5, np.int16),
        "found -5, expected labels from 0 up, so it may be a scan; give a label mask, or "
        "threshold=0.5 (any number) to take values from there up as one",
    ),
    (
        np.full((3, 3, 3), -3024, np.int16),
        "found -1024 or less, expected labels from 0 up, so it may be a scan; give a label mask, "
        "or threshold=0.5 (any number) to take values from there up as one",
    ),
    (
        np.full((3, 3, 3), 40000, np.uint16),
        "found 32767 or more, expected labels below; give a label mask, or threshold=0.5 (any "
        "number) to take values from there up as one",
    ),
    (
        np.arange(11**3, dtype=np.int16).reshape(11, 11, 11),
        "holds more than 1024 different values above 0, so it is no label mask; give a label mask, "
        "or threshold=0.5 (any number) to take values from there up as one",
    ),
]


@pytest.mark.parametrize(("array", "message"), BAD)
def test_bad_masks(tmp_path: Path, array: npt.NDArray[Any], message: str) -> None:
    file = written(tmp_path, image_of(array))
    with pytest.raises(FindingsError) as error:
        findings_from_mask(file)
    assert str(error.value).removeprefix("mask ") == f"{file}: {message}"


def test_files_that_are_no_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FindingsError, match=r"no\.nii: there is no such file; expected a mask"):
        findings_from_mask(tmp_path / "no.nii")
    with pytest.raises(FindingsError, match=r"is a folder; expected a mask .* one DICOM Segm"):
        findings_from_mask(tmp_path)
    (tmp_path / "a.stl").write_text("solid")
    with pytest.raises(FindingsError, match="is no mask by its ending; expected"):
        findings_from_mask(tmp_path / "a.stl")
    (tmp_path / "a.nii.gz").write_bytes(b"\x1f\x8b no gzip")
    with pytest.raises(FindingsError, match=r"mask .*a\.nii\.gz: "):
        findings_from_mask(tmp_path / "a.nii.gz")
    colours = sitk.GetImageFromArray(np.zeros((3, 3, 3, 3), np.uint8), isVector=True)
    with pytest.raises(FindingsError, match="has 3 components a voxel"):
        findings_from_mask(written(tmp_path, colours, "c.mha"))
    noise = np.zeros((6, 6, 6), np.uint8)
    noise[::2, ::2, ::2] = 1
    monkeypatch.setattr(masks, "MAX_FINDINGS", 10)
    with pytest.raises(FindingsError, match="has more than 10 separate components, expected a"):
        findings_from_mask(written(tmp_path, image_of(noise)))


@pytest.mark.parametrize("name", ["cut.nii", "cut.nii.gz", "cut.mha", "cut.nrrd"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_file_cut_short_is_no_mask(tmp_path: Path, name: str, kind: Any) -> None:
    array = np.random.default_rng(0).integers(0, 3, (20, 20, 20)).astype(kind)
    file = tmp_path / name
    sitk.WriteImage(image_of(array), str(file), useCompression=name != "cut.nii")
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(FindingsError):
        findings_from_mask(file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"connectivity": 8}, "connectivity is 8; expected 6, 18 or 26"),
        ({"minimum_volume_mm3": -1}, "minimum_volume_mm3 is -1; expected 0 or more"),
        ({"threshold": 0.0}, "threshold is 0.0; expected a number above 0, such as 0.5"),
    ],
)
def test_bad_arguments(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        findings_from_mask(tmp_path / "no.nii", **arguments)
    assert str(error.value) == message


def test_a_mask_of_another_scan_is_refused(tmp_path: Path) -> None:
    array = np.ones((10, 10, 10), np.uint8)
    image = image_of(array, (1, 1, 1), np.eye(3))
    file = written(tmp_path, image)
    scan = np.full((10, 10, 10), -900)
    same = CTVolume.from_array(scan, (1, 1, 1), image.GetOrigin(), series_uid="same")
    assert len(findings_from_mask(file, ct=same)) == 1
    far = CTVolume.from_array(scan, (1, 1, 1), (500, 0, 0), series_uid="far")
    with pytest.raises(FindingsError) as error:
        findings_from_mask(file, ct=far)
    assert str(error.value) == (
        f"{file}: reaches x, y, z -42..-32, 17..27, -230..-220 mm (LPS), but the scan far reaches "
        "500..510, -0..10, -0..10: they are of two scans; give the mask of this scan"
    )
    mirrored = CTVolume.from_array(scan, (1, 1, 1), (32.5, -26.25, -230), series_uid="mirrored")
    with pytest.raises(FindingsError, match=r"x and y look mirrored \(RAS written as LPS\)"):
        findings_from_mask(file, ct=mirrored)


@pytest.mark.parametrize(("name", "bytes_a_voxel"), [("big.nii", 1.6), ("big.nii.gz", 4.5)])
def test_memory_of_big_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, bytes_a_voxel: float
) -> None:
    """One bool a voxel, and for packed files their int16; numbering all voxels would add four."""
    monkeypatch.setattr(mask_files, "_SLAB_VOXELS", 2**18)
    array = np.zeros((120, 256, 256), np.uint8)
    array[2:4, 2:6, 2:6] = 1
    array[100:108, 200:210, 220:230] = 1
    file = written(tmp_path, image_of(array), name)
    tracemalloc.start()
    found = findings_from_mask(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["voxels"].tolist() == [32, 800]
    assert peak < bytes_a_voxel * array.size


# --- DICOM Segmentation --------------------------------------------------------------------------


def ct_slices(depth: int = 5, direction: npt.NDArray[np.float64] = OBLIQUE) -> list[Any]:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    study, series, frame = generate_uid(), "1.2.826.0.1.99", generate_uid()
    slices = []
    for k in range(depth):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.Modality, ds.InstanceNumber, ds.SeriesNumber = "CT", k + 1, 1
        ds.PatientID, ds.PatientName = "phantom", "Phantom^"
        for name in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
            setattr(ds, name, "")
        ds.AccessionNumber = ds.ReferringPhysicianName = ""
        ds.Rows, ds.Columns, ds.PixelSpacing, ds.SliceThickness = 8, 9, [0.9, 0.7], 2.5
        ds.ImageOrientationPatient = [*direction[:, 0], *direction[:, 1]]
        ds.ImagePositionPatient = list(np.array([-41.5, 17.25, -230.0]) + 2.5 * k * direction[:, 2])
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.PixelData = np.full((8, 9), -900, np.int16).tobytes()
        slices.append(ds)
    return slices


def seg_file(tmp_path: Path, pixels: npt.NDArray[Any], kind: str, names: list[str]) -> Path:
    """A Segmentation object; ``pixels`` (z, y, x, segment)."""
    hd = pytest.importorskip("highdicom")
    from pydicom.sr.codedict import codes

    described = [
        hd.seg.SegmentDescription(
            segment_number=i + 1,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for i, name in enumerate(names)
    ]
    seg = hd.seg.Segmentation(
        source_images=ct_slices(len(pixels)),
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="nobody",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
    )
    file = tmp_path / "seg.dcm"
    seg.save_as(file)
    return file


def test_dicom_seg_with_overlapping_segments(tmp_path: Path) -> None:
    pixels = np.zeros((5, 8, 9, 2), np.uint8)
    pixels[1:3, 2:5, 3:6, 0] = 1
    pixels[2:4, 4:7, 5:8, 1] = 1  # overlaps the first in one voxel
    pixels[3, 0, 0, 0] = 1
    file = seg_file(tmp_path, pixels, "BINARY", ["solid part", "whole nodule"])
    found, notes = read_mask(file)
    for number in (1, 2):
        image = image_of(pixels[..., number - 1] * number)
        mine = found[found["mask_label"] == number]
        assert_same(mine, expected_by_itk(image, corners=True))
    assert found["segment_label"].tolist() == ["solid part"] * 2 + ["whole nodule"]
    assert set(found["scan_id"]) == {"1.2.826.0.1.99"}
    assert notes == ()
    assert len(findings_from_mask(file, labels=[2])) == 1


def test_fractional_dicom_seg_needs_a_threshold(tmp_path: Path) -> None:
    pixels = np.zeros((5, 8, 9, 1), np.float32)
    pixels[2, 3, 4], pixels[2, 3, 5] = 0.9, 0.4
    file = seg_file(tmp_path, pixels, "FRACTIONAL", ["nodule"])
    with pytest.raises(FindingsError) as error:
        findings_from_mask(file)
    assert str(error.value) == (
        f"{file}: is a fractional segmentation (0 to 1), expected marked voxels; give "
        "threshold=0.5 to take voxels from there up"
    )
    assert findings_from_mask(file, threshold=0.5)["voxels"].tolist() == [1]
    assert findings_from_mask(file, threshold=0.3)["voxels"].tolist() == [2]


def test_an_empty_dicom_seg(tmp_path: Path) -> None:
    pixels = np.zeros((5, 8, 9, 1), np.uint8)
    file = seg_file(tmp_path, pixels, "BINARY", ["nodule"])
    with pytest.raises(FindingsError) as error:
        findings_from_mask(file)
    assert str(error.value) == f"{file}: holds no marked voxel; expected at least one"


def test_dicom_that_is_no_seg(tmp_path: Path) -> None:
    file = tmp_path / "ct.dcm"
    ct_slices()[0].save_as(file, enforce_file_format=True)
    with pytest.raises(FindingsError) as error:
        findings_from_mask(file)
    assert str(error.value) == (
        f"{file}: is DICOM of the kind CT Image Storage, expected a Segmentation object; give the "
        "segmentation, not the scan"
    )


def test_a_damaged_dicom_seg(tmp_path: Path) -> None:
    pixels = np.ones((5, 8, 9, 1), np.uint8)
    whole = seg_file(tmp_path, pixels, "BINARY", ["nodule"]).read_bytes()
    file = tmp_path / "cut.dcm"
    for length in range(400, len(whole) - 100, 97):
        file.write_bytes(whole[:length])
        with pytest.raises(FindingsError, match=r"cut\.dcm: "):
            findings_from_mask(file)


def test_without_highdicom_the_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = seg_file(tmp_path, np.ones((5, 8, 9, 1), np.uint8), "BINARY", ["nodule"])
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingDependencyError) as error:
        findings_from_mask(file)
    assert str(error.value) == (
        f"{file}: a DICOM Segmentation needs highdicom, which is not installed; pip install "
        "'nodulenet[dicom-sr]'"
    )
