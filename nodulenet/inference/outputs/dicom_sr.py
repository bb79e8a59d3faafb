"""Answers as a DICOM Structured Report (extra ``[dicom-sr]``, highdicom).

A Comprehensive 3D SR after TID 1500 with one planar ROI group (TID 1410) a finding: a point in the
frame of reference of the CT, tracking identifiers, the probability under a name that says what it
is, its range over the fold models, class, conformal answer and diameter where they are known, and
which algorithm said so. Unverified, preliminary, research use only.
Standard: DICOM PS3.3 A.35.13, PS3.16 TID 1500, 1501, 1410, 300, 4019.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydicom.dataset import Dataset
from pydicom.sr.codedict import Code, codes

from nodulenet import __version__
from nodulenet.config.meaning import MEANINGS
from nodulenet.ct.sources import printable
from nodulenet.errors import DataError, MissingDependencyError, UsageError
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.dicom_concepts import (
    CALL,
    CONFORMAL,
    GIVEN,
    HIGHEST,
    LOWEST,
    SCHEME,
    Concept,
    class_concept,
    probability_concept,
)
from nodulenet.inference.outputs.dicom_modules import (
    CHARACTER_SET,
    MANUFACTURER,
    RESEARCH_ONLY,
    Series,
    bundle_name,
    check_about,
    content_digest,
    copy_patient_and_study,
    device_serial_number,
    local_moment,
    made_uid,
    save,
    series_number,
)
from nodulenet.inference.outputs.dicom_source import SourceSeries

SERIES = Series("sr", "SR", f"{RESEARCH_ONLY}: nodule probabilities (NoduleNet)", 61)

_POINT = ("x_lps_mm", "y_lps_mm", "z_lps_mm")
_NOTICE = (
    "RESEARCH USE ONLY. Made by software, verified by nobody. Not for diagnosis, not for the "
    "patient's care."
)


def write_sr(
    answers: Answers,
    source: SourceSeries,
    path: str | Path,
    *,
    made_at: datetime | None = None,
) -> Path:
    """Write the answers about one scan as one structured report.

    The same answers about the same series have the same UIDs, whenever they are written; any other
    probability, point, bundle or version has others. A finding's tracking UID depends on its
    series, name and place alone, so that reports of several bundles speak of the same finding.

    Args:
        answers: with the points of one scan.
        source: the CT series of that scan.
        path: the file to write.
        made_at: when the answers were made, in local time unless it states its zone. Defaults to
            now.

    Returns:
        The path.

    Raises:
        MissingDependencyError: highdicom is not installed.
        UsageError: no answers, or about another scan.
        DataError: a finding has no point.
        ScanError: the series has no frame of reference.
    """
    try:
        import highdicom as hd
        from highdicom.coding_schemes import CodingSchemeIdentificationItem
    except ImportError:
        raise MissingDependencyError(
            f"{path}: a DICOM Structured Report needs highdicom, which is not installed; "
            "pip install 'nodulenet[dicom-sr]'"
        ) from None
    if answers.table.empty:
        raise UsageError(
            f"{source.where}: not one finding was answered; expected at least one, because a "
            "report without measurements is none; see the failures"
        )
    check_about(answers, source)
    _check_points(answers, source)
    frame = source.frame_of_reference_uid
    digest = content_digest(answers, source)
    moment = local_moment(source, made_at)
    groups = [_group(row, answers, source, frame) for row in answers.table.to_dict("records")]
    report = hd.sr.MeasurementReport(
        observation_context=_observer(answers),
        procedure_reported=codes.cid100.CTUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.cid7021.ImagingMeasurementReport,
    )
    # The notice stands before the numbers wherever a viewer renders the tree as text.
    report[0].ContentSequence.insert(-1, _comment(_NOTICE))
    for text in _comments(answers):
        report[0].ContentSequence.append(_comment(text))
    sr = hd.sr.Comprehensive3DSR(
        evidence=_evidence(source),
        content=report,
        series_instance_uid=made_uid("series", SERIES.kind, digest),
        series_number=series_number(source, SERIES),
        sop_instance_uid=made_uid("instance", SERIES.kind, digest, "1"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        # Of what was asked: complete unless a finding failed. Never final: it is research.
        is_complete=not answers.failures,
        is_final=False,
        is_verified=False,
        series_description=SERIES.description,
        manufacturer_model_name=bundle_name(answers),
        software_versions=__version__,
        device_serial_number=device_serial_number(answers),
        content_qualification="RESEARCH",
        content_date=moment.date(),
        content_time=moment.time().replace(microsecond=0),
        specific_character_set=CHARACTER_SET,
        coding_schemes=[
            CodingSchemeIdentificationItem(
                designator=SCHEME,
                name="NoduleNet concepts",
                version="1",
                responsible_organization="The NoduleNet authors",
            )
        ],
    )
    if answers.failures:
        asked = len(answers.failures) + len(answers.table)
        sr.CompletionFlagDescription = f"{len(answers.failures)} of {asked} findings not answered"
    sr.InstanceCreationDate, sr.InstanceCreationTime = sr.ContentDate, sr.ContentTime
    copy_patient_and_study(sr, source)
    return save(sr, path)


def _check_points(answers: Answers, source: SourceSeries) -> None:
    table = answers.table
    lacking = [name for name in _POINT if name not in table.columns]
    if lacking:
        raise DataError(
            f"{source.where}: the answers have no column {', '.join(lacking)}; expected points of "
            "a scan in LPS mm; patches have no place in it: write CSV or JSON"
        )
    placed = np.isfinite(table[list(_POINT)].to_numpy(dtype=np.float64)).all(axis=1)
    if not placed.all():
        first = table["finding_id"].iloc[int(np.argmin(placed))]
        raise DataError(
            f"{source.where}: {int((~placed).sum())} findings have no point, first "
            f"{str(first)!r}; expected x, y, z in LPS mm for each; leave them out"
        )


def _group(row: Mapping[Any, Any], answers: Answers, source: SourceSeries, frame: str) -> Any:
    """One finding as TID 1410."""
    import highdicom as hd
    from highdicom.sr import templates

    point = [float(row[name]) for name in _POINT]
    finding = printable(str(row["finding_id"]))
    evaluations = [
        templates.QualitativeEvaluation(_coded(concept), _coded(class_concept(str(row[column]))))
        for column, concept in (("call", CALL), ("conformal", CONFORMAL))
        if _known(row, column)
    ]
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=made_uid("finding", source.series_uid, finding, *(f"{v:.2f}" for v in point)),
            identifier=finding,
        ),
        referenced_region=hd.sr.ImageRegion3D(
            graphic_type=hd.sr.GraphicTypeValues3D.POINT,
            graphic_data=np.array([point]),
            frame_of_reference_uid=frame,
        ),
        finding_type=codes.SCT.Nodule,
        finding_sites=[hd.sr.FindingSite(anatomic_location=codes.SCT.Lung)],
        algorithm_id=_algorithm(answers),
        measurements=_measurements(row, answers),
        qualitative_evaluations=evaluations or None,
    )
    if _known(row, "warnings"):
        for warning in str(row["warnings"]).split("; "):
            group[0].ContentSequence.append(_comment(f"Warning: {warning}"))
    return group


def _measurements(row: Mapping[Any, Any], answers: Answers) -> list[Any]:
    import highdicom as hd

    measured = [
        hd.sr.Measurement(
            name=_coded(concept), value=100.0 * float(row[column]), unit=codes.UCUM.Percent
        )
        for column, concept in (
            ("probability", probability_concept(answers)),
            ("fold_low", LOWEST),
            ("fold_high", HIGHEST),
        )
        if _known(row, column)
    ]
    if _known(row, "diameter_mm"):
        measured.append(
            hd.sr.Measurement(
                name=codes.SCT.Diameter,
                value=float(row["diameter_mm"]),
                unit=codes.UCUM.Millimeter,
                # The group names our algorithm, which has not measured this.
                method=_coded(GIVEN),
            )
        )
    return measured


def _algorithm(answers: Answers) -> Any:
    import highdicom as hd

    point = answers.operating_point
    parameters = {
        "bundle": answers.bundle.get("name"),
        "bundle BLAKE2 hash": answers.bundle.get("hash"),
        "bundle written by NoduleNet": answers.bundle.get("nodulenet"),
        "model": answers.model,
        "label meaning": answers.label_meaning,
        "classes": " / ".join(answers.class_names),
        "prevalence": f"{answers.prevalence:.6g}",
        "operating point": f"{point.name}, threshold {point.threshold:.6g}" if point else None,
        "miss rate": None if answers.miss_rate is None else f"{answers.miss_rate:.6g}",
    }
    return hd.sr.AlgorithmIdentification(
        name="NoduleNet",
        version=__version__,
        manufacturer="The NoduleNet authors",
        parameters=[printable(f"{name}: {value}") for name, value in parameters.items() if value],
    )


def _observer(answers: Answers) -> Any:
    import highdicom as hd

    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=made_uid("device", device_serial_number(answers), __version__),
                name="NoduleNet",
                manufacturer_name="The NoduleNet authors",
                model_name=bundle_name(answers),
                serial_number=device_serial_number(answers),
            ),
        )
    )


def _comments(answers: Answers) -> list[str]:
    """What a reader must know, in sentences. Errors stay out."""
    meaning = answers.meaning[:1].upper() + answers.meaning[1:]
    texts = [
        f"{meaning}. {MEANINGS[answers.label_meaning].explanation}",
        f"It holds where the share of positives is {answers.prevalence:.3g}. The lowest and the "
        "highest probability among the fold models are a range, not an interval.",
    ]
    if answers.bundle.get("card"):
        texts.append(f"Bundle: {answers.bundle['card']}")
    texts.extend(f"Warning: {text}" for text in answers.warnings)
    if answers.failures:
        unanswered = ", ".join(str(failure["what"]) for failure in answers.failures)
        texts.append(f"Not answered: {unanswered}")
    return texts


def _comment(text: str) -> Any:
    import highdicom as hd

    return hd.sr.TextContentItem(
        name=codes.DCM.Comment,
        value=printable(text),
        relationship_type=hd.sr.RelationshipTypeValues.CONTAINS,
    )


def _evidence(source: SourceSeries) -> list[Dataset]:
    """The source images as highdicom asks for them.

    Patient and study stay empty here: highdicom refuses values that break the standard, which are
    copied afterwards as they are.
    """
    evidence = []
    for sop_class, sop_instance in source.instances:
        image = Dataset()
        image.SOPClassUID = sop_class
        image.SOPInstanceUID = sop_instance
        image.StudyInstanceUID = source.study_uid
        image.SeriesInstanceUID = source.series_uid
        evidence.append(image)
    first = evidence[0]
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        setattr(first, name, "")
    for name in ("AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        setattr(first, name, "")
    return evidence


def _coded(concept: Concept) -> Code:
    value, scheme, meaning = concept
    return Code(value, scheme, meaning)


def _known(row: Mapping[Any, Any], column: str) -> bool:
    value = row.get(column)
    return not (value is None or pd.isna(value) or value == "")
