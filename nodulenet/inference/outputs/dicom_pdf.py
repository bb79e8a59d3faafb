"""The finding sheet's PDF inside a DICOM instance, so that archives keep it with the study.

Standard: DICOM PS3.3 A.45.1 (Encapsulated PDF IOD), C.24 (its modules).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from nodulenet.errors import UsageError
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.dicom_modules import (
    RESEARCH_ONLY,
    Series,
    check_about,
    content_digest,
    local_moment,
    new_instance,
    references,
    save,
)
from nodulenet.inference.outputs.dicom_source import SourceSeries

SERIES = Series("pdf", "DOC", f"{RESEARCH_ONLY}: finding sheet, PDF (NoduleNet)", 63)

TITLE = f"{RESEARCH_ONLY} - NOT FOR DIAGNOSIS: finding sheet (NoduleNet)"

_MARK = b"%PDF-"
_MARK_WITHIN = 1024
_MOST_BYTES = 2**32 - 2


def write_encapsulated_pdf(
    answers: Answers,
    source: SourceSeries,
    pdf: bytes,
    path: str | Path,
    *,
    made_at: datetime | None = None,
) -> Path:
    """Write a PDF as a DICOM instance in a series of its own.

    What the PDF shows is not looked into: the sheet itself must say that it is for research only,
    as ours does. The UIDs depend on its bytes: a PDF that carries the time it was made is another
    instance each time.

    Args:
        answers: what the PDF shows.
        source: the CT series of the scan.
        pdf: the file's bytes.
        path: the DICOM file to write.
        made_at: as for :func:`nodulenet.inference.outputs.dicom_sr.write_sr`.

    Returns:
        The path.

    Raises:
        UsageError: the bytes are no PDF, or too many; answers about another scan.
    """
    check_about(answers, source)
    if _MARK not in pdf[:_MARK_WITHIN] or len(pdf) > _MOST_BYTES:
        raise UsageError(
            f"{path}: was given {len(pdf)} bytes that begin with {pdf[:8]!r}; expected a PDF of at "
            f"most {_MOST_BYTES} bytes; draw the finding sheet as PDF"
        )
    digest = content_digest(answers, source, pdf)
    moment = local_moment(source, made_at)
    document = new_instance(answers, source, SERIES, EncapsulatedPDFStorage, digest, 1, moment)
    document.ConversionType = "WSD"
    document.AcquisitionDateTime = _acquired(source.header)
    document.BurnedInAnnotation = "YES"
    document.DocumentTitle = TITLE
    document.ConceptNameCodeSequence = []
    document.VerificationFlag = "UNVERIFIED"
    document.SourceInstanceSequence = references(source)
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    document.EncapsulatedDocumentLength = len(pdf)
    return save(document, path)


def _acquired(header: Dataset) -> str:
    """When the source was acquired, as far as it says so."""
    stated = str(header.get("AcquisitionDateTime", "") or "")
    if stated:
        return stated
    date = str(header.get("AcquisitionDate", "") or "")
    return date + str(header.get("AcquisitionTime", "") or "") if date else ""
