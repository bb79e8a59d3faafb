"""What is alike wherever many scans are worked off: their files, and errors that end only one."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodulenet.ct.outside import PROBABLY_RAS
from nodulenet.errors import DataError, NoduleNetError, ScanError
from nodulenet.findings.points import SCAN_ENDINGS


@contextmanager
def scan_errors(where: Path | str, *, out_of_memory: str) -> Iterator[None]:
    """Whatever goes wrong with a scan becomes one of our own errors, on one line.

    Args:
        where: the scan, for messages.
        out_of_memory: what to do where memory is short.

    Raises:
        NoduleNetError: as it was, or instead of another exception.
    """
    try:
        yield
    except NoduleNetError:
        raise
    except MemoryError as error:
        raise DataError(f"{where}: not enough memory to read it; {out_of_memory}") from error
    except OSError as error:
        raise ScanError(
            f"{error.filename or where}: cannot be read ({error.strerror or error}); check "
            f"the path, its rights and the disk"
        ) from error
    except Exception as error:
        # One scan that meets a defect of ours must not end a night's work on the others.
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise NoduleNetError(
            f"{type(error).__name__}: {' '.join(str(error).split())} "
            f"({Path(place.filename).name}, line {place.lineno}); a defect, please report it"
        ) from error


def failure(what: str, error: str, *, cause: str) -> dict[str, str]:
    """An entry of a list of failures; those of one ``cause`` may be told as one."""
    return {"what": what, "error": error, "cause": cause}


def finding_failure(finding_id: str, error: NoduleNetError) -> dict[str, str]:
    """The failure of one finding in a scan that can be read."""
    cause = type(error).__name__ + (" RAS" if PROBABLY_RAS in str(error) else "")
    return failure(f"finding {finding_id}", str(error), cause=cause)


def scan_failure(scan: str, findings: int, error: object) -> dict[str, str]:
    """The failure of a whole scan."""
    text = " ".join(str(error).split())
    return failure(f"scan {scan} ({findings} findings)", text, cause=text)


def source_state(path: Path | None) -> dict[str, Any]:
    """What tells whether a scan has been replaced since: number, size and time of its files."""
    if path is None:
        return {}
    stats = [f.stat() for f in _scan_files(path) if f.is_file()]
    return {
        "files": len(stats),
        "bytes": sum(s.st_size for s in stats),
        "modified_ns": max((s.st_mtime_ns for s in stats), default=0),
    }


def _scan_files(path: Path) -> list[Path]:
    """The files that a scan may be read from."""
    from nodulenet.ct import metaimage, nrrd

    if path.is_dir():
        return [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
    try:
        if path.suffix.lower() == ".mhd":
            return [path, metaimage.voxel_file(path)]
        if path.suffix.lower() == ".nhdr":
            return [path, nrrd.voxel_file(path)]
    except (ScanError, OSError):
        return [path]  # told when it is opened
    if path.name.lower().endswith(SCAN_ENDINGS):
        return [path]
    return list(path.parent.iterdir())  # a DICOM slice: its neighbours join it
