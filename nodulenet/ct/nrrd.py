"""NRRD (.nrrd, .nhdr) through SimpleITK, which turns its named spaces into LPS.

Standard: teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

from pathlib import Path

from nodulenet.ct.itk_image import decoded_source, read_header
from nodulenet.ct.volume import CTVolume


def open_nrrd(path: Path, series_uid: str | None = None) -> CTVolume:
    """A CT in a ``.nrrd`` or ``.nhdr`` file, decoded as a whole at the first read.

    Args:
        path: the file.
        series_uid: name of the scan. Defaults to the file name without its ending.

    Raises:
        ScanError: not readable or not one scalar volume.
        GeometryError: impossible spacing or direction.
    """
    header = read_header(path, "NrrdImageIO")
    return CTVolume(
        decoded_source(path, "NrrdImageIO", header.shape),
        header.spacing_mm,
        header.origin_lps_mm,
        header.direction,
        series_uid=series_uid or path.stem,
        path=path,
        format="nrrd",
    )
