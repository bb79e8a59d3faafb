"""One door for every source of a configuration: findings, and patches that are there already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from nodulenet.config.schema import (
    Config,
    LidcSource,
    Luna16Source,
    Luna25Source,
    MedMnistSource,
    PatchArchiveSource,
    PointsSource,
)
from nodulenet.errors import ConfigError
from nodulenet.findings.lidc import read_lidc
from nodulenet.findings.luna16 import read_luna16
from nodulenet.findings.luna25 import read_luna25
from nodulenet.findings.own_scans import read_own_scans
from nodulenet.findings.table import POINT_COLUMNS, Findings
from nodulenet.patches.archive import PatchArchive, read_medmnist, read_patch_archive
from nodulenet.patches.values import Values

Irregular = Literal["refuse", "resample"]


@dataclass(frozen=True)
class LoadedSource:
    """Findings of a configuration, with the archive when they come as patches.

    ``description`` identifies what a store of them holds, ``where`` says for people in which
    place they were looked for, ``irregular`` what becomes of irregular slices.
    """

    findings: Findings
    archive: PatchArchive | None
    description: dict[str, Any]
    where: str
    irregular: Irregular = "refuse"

    @property
    def values(self) -> Values:
        return self.archive.values if self.archive else Values("hu")


def load_source(config: Config) -> LoadedSource:
    """Read the findings that ``config.source`` names.

    ``description`` identifies what a store made of them holds: it changes when a point, a
    finding or an archived voxel changes, and stays when files move or labels change.
    """
    source = config.source
    archive: PatchArchive | None = None
    if isinstance(source, Luna16Source):
        findings = read_luna16(source, seed=config.seed)
        where = f"{source.root}/subset0..9"
    elif isinstance(source, LidcSource):
        findings = read_lidc(
            source.xml,
            dicom=source.dicom,
            scans=source.scans,
            metric=source.metric,
            minimum_readers=source.minimum_readers,
        )
        where = str(source.dicom)
    elif isinstance(source, Luna25Source):
        findings = read_luna25(source)
        where = str(source.scans)
    elif isinstance(source, PointsSource):
        findings = read_own_scans(source)
        where = str(source.scans)
    else:
        where = str(source.archive)
        archive = _read_archive(source)
        findings = archive.findings
        if archive.form != config.patch.form:
            raise ConfigError(
                f"patch.form: is {config.patch.form}, but {source.archive} holds {archive.form} "
                f"patches; set patch.form={archive.form}"
            )
    description = {
        "kind": source.kind,
        "findings": len(findings.table),
        "findings_hash": _findings_hash(findings.table),
        "content_hash": archive.content_hash if archive else None,
        # FROC counts every mark of a scan, so a sample of candidates is told apart for good.
        "all_candidates": isinstance(source, Luna16Source)
        and source.candidates != "annotations.csv"
        and source.negatives_per_positive is None
        and not source.leave_out_irrelevant,
    }
    irregular: Irregular = "refuse"
    if isinstance(source, PointsSource) and source.irregular == "resample":
        irregular = "resample"
        description["irregular"] = irregular
    return LoadedSource(findings, archive, description, where, irregular)


def _read_archive(source: PatchArchiveSource | MedMnistSource) -> PatchArchive:
    if isinstance(source, MedMnistSource):
        return read_medmnist(source)
    return read_patch_archive(source)


def _findings_hash(table: pd.DataFrame) -> str:
    columns = table[["finding_id", "scan_id", *POINT_COLUMNS]]
    hashes = pd.util.hash_pandas_object(columns, index=False).to_numpy()
    return hashlib.blake2b(hashes.tobytes(), digest_size=8).hexdigest()
