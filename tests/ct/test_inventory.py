"""What lies on a disk: columns against pydicom, verdicts against what open_ct really does."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nodulenet.ct import inventory_files, open_ct
from nodulenet.ct.dicom_acquisition import acquisition_of
from nodulenet.ct.inventory import Inventory, ListedSeries, take_inventory
from nodulenet.errors import DataError, ScanError

SPACING, ORIGIN = (0.7, 0.9, 1.6), (-31.0, 12.0, -205.0)
NAME = "Tremaine^Ottoline Zoë"


def outcome(series: ListedSeries, irregular="refuse") -> tuple[bool, str]:
    """What open_ct does with a listed series, without the path that stands beside it."""
    try:
        volume = open_ct(series.path, series_uid=series.series_uid, irregular=irregular)
    except ScanError as error:
        ok, text = False, str(error)
    else:
        ok, text = True, ": ".join(["usable", *(["; ".join(w)] if (w := volume.warnings) else [])])
        assert volume.spacing_mm == series.spacing_mm
        assert irregular == "resample" or volume.shape[0] == series.slices
    return ok, text.replace(f"{series.path}/", "").replace(f"{series.path}: ", "")


def assert_verdicts_are_true(inventory: Inventory) -> None:
    for series in inventory.series:
        assert (series.usable, series.verdict) == outcome(series)


def tilt(ds, k):
    x, y, z = ds.ImagePositionPatient
    ds.ImagePositionPatient = [x, f"{float(y) + 0.4 * k:.6g}", z]


def uneven(ds, k):
    x, y, z = ds.ImagePositionPatient
    ds.ImagePositionPatient = [x, y, f"{float(z) + 0.5 * (k == 3):.6g}"]


def doubled(ds, k):
    if k == 4:
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, f"{float(z) - SPACING[2]:.6g}"]


def two_orientations(ds, k):
    if k > 5:
        ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def of_modality(modality):
    def change(ds, k):
        ds.Modality = modality
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage

    return change


def localizer(ds, k):
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def mixed_with_localizer(ds, k):
    if k == 0:
        localizer(ds, k)


def placeless(ds, k):
    if k == 2:
        del ds.ImagePositionPatient


def two_spacings(ds, k):
    if k > 6:
        ds.PixelSpacing = ["0.5", "0.5"]


def colour(ds, k):
    ds.PhotometricInterpretation = "PALETTE COLOR"


def no_uid(ds, k):
    ds.SeriesInstanceUID = ""


FAULTS = {
    "none": (None, "usable"),
    "missing slices": (None, "are missing"),
    "tilt": (tilt, "gantry tilt"),
    "uneven": (uneven, "unevenly spaced"),
    "doubled": (doubled, "lie at the same place"),
    "two orientations": (two_orientations, "differ in orientation"),
    "MR": (of_modality("MR"), "only 11 x MR"),
    "localizer": (localizer, "only 11 x localizer"),
    "localizer in the series": (mixed_with_localizer, "usable"),
    "no position": (placeless, "Image Position (Patient)"),
    "two spacings": (two_spacings, "differ in pixel spacing"),
    "colour": (colour, "PALETTE COLOR"),
    "no UID": (no_uid, "SeriesInstanceUID is empty"),
}


def test_all_faults_in_one_folder(tmp_path, markers, write_dicom):
    for number, (fault, (change, _)) in enumerate(FAULTS.items()):
        paths = write_dicom(
            tmp_path,
            markers,
            SPACING,
            ORIGIN,
            series_uid=f"1.2.3.{number + 10}",
            change=change,
            prefix=f"S{number}-",
        )
        if fault == "missing slices":
            paths.pop(6).unlink()
    inventory = take_inventory(tmp_path)
    assert_verdicts_are_true(inventory)
    listed = sorted(inventory.series, key=lambda s: s.series_uid)  # 2.25. is the last
    for series, (fault, (_, words)) in zip(listed, FAULTS.items(), strict=True):
        assert words in series.verdict, fault
        assert series.usable == series.verdict.startswith("usable"), fault


@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    faults=st.lists(st.sampled_from(sorted(FAULTS)), min_size=1, max_size=3, unique=True),
    layout=st.sampled_from(["one folder", "a folder each", "nested", "spread"]),
    beside=st.sampled_from(["nothing", "damaged", "misnamed", "foreign"]),
)
def test_the_verdict_is_what_opening_does(markers, write_dicom, faults, layout, beside):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for number, fault in enumerate(faults):
            folder = {
                "one folder": root,
                "spread": root,
                "a folder each": root / f"s{number}",
                "nested": root.joinpath(*["s"] * (number + 1)),
            }[layout]
            paths = write_dicom(
                folder,
                markers,
                SPACING,
                ORIGIN,
                series_uid=f"1.2.3.{number + 1}",
                change=FAULTS[fault][0],
                prefix=f"S{number}-",
            )
            if fault == "missing slices":
                paths.pop(6).unlink()
            if layout == "spread":
                (root / "more").mkdir(exist_ok=True)
                for path in paths[::3]:
                    path.rename(root / "more" / path.name)
        if beside == "damaged":
            whole = sorted(root.rglob("*.dcm"))[-1].read_bytes()
            (root / "x-damaged.dcm").write_bytes(whole[:-50])
        elif beside != "nothing":
            (root / ("x.dcm" if beside == "misnamed" else "x.txt")).write_text("no DICOM")
        inventory = take_inventory(root)
        assert_verdicts_are_true(inventory)
        assert len(inventory.series) == len(faults)
        if beside == "nothing":
            assert inventory.others == ()
        else:
            assert len(inventory.others) == 1


def test_columns_are_what_pydicom_reads(tmp_path, markers, write_dicom):
    def change(ds, k):
        ds.SeriesNumber, ds.ConvolutionKernel = 4, ["Br40f", "3"]
        ds.Manufacturer, ds.ManufacturerModelName = "SIEMENS", "Force"
        ds.KVP, ds.Exposure, ds.ContrastBolusAgent = "120", "87", "APPLIED"
        ds.StudyDescription, ds.ProtocolName = "CT Thorax", "Chest"
        ds.FrameOfReferenceUID = "1.2.3.99"

    paths = write_dicom(tmp_path / "a", markers, SPACING, ORIGIN, change=change)
    (series,) = take_inventory(tmp_path).series
    ds = pydicom.dcmread(paths[0], stop_before_pixels=True)
    made = series.acquisition
    for name, tag in {
        "study_uid": "StudyInstanceUID",
        "series_number": "SeriesNumber",
        "description": "SeriesDescription",
        "study_description": "StudyDescription",
        "protocol": "ProtocolName",
        "manufacturer": "Manufacturer",
        "manufacturer_model_name": "ManufacturerModelName",
        "kvp": "KVP",
        "exposure_mas": "Exposure",
        "contrast_agent": "ContrastBolusAgent",
        "frame_of_reference_uid": "FrameOfReferenceUID",
    }.items():
        assert getattr(made, name) == ds[tag].value, name
    assert made.kernel == "Br40f\\3"
    assert (series.modality, series.series_uid) == (ds.Modality, ds.SeriesInstanceUID)
    assert (series.rows, series.columns, series.slices) == (ds.Rows, ds.Columns, len(paths))
    assert series.slice_thickness_mm == ds.SliceThickness
    assert series.image_type == tuple(ds.ImageType)
    assert (series.plane, series.oblique_degrees) == ("axial", 0.0)
    assert series.path == tmp_path / "a"


def test_an_oblique_coronal_series(tmp_path, markers, write_dicom):
    angle = np.radians(12.0)
    direction = np.array(
        [[1, 0, 0], [0, np.sin(angle), -np.cos(angle)], [0, -np.cos(angle), -np.sin(angle)]]
    )
    write_dicom(tmp_path, markers, SPACING, ORIGIN, direction)
    (series,) = take_inventory(tmp_path).series
    assert series.plane == "coronal"
    assert series.oblique_degrees == pytest.approx(12.0, abs=1e-4)


def test_names_and_birth_dates_stay_out(tmp_path, markers, write_dicom):
    def change(ds, k):
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientName, ds.PatientBirthDate = NAME, "19480312"
        ds.OtherPatientNames = "Li"
        ds.PatientID = "TREMAINE48"
        ds.SeriesDescription = "Chest OTTOLINE 12.03.1948 Li Lisboa"
        ds.StudyDescription = "zoë_tremaine 1948-03-12"
        ds.ProtocolName, ds.ContrastBolusAgent = "MrsTremaine", "for Ottoline"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "TREMAINE"]

    write_dicom(tmp_path, markers, SPACING, ORIGIN, change=change)
    (series,) = take_inventory(tmp_path).series
    told = str(series).replace(str(tmp_path), "").lower()
    for secret in ("tremaine", "ottoline", "zoë", "1948", "12.03"):
        assert secret not in told
    # Short names only as whole words.
    assert series.acquisition.description == "Chest [removed] [removed] [removed] Lisboa"
    # Kept as it is for a pseudonym, and shown by nothing.
    assert series.acquisition.patient_id == "TREMAINE48"


def test_an_id_in_place_of_the_name_is_no_name():
    ds = pydicom.Dataset()
    ds.PatientName = ds.PatientID = "LUNG_1-0002"
    ds.SeriesDescription = "LUNG 1.0"
    made, _ = acquisition_of(ds)
    assert (made.patient_id, made.description) == ("LUNG_1-0002", "LUNG 1.0")


def test_enhanced_images_keep_their_facts_in_groups():
    kernel, xray, exposure = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    kernel.ConvolutionKernel, xray.KVP, exposure.ExposureInmAs = "Br40", 100.0, 55.5
    group, ds = pydicom.Dataset(), pydicom.Dataset()
    group.CTReconstructionSequence, group.CTXRayDetailsSequence = [kernel], [xray]
    group.CTExposureSequence = [exposure]
    ds.SharedFunctionalGroupsSequence = [group]
    made, _ = acquisition_of(ds)
    assert (made.kernel, made.kvp, made.exposure_mas) == ("Br40", 100.0, 55.5)


def test_archives_copies_and_files_of_other_formats(tmp_path, markers, write_dicom, itk_image):
    write_dicom(tmp_path / "a" / "here", markers, SPACING, ORIGIN)
    shutil.copytree(tmp_path / "a" / "here", tmp_path / "b" / "there")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for path in (tmp_path / "a" / "here").iterdir():
            archive.write(path, f"deep/{path.name}")
    image = itk_image(markers, SPACING, ORIGIN)
    sitk.WriteImage(image, str(tmp_path / "d.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / "e.mhd"))
    sitk.WriteImage(image, str(tmp_path / "f.mha"))
    (tmp_path / "f.mha").write_bytes((tmp_path / "f.mha").read_bytes()[:-9])
    (tmp_path / "lost.raw").write_bytes(b"0" * 99)
    (tmp_path / "broken.zip").write_bytes((tmp_path / "c.zip").read_bytes()[:-99])
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    inventory = take_inventory(tmp_path)
    assert_verdicts_are_true(inventory)
    listed = {str(s.path.relative_to(tmp_path)): s for s in inventory.series}
    assert sorted(listed) == ["a/here", "b/there", "c.zip", "d.nii.gz", "e.mhd", "f.mha"]
    assert [name for name, s in listed.items() if not s.usable] == ["f.mha"]
    assert {o.path.name: o.reason for o in inventory.others} == {
        "lost.raw": inventory_files.FOREIGN,
        "broken.zip": inventory_files.DAMAGED,
        "dangling": inventory_files.DAMAGED,
    }


def test_only_a_look_finds_what_headers_do_not_say(tmp_path, markers, write_dicom, itk_image):
    def windowed(ds, k):
        ds.RescaleIntercept = "0"

    write_dicom(tmp_path / "s", np.abs(markers) % 256, SPACING, ORIGIN, change=windowed)
    grey = itk_image((np.abs(markers) % 256).astype(np.int16), SPACING, ORIGIN)
    sitk.WriteImage(grey, str(tmp_path / "t.nii"))
    assert {s.verdict for s in take_inventory(tmp_path).series} == {"usable"}
    looked = take_inventory(tmp_path, look_at_voxels=True)
    assert all("HU" in s.verdict for s in looked.series)
    assert_verdicts_are_true(looked)


def test_the_verdict_where_slices_may_be_resampled(tmp_path, markers, write_dicom):
    for number, (name, change) in enumerate({"a": tilt, "b": None, "c": doubled}.items()):
        uid = f"1.2.3.{number + 1}"
        paths = write_dicom(
            tmp_path / name, markers, SPACING, ORIGIN, series_uid=uid, change=change
        )
        if name == "b":
            shutil.copy(paths[3], tmp_path / name / "copy.dcm")
    listed = take_inventory(tmp_path, irregular="resample").series
    assert [s.usable for s in listed] == [True, True, False]
    for series in listed:
        assert (series.usable, series.verdict) == outcome(series, "resample")
    assert [s.usable for s in take_inventory(tmp_path).series] == [False] * 3


def test_processes_change_nothing(tmp_path, markers, write_dicom, monkeypatch):
    for number in range(2):
        write_dicom(
            tmp_path,
            markers,
            SPACING,
            ORIGIN,
            series_uid=f"1.2.3.{number + 1}",
            prefix=f"{number}-",
        )
    (tmp_path / "0-a.dcm").write_text("no DICOM")
    monkeypatch.setattr(inventory_files, "_CHUNK", 4)
    alone, together = take_inventory(tmp_path), take_inventory(tmp_path, jobs=2)
    assert str(alone) == str(together)
    assert len(alone.series) == 2


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="holds no files"):
        take_inventory(tmp_path)
    with pytest.raises(ScanError, match="does not exist"):
        take_inventory(tmp_path / "absent")


@pytest.mark.data
def test_real_series(shared_data):
    root = shared_data("dicom")
    inventory = take_inventory(root)
    assert_verdicts_are_true(inventory)
    assert len(inventory.series) == 6
    listed = {(s.path.name, s.acquisition.series_number): s for s in inventory.series}
    lidc = listed["LIDC-IDRI-0001", 3000566]
    ds = pydicom.dcmread(next((root / "LIDC-IDRI-0001").glob("*.dcm")), stop_before_pixels=True)
    assert lidc.acquisition.kernel == ds.ConvolutionKernel == "STANDARD"
    assert lidc.acquisition.patient_id == ds.PatientID
    assert (lidc.slices, lidc.spacing_mm[2], lidc.verdict) == (133, 2.5, "usable")
    assert listed["COVID-19-NY-SBU-A046441", 6].plane == "coronal"
    assert listed["Lung_Dx-A0002", 2].acquisition.patient_id == "Lung_Dx-A0002"
    assert inventory.reasons == {inventory_files.FOREIGN: 10}
