"""Images in memory, HU that cannot be HU, NRRD layouts, descriptions and written patches."""

from __future__ import annotations

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from nodulenet.ct import CTVolume, extract_patch, open_ct
from nodulenet.ct.describe import describe_scan, oblique_degrees, orientation
from nodulenet.ct.write import write_patch
from nodulenet.errors import GeometryError, ScanError, UsageError

SPACING, ORIGIN = (0.7, 0.9, 1.6), (-31.0, 12.0, -205.0)


@pytest.mark.parametrize("pixel", [sitk.sitkInt16, sitk.sitkFloat32])
def test_a_simpleitk_image(markers, itk_image, oblique_direction, pixel):
    image = sitk.Cast(itk_image(markers, SPACING, ORIGIN, oblique_direction), pixel)
    volume = open_ct(image)
    np.testing.assert_array_equal(volume.array(), markers)
    for index in [(0, 0, 0), (16, 12, 10), (3, 7, 2)]:
        place = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(volume.points_of(index), place, atol=1e-9)
    assert volume.series_uid.startswith("array-")
    assert open_ct(image, series_uid="mine").series_uid == "mine"
    image.SetMetaData("0020|000e", "1.2.3 ")
    assert open_ct(image).series_uid == "1.2.3"


def test_a_nibabel_image_is_the_file_it_came_from(tmp_path, markers, itk_image, oblique_direction):
    sitk.WriteImage(
        itk_image(markers, SPACING, ORIGIN, oblique_direction), str(tmp_path / "scan.nii.gz")
    )
    file, memory = open_ct(tmp_path / "scan.nii.gz"), open_ct(nib.load(tmp_path / "scan.nii.gz"))
    np.testing.assert_array_equal(memory.array(), file.array())
    np.testing.assert_array_equal(memory.affine_lps, file.affine_lps)
    scaled = nib.Nifti1Image(markers.transpose().astype(np.float32) * 0.5, np.diag([1, 1, 2, 1]))
    found = open_ct(scaled).array()
    np.testing.assert_array_equal(found, np.rint(markers * 0.5).astype(np.int16))


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (sitk.Image([4, 4, 4], sitk.sitkVectorInt16, 3), ScanError, "has 3 components a voxel"),
        (sitk.Image(4, 4, sitk.sitkInt16), ScanError, "has 2 dimensions"),
        (nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), ScanError, "4 dimensions"),
        (
            nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4) + np.eye(4, k=1) * 0.2),
            GeometryError,
            "off a right angle",
        ),
        (np.zeros((4, 4, 4)), UsageError, "use CTVolume.from_array"),
        (7, UsageError, "path is a int; expected a path"),
    ],
)
def test_other_objects_are_refused(image, kind, message):
    with pytest.raises(kind, match=message):
        open_ct(image)


@pytest.mark.parametrize("name", ["scan.mhd", "scan.nii.gz", "scan.nrrd"])
def test_strict_hu_refuses_what_is_otherwise_warned_of(tmp_path, markers, itk_image, name):
    windowed = np.clip((markers.astype(float) + 1000) / 1400 * 255, 0, 255)
    image = sitk.Cast(itk_image(windowed, SPACING, ORIGIN), sitk.sitkUInt8)
    sitk.WriteImage(image, str(tmp_path / name), useCompression=name.endswith("gz"))
    with pytest.raises(ScanError, match=rf"{name}: values range from .*they look windowed"):
        open_ct(tmp_path / name, strict_hu=True)
    volume = open_ct(tmp_path / name)
    volume.array()
    assert any("they look windowed" in warning for warning in volume.warnings)
    sitk.WriteImage(itk_image(markers, SPACING, ORIGIN), str(tmp_path / name))
    assert open_ct(tmp_path / name, strict_hu=True).warnings == ()


@pytest.mark.parametrize("layout", ["attached", "detached", "skip", "from the end", "big"])
def test_raw_nrrd_is_mapped(tmp_path, markers, layout):
    order = ">" if layout == "big" else "<"
    content = markers.astype(f"{order}i2").tobytes()
    head = (
        "NRRD0005\n# a comment: with a colon\ntype: short\ndimension: 3\nspace: RAS\n"
        "sizes: 17 13 11\nspace directions: (-0.7,0,0) (0,-0.9,0) (0,0,1.6)\n"
        f"kinds: domain domain domain\nendian: {'big' if layout == 'big' else 'little'}\n"
        "encoding: raw\nspace origin: (31,-12,-205)\nmodality:=CT\n"
    )
    path = tmp_path / "scan.nhdr"
    if layout in ("attached", "big"):
        path = tmp_path / "scan.nrrd"
        path.write_bytes(head.encode() + b"\n" + content)
    else:
        skip = {"detached": "", "skip": "byte skip: 77\n", "from the end": "byte skip: -1\n"}
        before = b"" if layout == "detached" else b"\x07" * 77
        path.write_text(head + skip[layout] + "data file: scan.raw\n")
        (tmp_path / "scan.raw").write_bytes(before + content)
    volume = open_ct(path)
    np.testing.assert_array_equal(volume.array(), markers)
    np.testing.assert_allclose(volume.origin_lps_mm, ORIGIN)
    np.testing.assert_allclose(volume.direction, np.eye(3))
    # Only the window is read: what lies behind it may even be damaged.
    np.testing.assert_array_equal(volume.window((2, 3, 4), (5, 6, 7)), markers[2:5, 3:6, 4:7])
    assert type(volume._voxels).__name__ == "MappedSource"


