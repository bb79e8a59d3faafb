"""Points as rows and columns of DICOM images, as viewers show and readers write them.

An image is named by its SOP Instance UID, or by series number (or UID) and image number. The image
number is no slice index: it may run against the slices and have gaps. Each point is placed by its
own image's position, orientation and pixel spacing (DICOM PS3.3 C.7.6.2.1.1), never by counting
slices.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pandas as pd

from nodulenet.config.schema import CsvFormat
from nodulenet.config.sources import FIRST_PIXELS
from nodulenet.ct import CTVolume
from nodulenet.ct.planes import ImagePlane
from nodulenet.errors import FindingsError, UsageError
from nodulenet.findings.points import coordinate_names, our_name, read_rows
from nodulenet.findings.reading import FIRST_ROW_LINE, csv_columns
from nodulenet.findings.table import POINT_COLUMNS

_NUMBERS = ("row", "column")
_WHOLE = ("series_number", "instance_number", "frame_number")
_NAMES = ("sop_instance_uid", "instance_number")
_ANOTHER_SERIES = (
    "place them with `nodulenet findings points FILE --scan THAT_SERIES --out t.csv` and give t.csv"
)


def names_images(columns: Collection[str]) -> bool:
    """Whether a CSV of these columns gives its points as rows and columns of images.

    Coordinates in millimetres or voxels go before them.
    """
    ours = {our_name(column, columns) for column in columns}
    return coordinate_names(columns) is None and set(_NUMBERS) <= ours


def read_image_points(path: str | Path, *, form: CsvFormat | None = None) -> pd.DataFrame:
    """Rows of a CSV of points in images, not yet placed.

    Args:
        path: the file.
        form: its separator and decimal sign. Defaults to commas and points.

    Returns:
        ``row, column`` (float64, as written), what names the image (``sop_instance_uid`` text,
        ``series_uid`` text, ``series_number, instance_number, frame_number`` float64, NaN where
        empty), and the other columns. The index counts the rows of the file.

    Raises:
        FindingsError: no such columns, a value that is no number, or a CSV that is written
            otherwise than declared.
    """
    columns = csv_columns(path, form or CsvFormat())
    spelled = {our_name(column, columns): column for column in columns}
    if not any(name in spelled for name in _NAMES):
        raise FindingsError(
            f"{path}: found the columns {', '.join(columns)}, expected the image of each row and "
            f"column: sop_instance_uid, or series_number and instance_number; add them"
        )
    by_number = "series_number" in spelled or "series_uid" in spelled
    if "sop_instance_uid" not in spelled and not by_number:
        raise FindingsError(
            f"{path}: column 'series_number' is missing; an image number alone does not say of "
            f"which series it is; add series_number, or name images by sop_instance_uid"
        )
    return read_rows(
        path,
        columns,
        form,
        numbers=[spelled[name] for name in _NUMBERS],
        optional_numbers=[spelled[name] for name in _WHOLE if name in spelled],
    )


def place_on_images(
    rows: pd.DataFrame, volume: CTVolume, file: str | Path, *, first_pixel: float = 0.0
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows of :func:`read_image_points` that are of a scan's series, in LPS mm.

    Args:
        rows: of this scan, as far as ``scan_id`` says; their index says the line of the file.
        volume: the scan.
        file: the file, for messages.
        first_pixel: what row and column are at the centre of an image's first pixel: 0, 0.5 or 1.
            Defaults to 0.

    Returns:
        The rows with ``x_lps_mm, y_lps_mm, z_lps_mm`` and, as far as the scan knows them,
        ``series_uid`` and ``frame_of_reference_uid``; and a note of rows of other series, which
        are left out.

    Raises:
        FindingsError: the scan is no DICOM, no row is of its series, an image is not in it or
            named ambiguously, a place lies outside its image.
        UsageError: another ``first_pixel``.
    """
    if first_pixel not in FIRST_PIXELS:
        raise UsageError(f"first_pixel is {first_pixel!r}; expected 0, 0.5 or 1")
    if not volume.planes:
        raise FindingsError(
            f"{file}: gives rows and columns of DICOM images, but the scan "
            f"{volume.source or volume.series_uid} is {volume.format} and has none; "
            f"{_ANOTHER_SERIES}"
        )
    images = _Images(volume)
    placed: dict[int, list[float]] = {}
    for index, row in rows.iterrows():
        where = _Row(str(file), int(str(index)) + FIRST_ROW_LINE, row)
        plane = images.find(where)
        if plane is not None:
            placed[int(str(index))] = where.place(plane, first_pixel)
    other = len(rows) - len(placed)
    if not placed:
        numbers = " and ".join(map(str, sorted(images.series_numbers))) or "none"
        raise FindingsError(
            f"{file}: none of its {len(rows)} rows is of the series {volume.series_uid} "
            f"(number {numbers}); the first names {_Row.named(rows.iloc[0])}; "
            f"rows and columns hold on their own series: {_ANOTHER_SERIES}"
        )
    result = rows.loc[list(placed)].copy()
    result[list(POINT_COLUMNS)] = list(placed.values())
    whole = [name for name in _WHOLE if name in result]
    result[whole] = result[whole].astype("Int64")
    result["series_uid"] = volume.series_uid
    if volume.frame_of_reference_uid:
        result["frame_of_reference_uid"] = volume.frame_of_reference_uid
    if not other:
        return result, ()
    first = rows.loc[[index not in placed for index in rows.index]].iloc[0]
    return result, (
        f"{file}: {other} rows are of other series than {volume.series_uid} and are left out; the "
        f"first names {_Row.named(first)}",
    )


