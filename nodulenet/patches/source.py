"""One door for every source of a configuration: findings, and patches that are there already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nodulenet.config.schema import (
    Config,
    Luna16Source,
    MedMnistSource,
    PatchArchiveSource,
    PointsSource,
)
from nodulenet.errors import ConfigError
from nodulenet.findings.luna16 import read_luna16
from nodulenet.findings.points import read_points
from nodulenet.findings.table import POINT_COLUMNS, Findings
from nodulenet.patches.archive import PatchArchive, read_medmnist, read_patch_archive
from nodulenet.patches.values import Values


@dataclass(frozen=True)
class LoadedSource:
    """Findings of a configuration, with the archive when they come as patches.

    ``description`` identifies what a store of them holds, ``where`` says for people in which
    place they were looked for.
    """

    findings: Findings
    archive: PatchArchive | None
    description: dict[str, Any]
    where: str

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
    elif isinstance(source, PointsSource):
        findings = read_points(source)
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
        and source.negatives_per_positive is None,
    }
    return LoadedSource(findings, archive, description, where)


def _read_archive(source: PatchArchiveSource | MedMnistSource) -> PatchArchive:
    if isinstance(source, MedMnistSource):
        return read_medmnist(source)
    return read_patch_archive(source)


def _findings_hash(table: pd.DataFrame) -> str:
    columns = table[["finding_id", "scan_id", *POINT_COLUMNS]]
    hashes = pd.util.hash_pandas_object(columns, index=False).to_numpy()
    return hashlib.blake2b(hashes.tobytes(), digest_size=8).hexdigest()
