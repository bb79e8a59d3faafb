"""One door for every source of a configuration: findings, and patches that are there already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from nodulenet.config.patch_spec import PatchSpec
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
from nodulenet.findings.luna16 import STORED, read_luna16
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
    place they were looked for, ``irregular`` what becomes of irregular slices, ``streams`` whether
    some of the findings have no patch in the store, but are read from their scans when they are
    scored.
    """

    findings: Findings
    archive: PatchArchive | None
    description: dict[str, Any]
    where: str
    irregular: Irregular = "refuse"
    streams: bool = False

    @property
    def values(self) -> Values:
        return self.archive.values if self.archive else Values("hu")

    @property
    def stored(self) -> pd.DataFrame:
        """The findings whose patches the store holds."""
        return self._part(stored=True) if self.streams else self.findings.table

    @property
    def streamed(self) -> pd.DataFrame:
        """The findings that are read from their scans when they are scored; often none."""
        return self._part(stored=False) if self.streams else self.findings.table.iloc[:0]

    def _part(self, *, stored: bool) -> pd.DataFrame:
        table = self.findings.table
        rows = table[STORED] if stored else ~table[STORED]
        return table[rows].drop(columns=STORED).reset_index(drop=True)


def load_source(config: Config) -> LoadedSource:
    """Read the findings that ``config.source`` names.

    ``description`` identifies what a store made of them holds: it changes when a point, a
    finding or an archived voxel changes, and stays when files move or labels change.
    """
    source = config.source
    archive: PatchArchive | None = None
    streams = False
    if isinstance(source, Luna16Source):
        findings = read_luna16(source, seed=config.seed)
        streams = source.stream_rest
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
        if not archive.gives(config.patch.form):
            raise ConfigError(
                f"patch.form: is {config.patch.form}, but {source.archive} holds {archive.form} "
                f"patches; set patch.form={archive.form}"
            )
        if isinstance(source, PatchArchiveSource) and archive.form == "3d":
            table = with_extent(findings.table, archive, config.patch)
            findings = replace(findings, table=table)
    description = {
        "kind": source.kind,
        "findings": len(findings.table),
        "findings_hash": _findings_hash(findings.table, streams=streams),
        "content_hash": archive.content_hash if archive else None,
        # FROC counts every mark of a scan, so a sample of candidates is told apart for good.
        "all_candidates": isinstance(source, Luna16Source)
        and source.candidates != "annotations.csv"
        and (source.negatives_per_positive is None or source.stream_rest)
        and not source.leave_out_irrelevant,
    }
    if findings.series:
        # The same points in another series of the study are other patches.
        named = repr(sorted(findings.series.items())).encode()
        description["series_hash"] = hashlib.blake2b(named, digest_size=8).hexdigest()
    if streams:
        description["stored"] = int(findings.table[STORED].sum())
    if archive is not None and archive.beyond != "fill":
        description["beyond"] = archive.beyond
    irregular: Irregular = "refuse"
    if isinstance(source, PointsSource) and source.irregular == "resample":
        irregular = "resample"
        description["irregular"] = irregular
    return LoadedSource(findings, archive, description, where, irregular, streams)


def _read_archive(source: PatchArchiveSource | MedMnistSource) -> PatchArchive:
    if isinstance(source, MedMnistSource):
        return read_medmnist(source)
    return read_patch_archive(source)


def with_extent(table: pd.DataFrame, archive: PatchArchive, spec: PatchSpec) -> pd.DataFrame:
    """The findings of 3D patches with how far these reach along z.

    Columns ``extent_z_mm``, slice thickness included, and ``visible_z_mm``, the part of it that a
    patch of ``spec`` shows. Volumes that end with the nodule betray its size by them, whatever
    the voxels say. The table's own columns of these names stay.
    """
    extent = archive.extent_z_mm()
    columns = {"extent_z_mm": extent}
    if spec.form != "2d":
        slices = spec.size[0]  # rows of the coronal plane, where there are planes
        columns["visible_z_mm"] = np.minimum(extent, slices * spec.spacing_xyz_mm[2])
    return table.assign(**{k: v for k, v in columns.items() if k not in table.columns})


def _findings_hash(table: pd.DataFrame, *, streams: bool) -> str:
    columns = ["finding_id", "scan_id", *POINT_COLUMNS, *([STORED] if streams else [])]
    hashes = pd.util.hash_pandas_object(table[columns], index=False).to_numpy()
    return hashlib.blake2b(hashes.tobytes(), digest_size=8).hexdigest()