@dataclass(frozen=True)
class _Row:
    """One row of the file, for messages by its line."""

    file: str
    line: int
    values: pd.Series

    def text(self, name: str) -> str:
        return str(self.values.get(name, "") or "")

    def whole(self, name: str) -> int | None:
        """A column's whole number, None where it is absent or empty."""
        value = self.values.get(name)
        if value is None or pd.isna(value):
            return None
        if not float(value).is_integer():
            self.refuse(name, f"{value:g}", "a whole number", "correct or remove the row")
        return int(value)

    def place(self, plane: ImagePlane, first_pixel: float) -> list[float]:
        sizes = {"row": plane.rows, "column": plane.columns}
        for name, size in sizes.items():
            value = float(self.values[name])
            low, high = first_pixel - 0.5, first_pixel + size - 0.5
            if not low <= value <= high:
                fits = next((f for f in FIRST_PIXELS if f - 0.5 <= value <= f + size - 0.5), None)
                counted = "" if fits is None else f"if pixels count from {fits:g}, declare that; "
                self.refuse(
                    name,
                    f"{value:g}",
                    f"{low:g} to {high:g} for {size} pixels counted from {first_pixel:g} at the "
                    f"first one's centre",
                    f"{counted}correct or remove the row",
                )
        row, column = (float(self.values[name]) - first_pixel for name in _NUMBERS)
        point: list[float] = plane.points_of([row], [column])[0].tolist()
        return point

    def refuse(self, column: str, found: str, expected: str, remedy: str) -> NoReturn:
        raise FindingsError(
            f"{self.file}: line {self.line}, column {column!r}: found {found}, expected "
            f"{expected}; {remedy}"
        )

    @staticmethod
    def named(values: pd.Series) -> str:
        """What a row says of its image."""
        given = [name for name in ("sop_instance_uid", "series_uid", *_WHOLE) if name in values]
        parts = [
            f"{name} {values[name]:g}" if name in _WHOLE else f"{name} {values[name]}"
            for name in given
            if not pd.isna(values[name]) and values[name] != ""
        ]
        return ", ".join(parts) or "no image"


