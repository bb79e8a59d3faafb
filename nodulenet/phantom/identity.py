"""Who is who in a phantom: random streams, unique identifiers, patients and subsets.

Everything here is a pure function of the seed and of an index, so that scan *i* is the same
whatever the number of scans, and a run that was stopped can go on where it was.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib

import numpy as np

GENERATOR_VERSION = 1
"""Raised whenever the same arguments would give other voxels or tables than before."""

SUBSETS = 10

_SCANS_PER_BLOCK = 8  # the last two scans of a block belong to one patient


def random_stream(seed: int, name: str, index: int) -> np.random.Generator:
    """Returns the random generator of one named purpose and one patient or scan.

    Args:
        seed: The phantom's seed, an integer >= 0.
        name: The purpose, such as `"nodules"`. Streams of different names are independent.
        index: Index of the patient or scan that the numbers are for.

    Returns:
        A generator; the same arguments always give the same numbers.
    """
    key = (zlib.crc32(name.encode("ascii")), index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def derived_uid(*parts: object) -> str:
    """Returns a DICOM UID that is a function of `parts`.

    The form is `2.25.` and the decimal form of a UUID (DICOM PS3.5, B.2), at most 44 of the 64
    characters that DICOM allows.
    """
    text = "nodulenet.phantom:" + ":".join(str(part) for part in parts)
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"


def patient_index(scan_index: int) -> int:
    """Returns the patient of a scan: of every eight scans the last two share one patient."""
    block, place = divmod(scan_index, _SCANS_PER_BLOCK)
    return block * (_SCANS_PER_BLOCK - 1) + min(place, _SCANS_PER_BLOCK - 2)


def is_follow_up(scan_index: int) -> bool:
    """Returns whether the scan is the second one of its patient."""
    return scan_index % _SCANS_PER_BLOCK == _SCANS_PER_BLOCK - 1


def patient_id(scan_index: int) -> str:
    """Returns the patient identifier of a scan, such as `PHANTOM-0001`."""
    return f"PHANTOM-{patient_index(scan_index) + 1:04d}"


def subset_of(scan_index: int) -> int:
    """Returns the subset (0..9) of a scan; all scans of a patient are in one subset."""
    return patient_index(scan_index) % SUBSETS
