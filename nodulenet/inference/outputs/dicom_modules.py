"""What all DICOM outputs share: patient and study, equipment, UIDs, times, and how they are saved.

Standard: DICOM PS3.3 C.7.1 (patient), C.7.2 (study), C.7.3.1 (series), C.7.5.2 (enhanced
equipment), C.12.1 (SOP common); PS3.5 B.2 (UIDs made from UUIDs).
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import uuid
import warnings
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from nodulenet import __version__
from nodulenet.atomic import atomic_path
from nodulenet.ct.sources import printable
from nodulenet.errors import UsageError
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.dicom_source import SourceSeries, is_uid

MANUFACTURER = "NoduleNet"
RESEARCH_ONLY = "RESEARCH ONLY"
CHARACTER_SET = "ISO_IR 192"
"""UTF-8 holds every name and every finding id, whatever the source was written in."""

_NAMESPACE = uuid.UUID("6c0f7a52-93a3-5bd4-8f0e-3d0b7d1c9e21")
"""Of all UIDs that are made here; a random constant that must never change."""

_LONG_STRING = 64
_SHORT_NAME = 20
_HIGHEST_SOURCE_NUMBER = 9999

_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)
"""Must be there, empty where the source lacks them."""

# fmt: off
PATIENT_AND_STUDY = (
    # patient
    "ReferencedPatientSequence", "PatientName", "PatientID", "IssuerOfPatientID", "TypeOfPatientID",
    "IssuerOfPatientIDQualifiersSequence", "SourcePatientGroupIdentificationSequence",
    "GroupOfPatientsIdentificationSequence", "PatientBirthDate", "PatientBirthTime",
    "PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar",
    "PatientAlternativeCalendar", "PatientSex", "QualityControlSubject", "StrainDescription",
    "StrainNomenclature", "StrainStockSequence", "StrainAdditionalInformation",
    "StrainCodeSequence", "GeneticModificationsSequence", "OtherPatientNames",
    "OtherPatientIDsSequence", "ReferencedPatientPhotoSequence", "EthnicGroupCodeSequence",
    "PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription",
    "PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson",
    "ResponsiblePersonRole", "ResponsibleOrganization", "PatientComments", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    # clinical trial subject
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName",
    "IssuerOfClinicalTrialProtocolID", "OtherClinicalTrialProtocolIDsSequence",
    "ClinicalTrialSiteID", "ClinicalTrialSiteName", "IssuerOfClinicalTrialSiteID",
    "ClinicalTrialSubjectID", "IssuerOfClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
    "IssuerOfClinicalTrialSubjectReadingID", "ClinicalTrialProtocolEthicsCommitteeName",
    "ClinicalTrialProtocolEthicsCommitteeApprovalNumber",
    # general study
    "StudyDate", "StudyTime", "AccessionNumber", "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName", "ReferringPhysicianIdentificationSequence", "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence", "StudyDescription", "ProcedureCodeSequence",
    "PhysiciansOfRecord", "PhysiciansOfRecordIdentificationSequence",
    "NameOfPhysiciansReadingStudy", "PhysiciansReadingStudyIdentificationSequence",
    "ReferencedStudySequence", "StudyInstanceUID", "StudyID", "RequestingService",
    "RequestingServiceCodeSequence", "ReasonForPerformedProcedureCodeSequence",
    # patient study
    "AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "PatientAge", "PatientSize",
    "PatientSizeCodeSequence", "PatientBodyMassIndex", "MeasuredAPDimension",
    "MeasuredLateralDimension", "PatientWeight", "MedicalAlerts", "Allergies", "Occupation",
    "SmokingStatus", "AdditionalPatientHistory", "PregnancyStatus", "LastMenstrualDate",
    "PatientSexNeutered", "ReasonForVisit", "ReasonForVisitCodeSequence", "AdmissionID",
    "IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "ServiceEpisodeDescription",
    "IssuerOfServiceEpisodeIDSequence", "PatientState",
    # clinical trial study
    "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
    "LongitudinalTemporalOffsetFromEvent", "LongitudinalTemporalEventType",
    "ClinicalTrialTimePointTypeCodeSequence", "IssuerOfClinicalTrialTimePointID",
    "ConsentForClinicalTrialUseSequence",
)
# fmt: on


@dataclass(frozen=True)
class Series:
    """A series that is written, and what it is called.

    Attributes:
        kind: goes into its UIDs.
        modality: PS3.3 C.7.3.1.1.1.
        description: at most 64 characters.
        offset: added to a hundred times the source's series number.
    """

    kind: str
    modality: str
    description: str
    offset: int


def check_about(answers: Answers, source: SourceSeries) -> None:
    """Refuses answers that are not about this series, as far as that can be told.

    Raises:
        UsageError: answers of several scans, or the scan's name is the UID of another series.
    """
    table = answers.table
    scans = list(table["scan_id"].astype(str).unique()) if "scan_id" in table.columns else []
    if len(scans) > 1:
        raise UsageError(
            f"{source.where}: the answers are about {len(scans)} scans; expected one; write each "
            "scan's answers by themselves"
        )
    if scans and _names_a_series(scans[0]) and scans[0] != source.series_uid:
        raise UsageError(
            f"{source.where}: the answers are about series {scans[0]}; expected the same; give the "
            "series that was classified"
        )


def _names_a_series(scan_id: str) -> bool:
    """Whether a scan's name can only be a UID: a file may be called 2024.01.05 too."""
    return is_uid(scan_id) and len(scan_id) > _SHORT_NAME and scan_id.startswith(("1.", "2."))