def test_packed_nrrd_is_decoded(tmp_path, markers):
    head = (
        "NRRD0004\ntype: int16\ndimension: 3\nspace: left-posterior-superior\nsizes: 17 13 11\n"
        "space directions: (0.7,0,0) (0,0.9,0) (0,0,1.6)\nendian: little\nencoding: gzip\n"
        "space origin: (-31,12,-205)\n\n"
    )
    path = tmp_path / "scan.nrrd"
    path.write_bytes(head.encode() + gzip.compress(markers.astype("<i2").tobytes()))
    np.testing.assert_array_equal(open_ct(path).array(), markers)


def test_description_of_a_scan(tmp_path, markers, write_dicom):
    write_dicom(tmp_path / "a", markers, SPACING, ORIGIN, series_uid="1.2.3")
    facts = describe_scan(tmp_path / "a")
    assert json.loads(json.dumps(facts)) == facts
    volume = facts["volume"]
    assert volume["shape_zyx"] == [11, 13, 17]
    assert volume["spacing_xyz_mm"] == pytest.approx(SPACING)
    assert volume["orientation"] == "LPS"
    assert volume["oblique_degrees"] == 0
    assert volume["hu_range"] == [markers.min(), markers.max()]
    assert [s["series_uid"] for s in facts["series"]] == ["1.2.3"]
    write_dicom(tmp_path / "b", markers, SPACING, ORIGIN, series_uid="1.2.4")
    both = describe_scan(tmp_path)
    assert "volume" not in both
    assert [(s["series_uid"], s["slices"]) for s in both["series"]] == [
        ("1.2.3", 11),
        ("1.2.4", 11),
    ]
    assert describe_scan(tmp_path, series_uid="1.2.4")["volume"]["series_uid"] == "1.2.4"


def test_orientation_letters_are_nibabels(markers, oblique_direction):
    for direction in (np.eye(3)[[2, 0, 1]], np.diag([-1.0, 1, -1]), oblique_direction):
        volume = CTVolume.from_array(markers, SPACING, ORIGIN, direction)
        assert orientation(volume) == "".join(nib.aff2axcodes(volume.affine_ras))
    z_only = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
    assert oblique_degrees(CTVolume.from_array(markers, SPACING, ORIGIN, z_only)) == pytest.approx(
        np.degrees(0.3)
    )


@pytest.mark.parametrize("name", ["p.nii.gz", "p.nii", "p.mha", "p.nrrd"])
def test_written_patches_lie_in_their_place(tmp_path, markers, name):
    volume = CTVolume.from_array(markers, SPACING, ORIGIN)
    point = volume.points_of([8.2, 6.1, 5.3])
    hu = extract_patch(volume, point, (5, 6, 7), (0.8, 0.8, 1.1))
    write_patch(tmp_path / name, hu, point, (0.8, 0.8, 1.1))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    image = sitk.ReadImage(str(tmp_path / name))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), hu)
    centre = image.TransformContinuousIndexToPhysicalPoint([3.0, 2.5, 2.0])
    np.testing.assert_allclose(centre, point, atol=1e-4)
    with pytest.raises(UsageError, match="unknown ending"):
        write_patch(tmp_path / "p.txt", hu, point, (1, 1, 1))


@pytest.mark.parametrize(
    "filler", [b"#" + b"x" * 4094 + b"\n", b"key:=" + b"y" * 130_000 + b"\n"], ids=["4096", "long"]
)
def test_a_long_nrrd_header_does_not_shift_the_voxels(tmp_path, markers, filler):
    head = (
        b"NRRD0004\ntype: int16\ndimension: 3\nspace: left-posterior-superior\nsizes: 17 13 11\n"
        b"space directions: (0.7,0,0) (0,0.9,0) (0,0,1.6)\nendian: little\nencoding: raw\n"
    )
    end = b"space origin: (-31,12,-205)\n\n"
    path = tmp_path / "scan.nrrd"
    path.write_bytes(head + filler + end + markers.astype("<i2").tobytes())
    np.testing.assert_array_equal(open_ct(path).array(), markers)
