"""How a series was made, by one of its headers: scanner, kernel, dose, contrast, study.

Names, birth dates and ids of the patient are read for one purpose: to take them out of the free
texts (descriptions) in which people write them. They are kept nowhere.
Standard: DICOM PS3.3 C.7.3.1 (series), C.7.5.1 (equipment), C.8.2.1 (CT image), C.8.15 (enhanced
CT, whose facts stand in functional groups).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from nodulenet.ct.dicom_header import PARSE_ERRORS
from nodulenet.ct.sources import printable

REMOVED = "[removed]"
"""What stands in a text where the patient's name or birth date stood."""

_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName")

_SHORTEST_WITHIN = 4
"""Letters from which on a part of a name is looked for within words, too (DOEJOHN)."""

_GROUPS = {
    "ConvolutionKernel": "CTReconstructionSequence",
    "KVP": "CTXRayDetailsSequence",
    "ExposureInmAs": "CTExposureSequence",
}
"""Where enhanced images keep what older ones have at the top."""


@dataclass(frozen=True)
class Acquisition:
    """How a series was made; empty texts and ``None`` where the header does not say.

    ``exposure_mas`` is (0018,1152) or, in enhanced images, (0018,9332). ``patient_id`` is the
    header's own: tables get its pseudonym.
    """

    study_uid: str = ""
    series_number: int | None = None
    description: str = ""
    study_description: str = ""
    protocol: str = ""
    kernel: str = ""
    contrast_agent: str = ""
    manufacturer: str = ""
    manufacturer_model_name: str = ""
    kvp: float | None = None
    exposure_mas: float | None = None
    frame_of_reference_uid: str = ""
    # Not in what is printed for a log.
    patient_id: str = field(default="", repr=False)


@dataclass(frozen=True)
class Personal:
    """What must not stay in a text: names, the id, and the ways to write a birth date."""

    pattern: re.Pattern[str] | None = None

    def taken_out(self, text: str) -> str:
        """The text with :data:`REMOVED` where something personal stood."""
        return text if self.pattern is None else self.pattern.sub(REMOVED, text)


def acquisition_of(dataset: Any) -> tuple[Acquisition, Personal]:
    """The acquisition in a dataset, without what is personal in it, and what that was.

    Wrong values (a kVp that is no number) count as absent: nothing depends on them.
    """
    exposure = _number(dataset, "Exposure")
    number = _number(dataset, "SeriesNumber")
    found = Acquisition(
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_number=None if number is None else int(number),
        description=_text(dataset, "SeriesDescription"),
        study_description=_text(dataset, "StudyDescription"),
        protocol=_text(dataset, "ProtocolName"),
        kernel=_text(dataset, "ConvolutionKernel"),
        contrast_agent=_text(dataset, "ContrastBolusAgent"),
        manufacturer=_text(dataset, "Manufacturer"),
        manufacturer_model_name=_text(dataset, "ManufacturerModelName"),
        kvp=_number(dataset, "KVP"),
        exposure_mas=_number(dataset, "ExposureInmAs") if exposure is None else exposure,
        frame_of_reference_uid=_text(dataset, "FrameOfReferenceUID"),
        patient_id=_text(dataset, "PatientID"),
    )
    personal = _personal(dataset)
    return _without(found, personal), personal


def _without(found: Acquisition, personal: Personal) -> Acquisition:
    changed: dict[str, str] = {}
    for one in fields(found):
        value = getattr(found, one.name)
        if isinstance(value, str) and not one.name.endswith(("_uid", "patient_id")):
            changed[one.name] = personal.taken_out(value)
    return replace(found, **changed)  # type: ignore[arg-type]


def _personal(dataset: Any) -> Personal:
    alternatives = []
    patient_id = _text(dataset, "PatientID").casefold()
    written = [c.strip() for name in _NAMES for c in re.split(r"[\^=\\]", _text(dataset, name))]
    # Data without names carry the id in place of the name, as in the public collections.
    names = [n for n in written if n.casefold() != patient_id or not re.search(r"\d", n)]
    parts = {p for name in names for p in re.split(r"[\W\d_]+", name) if p}
    # Longer parts first, so that none is cut in two.
    for part in sorted(parts, key=lambda p: (-len(p), p)):
        if len(part) >= _SHORTEST_WITHIN:
            alternatives.append(re.escape(part))
        elif len(part) > 1:
            alternatives.append(rf"(?<![^\W\d_]){re.escape(part)}(?![^\W\d_])")
    date = re.sub(r"\D", "", _text(dataset, "PatientBirthDate"))
    if len(date) == 8:
        year, month, day = date[:4], _padded(date[4:6]), _padded(date[6:])
        between = r"[-./ ]?"
        for order in ((year, month, day), (day, month, year), (month, day, year)):
            alternatives.append(rf"(?<!\d){between.join(order)}(?!\d)")
    if len(patient_id) > _SHORTEST_WITHIN and re.search(r"\d{4}|\d.*[a-z]|[a-z].*\d", patient_id):
        # Shorter numbers and words without any stand for other things, too.
        alternatives.insert(0, rf"(?<![^\W_]){re.escape(patient_id)}(?![^\W_])")
    if not alternatives:
        return Personal()
    return Personal(re.compile("|".join(alternatives), re.IGNORECASE))


def _padded(number: str) -> str:
    """Two digits, of which a leading 0 may be left out."""
    return f"0?{number[1]}" if number[0] == "0" else number


def _text(dataset: Any, name: str) -> str:
    """A tag as text, several values with a backslash between them, as DICOM writes them."""
    for place in _places(dataset, name):
        value = _value(place, name)
        if value is None or value == "":
            continue
        single = isinstance(value, str | bytes | int | float) or not hasattr(value, "__iter__")
        # A person's name is iterated over by its letters.
        parts = [value] if single or type(value).__name__ == "PersonName" else list(value)
        return printable("\\".join(str(part) for part in parts))
    return ""


def _number(dataset: Any, name: str) -> float | None:
    try:
        value = float(_text(dataset, name).split("\\")[0])
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _value(dataset: Any, name: str) -> Any:
    try:
        return dataset.get(name, None)
    except PARSE_ERRORS:
        return None  # a value that pydicom cannot convert


def _places(dataset: Any, name: str) -> Iterator[Any]:
    """The dataset and, for enhanced images, the functional group that has the tag."""
    yield dataset
    sequence = _GROUPS.get(name)
    if sequence is None:
        return
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(_value(dataset, groups) or ())[:1]:
            yield from list(_value(group, sequence) or ())[:1]