class _Images:
    """The images of one series, to be found by what a row says."""

    def __init__(self, volume: CTVolume) -> None:
        self.series_uid = volume.series_uid
        self.series_numbers = {
            plane.series_number for plane in volume.planes if plane.series_number is not None
        }
        self.by_uid: dict[str, list[ImagePlane]] = {}
        self.by_number: dict[int, list[ImagePlane]] = {}
        for plane in volume.planes:
            if plane.sop_instance_uid:
                self.by_uid.setdefault(plane.sop_instance_uid, []).append(plane)
            if plane.instance_number is not None:
                self.by_number.setdefault(plane.instance_number, []).append(plane)

    def find(self, row: _Row) -> ImagePlane | None:
        """The image that a row names; None where it is of another series."""
        uid = row.text("sop_instance_uid")
        if uid:
            return self._the_one(row, "sop_instance_uid", self.by_uid.get(uid, []), uid)
        return self._by_number(row)

    def _by_number(self, row: _Row) -> ImagePlane | None:
        series, number = row.text("series_uid"), row.whole("series_number")
        if not series and number is None:
            column = "series_uid" if "series_uid" in row.values else "series_number"
            row.refuse(column, "nothing", "the image's series", "fill it in, or remove the row")
        if series and series != self.series_uid:
            return None
        if number is not None and number not in self.series_numbers:
            return None
        image = row.whole("instance_number")
        if image is None:
            row.refuse(
                "instance_number", "nothing", "an image number", "fill it in, or remove the row"
            )
        found = [
            plane
            for plane in self.by_number.get(image, [])
            if number is None or plane.series_number == number
        ]
        if not found:
            row.refuse("instance_number", str(image), self._numbers(), "correct or remove the row")
        return self._the_one(row, "instance_number", found, str(image))

    def _the_one(
        self, row: _Row, column: str, found: list[ImagePlane], shown: str
    ) -> ImagePlane | None:
        """The one place of the images that a name fits; frames are told apart by their number."""
        frame = row.whole("frame_number")
        if frame is not None:
            frames = [plane for plane in found if (plane.frame_number or 1) == frame]
            if found and not frames:
                row.refuse(
                    "frame_number",
                    str(frame),
                    f"1 to {max(plane.frame_number or 1 for plane in found)}",
                    "correct or remove the row",
                )
            found = frames
        if len({plane.place for plane in found}) > 1:
            if all(plane.frame_number is not None for plane in found):
                row.refuse(
                    column,
                    f"{shown}, an image of {len(found)} frames",
                    "the frame, too",
                    "add the column frame_number (from 1)",
                )
            row.refuse(
                column,
                f"{shown}, which {len(found)} images at different places bear",
                "one image",
                "name the images by sop_instance_uid",
            )
        if found:
            self._refuse_contradiction(row, found[0])
        return found[0] if found else None

    def _refuse_contradiction(self, row: _Row, plane: ImagePlane) -> None:
        """A row that names its image twice, and differently."""
        for name in ("series_number", "instance_number"):
            given, known = row.whole(name), getattr(plane, name)
            if given is not None and known is not None and given != known:
                row.refuse(
                    name,
                    str(given),
                    f"{known}, which the image {plane.sop_instance_uid} bears",
                    "correct the row, or drop one of the columns",
                )
        series = row.text("series_uid")
        if series and series != self.series_uid:
            row.refuse(
                "series_uid",
                series,
                f"{self.series_uid}, of which the image {plane.sop_instance_uid} is",
                "correct the row, or drop one of the columns",
            )

    def _numbers(self) -> str:
        """The image numbers there are, for a message."""
        numbers = sorted(self.by_number)
        if not numbers:
            return "an image number, but the images have none (name them by sop_instance_uid)"
        gaps = numbers[-1] - numbers[0] + 1 - len(numbers)
        missing = f" ({gaps} of them not there)" if gaps else ""
        return f"an image of the series: {numbers[0]} to {numbers[-1]}{missing}"
