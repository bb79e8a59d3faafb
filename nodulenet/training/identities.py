"""Who was trained on, told without names: keyed hashes of patients and scans."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from nodulenet.config.schema import MedMnistSource, PatchArchiveSource, Source
from nodulenet.privacy import known_pseudonyms

# A DICOM UID is the same in every data set; other names of scans (case01) are not.
_UID = re.compile(r"(?=.{16,64}$)[0-2](\.(0|[1-9][0-9]*)){2,}")


def identity_hashes(names: Iterable[str], key: str | None = None) -> dict[str, Any]:
    """Keyed hashes of names (patients, scans), by which somebody who has a name can find it again.

    They keep names out of a file that is passed on. They are no secret: the key stands beside
    them, so whoever can guess a name can test it.

    Args:
        names: the names; equal ones count once.
        key: hexadecimal, as in an earlier result. Defaults to a new random one.

    Returns:
        ``key`` and ``blake2b``, sorted, so that their order tells nothing.

    Source: RFC 7693 (BLAKE2), keyed hashing.
    """
    key = key or secrets.token_hex(16)
    secret = bytes.fromhex(key)
    return {"key": key, "blake2b": sorted({_keyed_hash(name, secret) for name in names})}


def shared_identities(names: Iterable[str], known: dict[str, Any] | None) -> list[str]:
    """Those of ``names`` (each once, in order) that are among the hashed ones.

    Args:
        names: names in clear.
        known: of :func:`identity_hashes`; None holds nobody.
    """
    if known is None:
        return []
    hashes, secret = set(known["blake2b"]), bytes.fromhex(known["key"])
    return [n for n in dict.fromkeys(names) if _keyed_hash(n, secret) in hashes]


def shared_patients(
    patients: Iterable[str],
    training: Mapping[str, Any],
    *,
    originals: Mapping[str, str] | None = None,
) -> list[str]:
    """Those of ``patients`` (each once, in order) that a bundle's training had.

    The same person may be called by an id here and by a pseudonym there: whoever has the key or
    the id is found under both names.

    Args:
        patients: ids or pseudonyms.
        training: of the bundle: ``patients_hash`` and, if it kept ids where a key was,
            ``pseudonyms_hash``.
        originals: the id of each pseudonym, where it is known. Defaults to none.
    """
    names = list(dict.fromkeys(map(str, patients)))
    ids = {name: (originals or {}).get(name, name) for name in names}
    also = known_pseudonyms(ids.values())
    hashes = [h for h in (training.get("patients_hash"), training.get("pseudonyms_hash")) if h]

    def is_there(name: str) -> bool:
        called = {name, ids[name], also.get(ids[name], name)}
        return any(shared_identities(called, known) for known in hashes)

    return [name for name in names if is_there(name)]


def _keyed_hash(name: str, secret: bytes) -> str:
    return hashlib.blake2b(str(name).encode(), key=secret, digest_size=16).hexdigest()


def scan_uids(names: Iterable[str]) -> list[str]:
    """Those names of scans, each once, that are DICOM UIDs and so the same in every data set."""
    return [n for n in dict.fromkeys(map(str, names)) if _UID.fullmatch(n)]


def has_patient_ids(source: Source) -> bool:
    """Whether its patients are people; without ids rows are counted, and row-0 is everywhere."""
    if isinstance(source, PatchArchiveSource):
        return source.columns.patient_id is not None
    return not isinstance(source, MedMnistSource)