def content_digest(answers: Answers, source: SourceSeries, *further: bytes) -> str:
    """Of everything that is written but for the time, as hexadecimal digits."""
    # asdict would copy the table.
    rest = asdict(replace(answers, table=answers.table.iloc[:0]))
    del rest["table"]
    digest = hashlib.sha256()
    for part in (
        __version__.encode(),
        source.series_uid.encode(),
        answers.table.to_json(orient="split", index=False, double_precision=15).encode(),
        json.dumps(rest, sort_keys=True, default=str).encode(),
        *further,
    ):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def made_uid(*parts: str) -> str:
    """A UID that the parts determine, at most 44 characters.

    The same answer written twice is the same instance, so that an archive that is sent it again
    keeps one; any other content is another instance, as the standard asks.
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, json.dumps(parts)).int}"


def local_moment(source: SourceSeries, made_at: datetime | None = None) -> datetime:
    """The time to write: in the source's offset from UTC where it states one, else local time.

    Times in one instance have one offset (PS3.3 C.12.1.1.8), and those of the study are copied.
    """
    moment = (made_at or datetime.now()).astimezone()
    offset = str(source.header.get("TimezoneOffsetFromUTC", "") or "").strip()
    if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdigit():
        sign = -1 if offset[0] == "-" else 1
        ahead = sign * timedelta(hours=int(offset[1:3]), minutes=int(offset[3:]))
        if abs(ahead) < timedelta(hours=24):
            moment = moment.astimezone(timezone(ahead))
    return moment.replace(tzinfo=None)


def series_number(source: SourceSeries, series: Series) -> int:
    """Beside the source's in a sorted list: 4 becomes 461, 462, 463."""
    try:
        number = int(source.header.get("SeriesNumber", 0) or 0)
    except (TypeError, ValueError):
        number = 0
    if not 0 <= number <= _HIGHEST_SOURCE_NUMBER:
        number = 90
    return 100 * number + series.offset


def long_string(text: str) -> str:
    """Text as the value representation LO takes it: one line of at most 64 characters."""
    line = printable(text).replace("\\", "/")
    return line if len(line) <= _LONG_STRING else line[: _LONG_STRING - 3] + "..."


def device_serial_number(answers: Answers) -> str:
    """The hash of the bundle stands for the device's number: it names exactly what answered."""
    return long_string(str(answers.bundle.get("hash") or "unknown"))


def bundle_name(answers: Answers) -> str:
    return long_string(str(answers.bundle.get("name") or "unnamed bundle"))


def copy_patient_and_study(target: Dataset, source: SourceSeries) -> None:
    """Takes over patient, study and clinical trial, as they are."""
    for keyword in PATIENT_AND_STUDY:
        if keyword in source.header:
            target[keyword] = copy.deepcopy(source.header[keyword])
        elif keyword in _TYPE_2:
            setattr(target, keyword, "")
    if "TimezoneOffsetFromUTC" in source.header:
        target.TimezoneOffsetFromUTC = source.header.TimezoneOffsetFromUTC


def new_instance(
    answers: Answers,
    source: SourceSeries,
    series: Series,
    sop_class_uid: str,
    digest: str,
    number: int,
    moment: datetime,
) -> FileDataset:
    """An instance with all but its own content: patient, study, series, equipment, SOP common.

    Args:
        answers, source, series: what it is about and what it belongs to.
        sop_class_uid: what it is.
        digest: of the content of the series (:func:`content_digest`).
        number: of the instance, from 1.
        moment: when its content was made.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class_uid
    meta.MediaStorageSOPInstanceUID = made_uid("instance", series.kind, digest, str(number))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    instance = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    instance.SpecificCharacterSet = CHARACTER_SET
    copy_patient_and_study(instance, source)
    instance.Modality = series.modality
    instance.SeriesInstanceUID = made_uid("series", series.kind, digest)
    instance.SeriesNumber = series_number(source, series)
    instance.SeriesDescription = long_string(series.description)
    instance.Manufacturer = MANUFACTURER
    instance.ManufacturerModelName = bundle_name(answers)
    instance.DeviceSerialNumber = device_serial_number(answers)
    instance.SoftwareVersions = __version__
    instance.SOPClassUID = sop_class_uid
    instance.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    instance.InstanceNumber = number
    instance.ContentQualification = "RESEARCH"
    instance.InstanceCreationDate = instance.ContentDate = moment.strftime("%Y%m%d")
    instance.InstanceCreationTime = instance.ContentTime = moment.strftime("%H%M%S")
    return instance


def references(source: SourceSeries) -> list[Dataset]:
    """An item a source image."""
    items = []
    for sop_class, sop_instance in source.instances:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = sop_instance
        items.append(item)
    return items


def save(instance: Dataset, path: str | Path) -> Path:
    """Writes a DICOM file, whole or not at all."""
    # In memory first: pydicom tells of a full disk without its error number.
    content = io.BytesIO()
    with warnings.catch_warnings():
        # What the source says of the patient is handed on even where it breaks the standard.
        warnings.simplefilter("ignore")
        instance.save_as(content, enforce_file_format=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    return Path(path)
