"""Pages of the finding sheet as DICOM Secondary Capture images, which every viewer shows.

"RESEARCH ONLY" is burnt into a band above each page, so that no setting of a viewer hides it.
Standard: DICOM PS3.3 A.8.1 (Secondary Capture IOD), C.8.6 (its modules).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from nodulenet import __version__
from nodulenet.errors import UsageError
from nodulenet.inference.answers import Answers
from nodulenet.inference.outputs.dicom_modules import (
    MANUFACTURER,
    RESEARCH_ONLY,
    Series,
    bundle_name,
    check_about,
    content_digest,
    local_moment,
    new_instance,
    references,
    save,
)
from nodulenet.inference.outputs.dicom_source import SourceSeries

SERIES = Series("capture", "OT", f"{RESEARCH_ONLY}: finding sheet (NoduleNet)", 62)

BAND_TEXT = f"{RESEARCH_ONLY} - NOT FOR DIAGNOSIS"
_BAND_COLOUR = (140, 0, 0)
_LEAST_BAND_ROWS = 24
_PAGE_SHARE = 40
_LEAST_TEXT_PIXELS = 6
_MOST_PIXELS = 2**16 - 1


def write_secondary_capture(
    answers: Answers,
    source: SourceSeries,
    pages: Sequence[npt.NDArray[np.uint8]],
    folder: str | Path,
    *,
    name: str = "finding_sheet",
    made_at: datetime | None = None,
) -> list[Path]:
    """Write pages as one series of images, uncompressed.

    Args:
        answers: what the pages show.
        source: the CT series of the scan.
        pages: (rows, columns, 3) uint8 RGB each.
        folder: where the files ``NAME_001.dcm``, ... go.
        name: start of the files' names.
        made_at: as for :func:`nodulenet.inference.outputs.dicom_sr.write_sr`.

    Returns:
        The files, a page each.

    Raises:
        UsageError: no pages, or not RGB of 8 bits; answers about another scan.
    """
    check_about(answers, source)
    for number, page in enumerate(pages, 1):
        if page.dtype != np.uint8 or page.ndim != 3 or page.shape[2] != 3 or page.size == 0:
            raise UsageError(
                f"page {number} has shape {page.shape} and dtype {page.dtype}; expected (rows, "
                "columns, 3) of uint8; convert it to RGB"
            )
    if not pages:
        raise UsageError("there are no pages; expected at least one; draw the finding sheet first")
    stamped = [with_band(page) for page in pages]
    digest = content_digest(answers, source, *(page.tobytes() for page in stamped))
    moment = local_moment(source, made_at)
    return [
        save(
            _image(answers, source, page, digest, number, len(stamped), moment),
            Path(folder) / f"{name}_{number:03d}.dcm",
        )
        for number, page in enumerate(stamped, 1)
    ]


def band_rows(rows: int) -> int:
    """Height of the band that is set above a page of so many rows."""
    return max(_LEAST_BAND_ROWS, rows // _PAGE_SHARE)


def with_band(page: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The page below a band that says what it is for; the page itself is unchanged.

    Raises:
        UsageError: it is larger than DICOM takes.
    """
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = page.shape[:2]
    height = band_rows(rows)
    if max(rows + height, columns) > _MOST_PIXELS:
        raise UsageError(
            f"a page has {columns} x {rows} pixels; expected at most {_MOST_PIXELS}; draw it "
            "with fewer dots per inch"
        )
    band = Image.new("RGB", (columns, height), _BAND_COLOUR)
    draw = ImageDraw.Draw(band)
    size = int(0.7 * height)
    while (
        size > _LEAST_TEXT_PIXELS
        and draw.textlength(BAND_TEXT, font=ImageFont.load_default(size)) > 0.95 * columns
    ):
        size -= 1
    draw.text(
        (columns / 2, height / 2),
        BAND_TEXT,
        fill=(255, 255, 255),
        font=ImageFont.load_default(size),
        anchor="mm",
    )
    return np.concatenate([np.asarray(band, dtype=np.uint8), page])


def _image(
    answers: Answers,
    source: SourceSeries,
    pixels: npt.NDArray[np.uint8],
    digest: str,
    number: int,
    count: int,
    moment: datetime,
) -> Dataset:
    image = new_instance(
        answers, source, SERIES, SecondaryCaptureImageStorage, digest, number, moment
    )
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.ConversionType = "WSD"
    image.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    image.SecondaryCaptureDeviceManufacturerModelName = bundle_name(answers)
    image.SecondaryCaptureDeviceSoftwareVersions = __version__
    image.DateOfSecondaryCapture, image.TimeOfSecondaryCapture = (
        image.ContentDate,
        image.ContentTime,
    )
    # A page shows three planes: no one orientation is true of it.
    image.PatientOrientation = ""
    # Not one of a pair, so that no side of the body needs to be stated.
    image.BodyPartExamined = "CHEST"
    image.BurnedInAnnotation = "YES"
    image.LossyImageCompression = "00"
    image.DerivationDescription = "Drawn by software from CT and a model's answers"
    image.ImageComments = f"{BAND_TEXT}. Page {number} of {count}: {answers.meaning}"
    image.SourceImageSequence = references(source)
    image.Rows, image.Columns = pixels.shape[:2]
    image.SamplesPerPixel = 3
    image.PhotometricInterpretation = "RGB"
    image.PlanarConfiguration = 0
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.PixelRepresentation = 0
    data = np.ascontiguousarray(pixels).tobytes()
    image.PixelData = data + b"\0" * (len(data) % 2)
    image["PixelData"].VR = "OB"
    return image
